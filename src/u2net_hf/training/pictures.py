"""Pictures of a training: strips of validation images, and the curves of its log."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

STRIP_HEIGHT = 160
GAP = 4


class Strip(NamedTuple):
    """A validation image, its mask (L) and what the network makes of it, an array (H, W) in [0, 1]."""

    image: Image.Image
    mask: Image.Image
    map: np.ndarray


def save_strips(strips: Sequence[Strip], path: Path) -> None:
    """Write photo | mask | map of some images as one PNG, an image per row."""
    rows = []
    for image, mask, soft_map in strips:
        drawn = Image.fromarray(np.rint(np.clip(soft_map, 0, 1) * 255).astype(np.uint8))
        width = max(1, round(image.width * STRIP_HEIGHT / image.height))
        rows.append([part.convert("RGB").resize((width, STRIP_HEIGHT)) for part in (image, mask, drawn)])
    sheet_width = max(sum(part.width + GAP for part in row) for row in rows) - GAP
    sheet = Image.new("RGB", (sheet_width, len(rows) * (STRIP_HEIGHT + GAP) - GAP), "white")
    for number, row in enumerate(rows):
        for place, part in enumerate(row):
            sheet.paste(part, (place * (part.width + GAP), number * (STRIP_HEIGHT + GAP)))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    sheet.save(temporary, "PNG")
    os.replace(temporary, path)


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
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, format="png", dpi=100)
    os.replace(temporary, path)
