"""Pictures of a training: strips of validation images, and the curves of its log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..images.drawing import contact_sheet, save_figure
from ..images.files import mask_image, save_image

STRIP_HEIGHT = 160


class Strip(NamedTuple):
    """A validation image, its mask and what the network makes of it: a picture, or an array (H, W) in [0, 1]."""

    image: Image.Image
    mask: Image.Image
    map: np.ndarray | Image.Image


def save_strips(strips: Sequence[Strip], path: Path) -> None:
    """Write photo | mask | map of some images as one PNG, an image per row."""
    rows = [
        (image, mask, found if isinstance(found, Image.Image) else mask_image(np.nan_to_num(found)))
        for image, mask, found in strips
    ]
    save_image(contact_sheet(rows, STRIP_HEIGHT), path)


def draw_contours(image: Image.Image, labels: np.ndarray, color: tuple[int, int, int]) -> Image.Image:
    """Draw the outlines of objects into a photo; faint ones are stretched to the full range first.

    Args:
        image: Of mode RGB.
        labels: Integers `(H, W)`, 0 = background.
        color: Of the outlines, which lie within the objects.
    """
    from skimage.segmentation import find_boundaries

    values = np.asarray(image, np.float32)
    low, high = np.percentile(values, (1, 99.8))
    drawn = np.clip((values - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    drawn[find_boundaries(labels, mode="inner")] = color
    return Image.fromarray(drawn)


def save_curves(log: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the losses and the validation measures of a log over the steps, as a PNG."""
    from matplotlib.figure import Figure

    losses, measures = defaultdict[str, list](list), defaultdict[str, list](list)
    for line in log:
        for name, value in line.items():
            if name.startswith("validation/"):
                measures[name.removeprefix("validation/")].append((line["step"], value))
            elif name.startswith("loss"):
                losses[name].append((line["step"], value))
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves, title in ((left, losses, "training"), (right, measures, "validation")):
        for name, points in curves.items():
            steps, values = zip(*points, strict=True)
            axes.plot(
                steps, values, label=name, linewidth=2 if name == "loss" else 1, marker="." if len(points) < 50 else ""
            )
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if curves:
            axes.legend(fontsize="small", loc="upper right" if axes is left else "best")
    left.set(yscale="log")
    save_figure(figure, path, dpi=100)
