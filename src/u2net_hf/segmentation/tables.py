"""Objects as numbers: one row each, in pixels, and in µm where the size of a pixel is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from .planes import Plane

Table = dict[str, np.ndarray]

# Names of the columns, beside those of scikit-image's `regionprops_table`. Those that are lengths, along which axis.
_NAMES = {
    "label": "label",
    "area": "area",
    "centroid-0": "centroid_y",
    "centroid-1": "centroid_x",
    "bbox-0": "bbox_top",
    "bbox-1": "bbox_left",
    "bbox-2": "bbox_bottom",
    "bbox-3": "bbox_right",
}
_LENGTHS = {"y": ("centroid_y", "bbox_top", "bbox_bottom"), "x": ("centroid_x", "bbox_left", "bbox_right")}


def measure_objects(
    labels: Plane, plane: Plane, scores: np.ndarray, page: int, pixel_size: tuple[float, float] | None
) -> Table:
    """Measure the objects of a page.

    Args:
        labels: Numbers of the objects, 1, 2, ... without a gap.
        plane: The page, whose values are averaged as they are in the file.
        scores: Of the objects.
        page: Number of the page, from 1.
        pixel_size: Height and width of a pixel in µm.

    Returns:
        Columns of one value per object. `area` is in pixels; rows (y) and columns (x) are counted from 0 at the center
        of the upper left pixel; a bounding box ends before `bbox_bottom` and `bbox_right`. `mean_intensity` (with
        several channels `mean_intensity_1`, ...) is in the file's own units; `score` is the mean probability. With
        `pixel_size` the same again in µm (`..._um`; `area_um2`).
    """
    from skimage.measure import regionprops_table

    measured = regionprops_table(labels.open(), properties=("label", "area", "centroid", "bbox"))
    table: Table = {"page": np.full(len(scores), page)}
    table |= {name: measured[theirs] for theirs, name in _NAMES.items()}
    means = _mean_intensities(labels, plane, len(scores))
    names = ["mean_intensity"] if len(means) == 1 else [f"mean_intensity_{i + 1}" for i in range(len(means))]
    table |= dict(zip(names, means, strict=True)) | {"score": scores}
    if pixel_size:
        height, width = pixel_size
        table["area_um2"] = table["area"] * height * width
        for axis, size in (("y", height), ("x", width)):
            table |= {f"{name}_um": table[name] * size for name in _LENGTHS[axis]}
    return table


def _mean_intensities(labels: Plane, plane: Plane, count: int) -> np.ndarray:
    """Of each channel and object: `(channels, objects)`."""
    sums, areas = np.zeros((plane.shape[0], count + 1)), np.zeros(count + 1)
    for start, values in plane.strips():
        numbers = labels.rows(start, start + values.shape[1]).ravel()
        areas += np.bincount(numbers, minlength=count + 1)
        for total, channel in zip(sums, values, strict=True):
            total += np.bincount(numbers, weights=channel.ravel(), minlength=count + 1)
    return sums[:, 1:] / areas[1:]


def join(tables: Sequence[Table]) -> Table:
    """The tables of several pages as one."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def to_csv(table: Table) -> str:
    """A table as CSV: a line of names, then one for each object; no more digits than tell values apart."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table)
    for row in zip(*table.values(), strict=True):
        writer.writerow(f"{value:.7g}" if isinstance(value, float) else value for value in row)
    return stream.getvalue()
