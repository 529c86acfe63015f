"""Pictures of what was found: the page with the contours of the objects and their numbers."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .intensities import exact_percentiles
from .planes import Plane
from .tables import Table

SHOWN_RANGE = (1.0, 99.8)  # percentiles that become black and white
CONTOUR = (255, 220, 0)
NUMBER = (90, 230, 255)
FONT_SIZE = 11
SMALLEST_OVERLAY = 1000  # pixels of the longer side: smaller pages are enlarged
SMALLEST_NUMBERED = 12  # pixels: an object needs a side of so many for its number to be read


def overlay_scale(size: tuple[int, int]) -> int:
    """By how much the overlay of a page is larger than the page: numbers need room."""
    return max(1, SMALLEST_OVERLAY // max(size))


def draw_overlay(plane: Plane, is_rgb: bool, labels: Plane, table: Table, out: np.ndarray, scale: int = 1) -> None:
    """Draw the contours and numbers of the objects of a page, strip by strip.

    Args:
        plane: The page: the three channels of a color picture, or the one that is to be seen.
        is_rgb: Whether it is a color picture; of one with 8 bits the colors stay as they are.
        labels: The objects.
        table: As from [`measure_objects`].
        out: Where to draw: uint8 `(scale * height, scale * width, 3)`.
        scale: Height and width of a pixel of the page in the overlay.
    """
    keep = is_rgb and plane.rows(0, 1).dtype == np.uint8
    low, high = (0.0, 255.0) if keep else exact_percentiles(lambda: (rows for _, rows in plane.strips()), SHOWN_RANGE)
    for start, values in plane.strips():
        stop = start + values.shape[1]
        shown = (values.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
        picture = np.moveaxis(np.broadcast_to(np.clip(np.rint(shown), 0, 255), (3, *shown.shape[1:])), 0, -1)
        strip = _enlarged(picture.astype(np.uint8), scale)
        strip[_contours(labels, start, stop, scale)] = CONTOUR
        out[scale * start : scale * stop] = _numbered(strip, table, start, scale)


def _enlarged(array: np.ndarray, scale: int) -> np.ndarray:
    return np.repeat(np.repeat(array, scale, axis=0), scale, axis=1)


def _contours(labels: Plane, start: int, stop: int, scale: int) -> np.ndarray:
    """The outermost pixels of the objects in some rows."""
    from skimage.segmentation import find_boundaries

    above = min(start, 1)
    rows = _enlarged(labels.rows(start - above, stop + 1)[0], scale)
    boundaries: np.ndarray = find_boundaries(rows, mode="inner")
    return boundaries[scale * above : scale * (above + stop - start)]


def _numbered(strip: np.ndarray, table: Table, start: int, scale: int) -> np.ndarray:
    """Write the numbers of the objects into rows that begin at `start`; what reaches beyond them is cut off."""
    picture = Image.fromarray(strip)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT_SIZE)
    middle, across = (scale * (table[name] + 0.5) - 0.5 for name in ("centroid_y", "centroid_x"))
    middle = middle - scale * start
    tall = scale * np.maximum(table["bbox_bottom"] - table["bbox_top"], table["bbox_right"] - table["bbox_left"])
    near = (middle > -FONT_SIZE) & (middle < len(strip) + FONT_SIZE) & (tall >= SMALLEST_NUMBERED)
    for label, row, column in zip(table["label"][near], middle[near], across[near], strict=True):
        place = (float(column), float(row))
        draw.text(place, str(label), NUMBER, font, anchor="mm", stroke_width=1, stroke_fill="black")
    return np.asarray(picture)
