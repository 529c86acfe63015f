"""The measures of the ISBI 2012 challenge for cells that tile the image, with membranes between them.

The prediction is the probability of a cell, which is cut above each of `THRESHOLDS`, a mask, or a label map; the last
two are the same at each threshold. Cells of a cut or a mask are what connects across pixel sides. Labels that touch
stay apart, and a label in several places is a cell in each of them. The same holds for the reference.

V_rand and V_info are "foreground-restricted": pixels that the reference gives to membranes are left out, and a pixel
of a cell that is predicted as membrane is a segment of its own (as in the released code of the challenge and of
SNEMI3D). "Thinned" first grows the predicted cells by a watershed until lines of one pixel part them, so that the
width of membranes no longer matters: the second leader board (Arganda-Carreras et al., Frontiers in Neuroanatomy 9,
2015). Where two cells are equally near, the line may lie one pixel beside that of the challenge's own watershed. The
table of the U-Net paper is of the first one, which did not thin; its Rand error is 1 - V_rand.

Edges: a reference without cells gives 1 in V_rand and V_info, which then compare nothing.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .measures import Ratio
from .pair import THRESHOLDS, LabelPair, Overlaps
from .warping import warp


def pixel_error(pair: LabelPair) -> Ratio:
    """Share of the pixels on which mask and reference differ, at each threshold, in [0, 1]."""
    wrong = [np.count_nonzero(mask != (pair.reference > 0)) for mask in pair.masks]
    return Ratio(_at_each(wrong), np.full(len(THRESHOLDS), pair.size))


def pixel_f(pair: LabelPair) -> Ratio:
    """F-score of the pixels of cells, at each threshold: 1 less it is what the leader board calls pixel error."""
    true = pair.reference > 0
    both = [np.count_nonzero(mask & true) for mask in pair.masks]
    either = [np.count_nonzero(mask) + np.count_nonzero(true) for mask in pair.masks]
    return Ratio(2 * _at_each(both), _at_each(either))


def v_rand(pair: LabelPair) -> Ratio:
    """Foreground-restricted Rand F-score at each threshold, in [0, 1].

    sum p_ij² / (sum s_i² / 2 + sum t_j² / 2), p_ij being the share of pixels in segment i and true cell j.
    """
    return _scores(rand_score, pair.cell_overlaps)


def v_info(pair: LabelPair) -> Ratio:
    """Foreground-restricted information-theoretic F-score at each threshold, in [0, 1].

    I(S; T) / (H(S) / 2 + H(T) / 2) of segments and true cells.
    """
    return _scores(information_score, pair.cell_overlaps)


def v_rand_thinned(pair: LabelPair) -> Ratio:
    """`v_rand` after thinning: the order of the challenge's second leader board."""
    return _scores(rand_score, pair.thinned_overlaps)


def v_info_thinned(pair: LabelPair) -> Ratio:
    """`v_info` after thinning."""
    return _scores(information_score, pair.thinned_overlaps)


def warping_error(pair: LabelPair) -> Ratio:
    """Share of the pixels that still differ after the reference was warped to the mask, at each threshold, in [0, 1].

    What shifts a border is free, what merges, splits, adds or deletes a cell or a hole is not (Jain et al., Boundary
    learning by optimization with topological constraints, CVPR 2010; see `warp`). Of the pixels that may change, that
    with the probability farthest from the threshold comes first, as in the challenge. Touching labels are one region.
    """
    true = pair.reference > 0
    if pair.prediction.dtype.kind == "f":
        gains = [abs(pair.prediction.astype(np.float64) - threshold) for threshold in THRESHOLDS]
    else:
        gains = [np.zeros(true.shape)]
    wrong = [np.count_nonzero(warp(true, mask, gain) != mask) for mask, gain in zip(pair.masks, gains, strict=True)]
    return Ratio(_at_each(wrong), np.full(len(THRESHOLDS), pair.size))


def rand_score(overlaps: Overlaps) -> float:
    """V_rand with alpha = 1/2 of one segmentation, whose pixels outside of all segments are segments of their own."""
    segments, alone = _segments(overlaps)
    both = _squares(overlaps.areas) + alone
    total = _squares(segments) + alone + _squares(overlaps.reference_areas)
    return 2 * both / total if total else 1.0


def information_score(overlaps: Overlaps) -> float:
    """V_info with alpha = 1/2 of one segmentation, whose pixels outside of all segments are segments of their own.

    1 if segments and cells are the same single one, which has no entropy.
    """
    segments, alone = _segments(overlaps)
    of_segments, of_cells = _entropy(segments, alone), _entropy(overlaps.reference_areas)
    mutual = of_segments + of_cells - _entropy(overlaps.areas, alone)
    total = of_segments + of_cells
    return max(0.0, 2 * mutual / total) if total else 1.0


def _segments(overlaps: Overlaps) -> tuple[NDArray[np.int64], int]:
    """Areas of the predicted segments within the true cells, and how many pixels of these belong to no segment."""
    areas = np.zeros_like(overlaps.prediction_areas)
    np.add.at(areas, overlaps.columns, overlaps.areas)
    return areas, int(overlaps.reference_areas.sum() - overlaps.areas.sum())


def _squares(areas: NDArray[np.int64]) -> int:
    return int(areas @ areas)


def _entropy(areas: NDArray[np.int64], alone: int = 0) -> float:
    """Entropy in nats of a partition into parts of these areas and `alone` single pixels."""
    parts = areas[areas > 0].tolist()
    count = sum(parts) + alone
    if len(parts) + alone < 2:
        return 0.0
    return math.log(count) - math.fsum(area * math.log(area) for area in parts) / count


def _scores(score: Callable[[Overlaps], float], overlaps: list[Overlaps]) -> Ratio:
    return Ratio(_at_each([score(one) for one in overlaps]), np.ones(len(THRESHOLDS)))


def _at_each(values: ArrayLike) -> NDArray[np.float64]:
    """One value for each threshold; that of a mask or label map is the same at all."""
    return np.broadcast_to(np.asarray(values, np.float64), len(THRESHOLDS))
