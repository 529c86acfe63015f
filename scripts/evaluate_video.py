"""How much the maps of a video flicker, and how good they are, by the strength of the smoothing over time.

    python scripts/evaluate_video.py --data path/to/davis

The folder holds a folder for each scene, with images/ and masks/ of consecutive frames (DAVIS 2016: Perazzi et al., "A
benchmark dataset and evaluation methodology for video object segmentation"). Prints a table:

- flicker: the mean absolute change of a map from that of the frame before, moved along by optical flow, x 1000, where
  the flow there and back agree. The flow is Farneback's; the smoothing has another one, so that it cannot hide.
- J: the mean IoU of the maps at 0.5 with the masks; max F: see sod_metrics, with "dataset" averaging.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image

from u2net_hf.engines import load_engine
from u2net_hf.images.files import open_image
from u2net_hf.removal.smoothing import Smoother, follows, warp
from u2net_hf.sod_metrics import SODMetrics
from u2net_hf.utils.console import run_script


def main(
    data: Annotated[Path, typer.Option(help="A folder of scenes, each with images/ and masks/.")],
    model: Annotated[str, typer.Option(help="A published name, a folder, or a Hub id.")] = "u2netp",
    smoothing: Annotated[list[float] | None, typer.Option(help="Strengths; by default 0, 0.5, 0.7, 0.8, 0.9.")] = None,
) -> None:
    """Print a table of flicker and quality by smoothing."""
    engine = load_engine(model, device="cpu", dtype="float32")
    strengths = smoothing or [0, 0.5, 0.7, 0.8, 0.9]
    typer.echo("| scene | smoothing | flicker | J | max F |\n|---|---:|---:|---:|---:|")
    rows = []
    for scene in sorted(path for path in data.iterdir() if (path / "images").is_dir()):
        images = sorted((scene / "images").iterdir())
        seen = [engine.reduce(open_image(path)) for path in images]
        maps = [engine([picture], None, False)[0] for picture in seen]
        masks = [open_image(scene / "masks" / f"{path.stem}.png").convert("L") for path in images]
        flows = list(_flows(seen, maps[0].shape))
        for strength in strengths:
            smoother = Smoother(strength)
            smoothed = [smoother(one, picture) for one, picture in zip(maps, seen, strict=True)]
            row = (_flicker(smoothed, flows), *_quality(smoothed, masks))
            rows.append(row)
            _print(scene.name, strength, row)
    for index, strength in enumerate(strengths):
        _print("mean", strength, np.mean(rows[index :: len(strengths)], axis=0))


def _print(scene: str, strength: float, row: tuple[float, ...] | np.ndarray) -> None:
    flicker, j, max_f = row
    typer.echo(f"| {scene} | {strength:g} | {1000 * flicker:.1f} | {j:.3f} | {max_f:.3f} |")


def _flows(seen: list[Image.Image], shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The flow from each frame back to the one before, and where it can be trusted."""
    height, width = shape
    grays = [np.asarray(picture.convert("L").resize((width, height))) for picture in seen]
    for before, after in pairwise(grays):
        back, there = _farneback(after, before), _farneback(before, after)
        yield back, follows(back, there)


def _farneback(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    flow = np.zeros((*one.shape, 2), np.float32)
    levels, window, iterations, neighbors = 4, 21, 3, 7
    return cv2.calcOpticalFlowFarneback(one, other, flow, 0.5, levels, window, iterations, neighbors, 1.5, 0)


def _flicker(maps: list[np.ndarray], flows: list[tuple[np.ndarray, np.ndarray]]) -> float:
    changes = [
        np.abs(after - warp(before, back))[trusted].mean()
        for before, after, (back, trusted) in zip(maps, maps[1:], flows, strict=False)
    ]
    return float(np.mean(changes))


def _quality(maps: list[np.ndarray], masks: list[Image.Image]) -> tuple[float, float]:
    metrics, ious = SODMetrics(["max_f"]), []
    for one, mask in zip(maps, masks, strict=True):
        large = np.clip(cv2.resize(one, mask.size, interpolation=cv2.INTER_LINEAR), 0, 1)
        truth, found = np.asarray(mask) > 127, large >= 0.5
        ious.append((found & truth).sum() / max(1, (found | truth).sum()))
        metrics.update([large], [truth])
    return float(np.mean(ious)), metrics.compute()["max_f"]


if __name__ == "__main__":
    run_script(main, __doc__)
