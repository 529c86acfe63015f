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
        kept = slice(top, min(top + core, height)), slice(left, min(left + core, width))
        reach = margin + _zone(options)
        while (found := _separate(foreground, depth, options, kept, reach)) is None:
            reach *= 2  # a block without inner sides is always right
        block, numbers, new_scores = found
        np.copyto(labels.open()[block], numbers + count, where=numbers > 0, casting="unsafe")
        scores.append(new_scores)
        count += len(new_scores)
    return np.concatenate(scores) if scores else np.zeros(0)


Box = tuple[slice, ...]  # rows, columns


def _zone(options: InstanceOptions) -> int:
    """How far from the edge of a block holes and smoothing may be wrong, in pixels."""
    return options.max_hole_area + round(4 * options.smoothing) + 2


def _separate(
    foreground: Plane, depth: Plane, options: InstanceOptions, kept: Box, reach: int
) -> tuple[Box, np.ndarray, np.ndarray] | None:
    """The block that reaches so far, numbers and scores of the objects of its core; None if any may be wrong."""
    sides = list(zip(kept, foreground.size, strict=True))
    block = tuple(slice(max(side.start - reach, 0), min(side.stop + reach, length)) for side, length in sides)
    probability, deep = (np.array(plane.open()[block]) for plane in (foreground, depth))
    labels, scores = separate_instances(probability, deep, replace(options, min_area=0, min_score=0, border=0))
    core = _within(block, kept)
    if _doubtful(labels, options, block, foreground.size)[labels[core]].any():
        return None
    own = np.ones(len(scores) + 1, bool)
    for first, side in zip(_first_pixels(labels), core, strict=True):
        own &= (first >= side.start) & (first < side.stop)
    inside = tuple(slice(options.border, max(length - options.border, 0)) for length in foreground.size)
    return block, *select_instances(labels, np.append(0, scores), own, _within(block, inside), options)


def _within(block: Box, box: Box) -> Box:
    """A part of the page, as seen from a block."""
    return tuple(
        slice(max(side.start - whole.start, 0), max(side.stop - whole.start, 0))
        for side, whole in zip(box, block, strict=True)
    )


def _first_pixels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the first pixel of 0, 1, 2, ..."""
    flat = labels.ravel()
    first = np.zeros(flat.max(initial=0) + 1, np.intp)
    first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)  # the last one assigned stays
    return np.divmod(first, max(labels.shape[1], 1))


def _doubtful(labels: np.ndarray, options: InstanceOptions, block: Box, size: tuple[int, int]) -> np.ndarray:
    """Which objects would be others if the block reached further, or touch such."""
    zone = _zone(options)
    inner = tuple(
        slice(0 if side.start == 0 else zone, None if side.stop == length else -zone)
        for side, length in zip(block, size, strict=True)
    )
    cut = labels_outside(labels, inner)
    cut[0] = False
    doubtful = cut.copy()
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        doubtful[one[cut[other]]] = True
        doubtful[other[cut[one]]] = True
    doubtful[0] = False
    return doubtful
