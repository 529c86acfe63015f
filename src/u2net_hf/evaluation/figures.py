"""Pictures of an evaluation: curves, the worst and best images, and model size against quality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..images.drawing import contact_sheet
from ..images.files import save_image
from .results import Results, Score

if TYPE_CHECKING:
    from datasets import Dataset
    from matplotlib.figure import Figure
    from PIL import Image

    from .evaluation import MapSource

SHOWN, THUMBNAIL_HEIGHT = 12, 112


def draw_curves(results: Sequence[tuple[str, Score]]) -> Figure:
    """Precision against recall, and F-beta against the threshold (figures 6 and 7 of the U²-Net paper).

    Args:
        results: A label and a score for each line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    precision_recall, f_beta = figure.subplots(1, 2)
    for label, score in results:
        precision_recall.plot(score.curves["recall"], score.curves["precision"], label=label)
        f_beta.plot(range(256), score.curves["f"], label=f"{label}, max {score.metrics['max_f']:.3f}")
    precision_recall.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    f_beta.set(xlabel="threshold of the 8-bit map", ylabel="F-beta (beta² = 0.3)", xlim=(0, 255), ylim=(0, 1.02))
    for axes in (precision_recall, f_beta):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", fontsize="small")
    return figure


def draw_model_sizes(results: Sequence[Results]) -> Figure:
    """Model size against max F-beta on each corpus (figure 1 of the U²-Net paper).

    Args:
        results: Results of models; those of folders of maps have no size.

    Raises:
        ValueError: If no results are those of a model.
    """
    from matplotlib.figure import Figure

    models = [one for one in results if one.num_parameters is not None]
    if not models:
        raise ValueError("None of the results files is that of a model: a folder of maps has no size to draw.")
    figure = Figure(figsize=(6, 4.5))
    axes = figure.subplots()
    for corpus in dict.fromkeys(score.title for one in models for score in one.data):
        points = sorted(
            (_megabytes(one), score.metrics["max_f"]) for one in models for score in one.data if score.title == corpus
        )
        axes.plot(*zip(*points, strict=True), "o--", label=corpus)
    for one in models:
        highest = max(score.metrics["max_f"] for score in one.data)
        axes.annotate(
            f"{one.model} ({_megabytes(one):.1f} MB)", (_megabytes(one), highest), (4, 6), textcoords="offset points"
        )
    averagings = sorted({str(score.variant["averaging"]) for one in models for score in one.data})
    axes.set(xscale="log", xlabel="weights in float32, MB", ylabel=f"max F-beta (averaging: {', '.join(averagings)})")
    axes.margins(x=0.35, y=0.25)
    axes.grid(alpha=0.3)
    axes.legend(title="corpus", loc="lower right")
    return figure


def _megabytes(results: Results) -> float:
    return (results.num_parameters or 0) * 4 / 1e6


def save_contact_sheet(corpus: Dataset, maps: MapSource, errors: np.ndarray, path: Path) -> None:
    """Write the worst images of a corpus beside the best, each as photo | mask | map.

    Args:
        corpus: Columns `image`, `mask` and `name`.
        maps: A [`ModelMaps`] or [`FolderMaps`].
        errors: Mean absolute error of each image, `(images,)`.
        path: The picture to write.
    """
    order, sheets = np.argsort(errors, kind="stable"), []
    for title, indices in (("worst", order[::-1][:SHOWN]), ("best", order[:SHOWN])):
        pictures: list[list[Image.Image]] = [[]]
        captions = [f"{title} by mean absolute error: photo | mask | map"]
        found = maps([corpus[int(index)]] for index in indices)
        for index, (row, saliency) in zip(indices, found, strict=True):
            pictures.append([row["image"], row["mask"], saliency])
            captions.append(f"{row['name']}  {errors[index]:.3f}")
        sheets.append(contact_sheet(pictures, THUMBNAIL_HEIGHT, captions=captions))
    save_image(contact_sheet([sheets], sheets[0].height, gap=24), path)
