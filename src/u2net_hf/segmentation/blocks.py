"""Objects of maps of any size: separated block by block, and the same as if it had been done at once.

A block has a margin, and keeps the objects whose first pixel (the leftmost one of their top row) lies in its core. An
object is right if it and all that touch it lie within the block: its holes, smoothing and summits are then those of
the whole map. Where that is not so of an object in the core, the block is done again with a margin twice as wide.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from ..models.unet.instances_unet import InstanceOptions, labels_outside, select_instances, separate_instances
from .planes import Plane

CORE, MARGIN = 1024, 160


def separate_in_blocks(
    foreground: Plane,
    depth: Plane,
    labels: Plane,
    options: InstanceOptions,
    *,
    core: int = CORE,
    margin: int = MARGIN,
) -> np.ndarray:
    """Number the objects of a page.

    Args:
        foreground: Probability of not being background.
        depth: Expected depth, see [`expected_depth`].
        labels: Where to write them: zeros of an integer type. 0 = background, objects 1, 2, ... without a gap.
        options: How to separate them.
        core: Height and width of the blocks.
        margin: By how much a block reaches further, at first, beside what holes and smoothing need.

    Returns:
        The score of each object: its mean foreground.
    """
    height, width = foreground.size
    scores: list[np.ndarray] = []
    count = 0
    for top, left in product(range(0, height, core), range(0, width, core)):
        kept = (top, min(top + core, height), left, min(left + core, width))
        reach = margin + _zone(options)
        block = _grown(kept, reach, height, width)
        while (found := _separate(foreground, depth, options, kept, block)) is None:
            reach *= 2  # a block without inner sides is always right
            block = _grown(kept, reach, height, width)
        inside = tuple(
            slice(max(options.border - start, 0), max(length - options.border - start, 0))
            for start, length in zip(block[::2], (height, width), strict=True)
        )
        numbers, new_scores = select_instances(*found, inside, options)
        place = labels.open()[block[0] : block[1], block[2] : block[3]]
        np.copyto(place, numbers + count, where=numbers > 0, casting="unsafe")
        scores.append(new_scores)
        count += len(new_scores)
    return np.concatenate(scores) if scores else np.zeros(0)


Bounds = tuple[int, int, int, int]  # top, bottom, left, right


def _zone(options: InstanceOptions) -> int:
    """How far from the edge of a block holes and smoothing may be wrong, in pixels."""
    return options.max_hole_area + round(4 * options.smoothing) + 2


def _grown(kept: Bounds, reach: int, height: int, width: int) -> Bounds:
    top, bottom, left, right = kept
    return max(top - reach, 0), min(bottom + reach, height), max(left - reach, 0), min(right + reach, width)


def _separate(
    foreground: Plane, depth: Plane, options: InstanceOptions, kept: Bounds, block: Bounds
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Labels of a block, the scores of all, and which are objects of its own; None if any of these may be wrong."""
    top, bottom, left, right = block
    probability, deep = (np.array(plane.open()[top:bottom, left:right]) for plane in (foreground, depth))
    labels, scores = separate_instances(probability, deep, replace(options, min_area=0, min_score=0, border=0))
    first_row, first_column = _first_pixels(labels)
    own = (first_row >= kept[0] - top) & (first_row < kept[1] - top)
    own &= (first_column >= kept[2] - left) & (first_column < kept[3] - left)
    own[0] = False
    core = labels[kept[0] - top : kept[1] - top, kept[2] - left : kept[3] - left]
    doubtful = _doubtful(labels, options, block, foreground.size)
    return None if doubtful[core].any() else (labels, np.append(0, scores), own)


def _first_pixels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the first pixel of 0, 1, 2, ..."""
    flat = labels.ravel()
    first = np.zeros(flat.max(initial=0) + 1, np.intp)
    first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)  # the last one assigned stays
    return np.divmod(first, max(labels.shape[1], 1))


def _doubtful(labels: np.ndarray, options: InstanceOptions, block: Bounds, size: tuple[int, int]) -> np.ndarray:
    """Which objects would be others if the block reached further, or touch such."""
    zone = _zone(options)
    inner = tuple(
        slice(0 if start == 0 else zone, None if stop == length else -zone)
        for start, stop, length in zip(block[::2], block[1::2], size, strict=True)
    )
    cut = labels_outside(labels, inner)
    cut[0] = False
    doubtful = cut.copy()
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        doubtful[one[cut[other]]] = True
        doubtful[other[cut[one]]] = True
    doubtful[0] = False
    return doubtful
