"""The measures of objects, each a pure function of one `LabelPair` of label maps, as a ratio.

An object is matched where its intersection over union (IoU) is *above* the threshold, as DSB 2018 and panoptic quality
say. From .5 on no object can then have two partners, so the matching is unique and nothing is left to an algorithm.
StarDist and Cellpose count an IoU that equals the threshold as well. All comparisons are those of whole numbers.

Edges: where there is nothing to divide by, a score is 1 (an error 0) if neither image has objects, and else 0 (an
error 1). So an image that is empty in both is perfect, and predictions on an empty reference are punished once.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .pair import LabelPair, Overlaps

IOU_THRESHOLDS = tuple(twentieths / 20 for twentieths in range(10, 20))


class Ratio(NamedTuple):
    """A measure of one image whose two parts may be summed over images before they are divided.

    Attributes:
        numerator: A number, or one for each threshold.
        denominator: The same.
        otherwise: The value where the denominator is 0.
    """

    numerator: ArrayLike
    denominator: ArrayLike
    otherwise: float = 1.0

    @property
    def value(self) -> NDArray[np.float64]:
        """The measure of this image, float64 () or (thresholds,)."""
        return divide(self.numerator, self.denominator, self.otherwise)


def divide(numerator: ArrayLike, denominator: ArrayLike, otherwise: ArrayLike) -> NDArray[np.float64]:
    """Quotient in float64, and `otherwise` where the denominator is 0."""
    bottom = np.asarray(denominator, np.float64)
    return np.where(bottom == 0, otherwise, np.asarray(numerator, np.float64) / np.where(bottom == 0, 1, bottom))


def ap(pair: LabelPair) -> Ratio:
    """TP / (TP + FP + FN) at the ten IoU thresholds .5, .55 ... .95, in [0, 1], the "average precision" of DSB 2018.

    (Caicedo et al., Nature Methods 16, 2019.) It has no ranking of confidences, unlike that of COCO; other names are
    threat score and accuracy (StarDist).
    """
    matched, (true, predicted) = _matched(pair.overlaps), pair.overlaps.objects
    return Ratio(matched, true + predicted - matched)


def precision(pair: LabelPair) -> Ratio:
    """Share of the predicted objects that are matched, TP / (TP + FP), at the ten thresholds."""
    return Ratio(_matched(pair.overlaps), np.full(10, pair.overlaps.objects[1]), _if_nothing(pair))


def recall(pair: LabelPair) -> Ratio:
    """Share of the reference objects that are matched, TP / (TP + FN), at the ten thresholds."""
    return Ratio(_matched(pair.overlaps), np.full(10, pair.overlaps.objects[0]), _if_nothing(pair))


def f1(pair: LabelPair) -> Ratio:
    """2 TP / (2 TP + FP + FN) at the ten thresholds; at .5 the recognition quality (RQ) of panoptic quality."""
    return Ratio(2 * _matched(pair.overlaps), np.full(10, sum(pair.overlaps.objects)))


def sq(pair: LabelPair) -> Ratio:
    """Segmentation quality: mean IoU of the pairs above .5 (Kirillov et al., Panoptic segmentation, CVPR 2019)."""
    ious = _ious_above_half(pair.overlaps)
    return Ratio(math.fsum(ious), ious.size, _if_nothing(pair))


def pq(pair: LabelPair) -> Ratio:
    """Panoptic quality, sum of the IoUs above .5 / (TP + FP / 2 + FN / 2) = SQ * RQ (Kirillov et al., CVPR 2019)."""
    return Ratio(2 * math.fsum(_ious_above_half(pair.overlaps)), sum(pair.overlaps.objects))


def aji(pair: LabelPair) -> Ratio:
    """Aggregated Jaccard index (Kumar et al., IEEE TMI 36, 2017, algorithm 1), in [0, 1].

    Every reference object takes the prediction with the highest IoU (the lowest label of several), which others may
    have taken already; intersections are summed, and divided by the summed unions, to which each reference object
    without a partner and each prediction that nobody took adds its area.
    """
    overlaps = pair.overlaps
    unions = overlaps.unions
    order = np.lexsort((overlaps.columns, -overlaps.areas / unions, overlaps.rows))
    best = order[np.unique(overlaps.rows[order], return_index=True)[1]]
    alone = np.delete(overlaps.reference_areas, overlaps.rows[best]).sum()
    untaken = np.delete(overlaps.prediction_areas, overlaps.columns[best]).sum()
    return Ratio(overlaps.areas[best].sum(), unions[best].sum() + alone + untaken)


def seg(pair: LabelPair) -> Ratio:
    """SEG of the Cell Tracking Challenge: mean over the reference objects of the IoU with their partner, in [0, 1].

    The partner is the prediction that covers more than half of the reference object; without one the IoU is 0
    (Maska et al., Bioinformatics 30, 2014). Predictions without a partner cost nothing.
    """
    overlaps = pair.overlaps
    found = 2 * overlaps.areas > overlaps.reference_areas[overlaps.rows]
    return Ratio(math.fsum((overlaps.areas / overlaps.unions)[found]), overlaps.objects[0], _if_nothing(pair))


def count_error(pair: LabelPair) -> Ratio:
    """Number of predicted less number of reference objects, in objects: negative where some are missing."""
    true, predicted = pair.overlaps.objects
    return Ratio(predicted - true, 1)


def absolute_count_error(pair: LabelPair) -> Ratio:
    """Absolute value of `count_error`, in objects."""
    true, predicted = pair.overlaps.objects
    return Ratio(abs(predicted - true), 1)


def relative_count_error(pair: LabelPair) -> Ratio:
    """Absolute value of `count_error` by the number of reference objects; 1 if there are none but some predicted."""
    true, predicted = pair.overlaps.objects
    return Ratio(abs(predicted - true), true, 1 - _if_nothing(pair))


def _matched(overlaps: Overlaps) -> NDArray[np.int64]:
    """Number of matched objects at each IoU threshold, int64 (10,)."""
    twentieths = np.arange(10, 20)[:, None]
    return np.count_nonzero(20 * overlaps.areas > twentieths * overlaps.unions, axis=1)


def _ious_above_half(overlaps: Overlaps) -> NDArray[np.float64]:
    unions = overlaps.unions
    above = 2 * overlaps.areas > unions
    return overlaps.areas[above] / unions[above]


def _if_nothing(pair: LabelPair) -> float:
    return float(sum(pair.overlaps.objects) == 0)
