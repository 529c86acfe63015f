"""The measures of objects against their definitions, object by object in exact fractions, and by hand."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from drawn_cells import EMPTY, ONE, PAIRS, Labels, boxes

from u2net_hf.cell_metrics import (
    IOU_THRESHOLDS,
    LabelPair,
    absolute_count_error,
    aji,
    ap,
    count_error,
    f1,
    pq,
    precision,
    recall,
    relative_count_error,
    seg,
    sq,
)

pairs = pytest.mark.parametrize(("prediction", "reference"), PAIRS.values(), ids=PAIRS.keys())


class Objects(NamedTuple):
    """Every object as a set of pixels."""

    predicted: list[set[int]]
    true: list[set[int]]


def objects(prediction: Labels, reference: Labels) -> Objects:
    def sets(labels: Labels) -> list[set[int]]:
        return [set(np.flatnonzero(labels == number).tolist()) for number in np.unique(labels) if number]

    return Objects(sets(prediction), sets(reference))


def iou(first: set[int], second: set[int]) -> Fraction:
    return Fraction(len(first & second), len(first | second))


def most_matches(them: Objects, threshold: Fraction) -> tuple[int, Fraction]:
    """Most objects that can be matched one to one above a threshold, and the sum of their IoUs, by an assignment."""
    from scipy.optimize import linear_sum_assignment

    if not them.true or not them.predicted:
        return 0, Fraction(0)
    ious = [[iou(true, predicted) for predicted in them.predicted] for true in them.true]
    chosen = linear_sum_assignment([[-float(value > threshold) for value in row] for row in ious])
    matched = [ious[i][j] for i, j in zip(*chosen, strict=True) if ious[i][j] > threshold]
    return len(matched), sum(matched, Fraction(0))


def ratio(numerator: Fraction | int, denominator: Fraction | int, otherwise: float) -> float:
    return float(Fraction(numerator) / denominator) if denominator else otherwise


@pairs
def test_matching_is_the_best_assignment(prediction: Labels, reference: Labels) -> None:
    them, pair = objects(prediction, reference), LabelPair(prediction, reference)
    predicted, true = len(them.predicted), len(them.true)
    nothing = float(predicted + true == 0)
    for index, twentieths in enumerate(range(10, 20)):
        matched, _ = most_matches(them, Fraction(twentieths, 20))
        assert IOU_THRESHOLDS[index] == pytest.approx(twentieths / 20)
        assert ap(pair).value[index] == ratio(matched, predicted + true - matched, 1)
        assert precision(pair).value[index] == ratio(matched, predicted, nothing)
        assert recall(pair).value[index] == ratio(matched, true, nothing)
        assert f1(pair).value[index] == ratio(2 * matched, predicted + true, 1)


@pairs
def test_panoptic_quality(prediction: Labels, reference: Labels) -> None:
    them, pair = objects(prediction, reference), LabelPair(prediction, reference)
    matched, total = most_matches(them, Fraction(1, 2))
    wrong = len(them.predicted) + len(them.true) - 2 * matched
    assert pq(pair).value == pytest.approx(ratio(total, matched + Fraction(wrong, 2), 1), abs=1e-15)
    assert sq(pair).value == pytest.approx(ratio(total, matched, float(matched + wrong == 0)), abs=1e-15)
    assert pq(pair).value == pytest.approx(sq(pair).value * f1(pair).value[0], abs=1e-15)


@pairs
def test_aji_is_algorithm_1(prediction: Labels, reference: Labels) -> None:
    them = objects(prediction, reference)
    intersection, union, used = 0, 0, set()
    for true in them.true:
        scores = [iou(true, predicted) for predicted in them.predicted]
        if not any(scores):
            union += len(true)
            continue
        best = scores.index(max(scores))
        intersection += len(true & them.predicted[best])
        union += len(true | them.predicted[best])
        used.add(best)
    union += sum(len(predicted) for index, predicted in enumerate(them.predicted) if index not in used)
    assert aji(LabelPair(prediction, reference)).value == ratio(intersection, union, 1)


@pairs
def test_seg_of_the_cell_tracking_challenge(prediction: Labels, reference: Labels) -> None:
    them = objects(prediction, reference)
    scores = [
        next(
            (iou(true, predicted) for predicted in them.predicted if 2 * len(true & predicted) > len(true)),
            Fraction(0),
        )
        for true in them.true
    ]
    expected = ratio(sum(scores, Fraction(0)), len(them.true), float(not them.predicted))
    assert seg(LabelPair(prediction, reference)).value == pytest.approx(expected, abs=1e-15)


@pairs
def test_counts(prediction: Labels, reference: Labels) -> None:
    them, pair = objects(prediction, reference), LabelPair(prediction, reference)
    difference = len(them.predicted) - len(them.true)
    assert count_error(pair).value == difference
    assert absolute_count_error(pair).value == abs(difference)
    assert relative_count_error(pair).value == ratio(abs(difference), len(them.true), float(difference > 0))


def test_by_hand() -> None:
    """Two cells of 4x5; one is found shifted by one row (IoU 16/24), the other in two halves (8 and 12 pixels)."""
    reference = boxes(12, 12, (0, 0, 5, 4), (6, 5, 11, 9))
    prediction = boxes(12, 12, (1, 0, 6, 4), (6, 5, 8, 9), (8, 5, 11, 9))
    pair = LabelPair(prediction, reference)
    found = [threshold < 2 / 3 for threshold in IOU_THRESHOLDS]  # .5 ... .65
    assert sum(found) == 4
    # At .5 the half of 12/20 is a match too (.6).
    matched = [2, 2, 1, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(ap(pair).value, [tp / (5 - tp) for tp in matched])
    assert pq(pair).value == pytest.approx((2 / 3 + 0.6) / (2 + 1 / 2))
    assert seg(pair).value == pytest.approx((2 / 3 + 0.6) / 2)
    assert aji(pair).value == pytest.approx((16 + 12) / (24 + 20 + 8))
    assert count_error(pair).value == 1


def test_an_iou_equal_to_the_threshold_is_no_match() -> None:
    pair = LabelPair(*PAIRS["exactly half"])
    assert ap(pair).value[0] == sq(pair).value == seg(pair).value == 0
    assert aji(pair).value == 0.5


def test_thresholds_are_compared_as_whole_numbers() -> None:
    """19 of 20 pixels: the IoU equals .95, though 0.95 as a float is a little less."""
    reference = np.ones((4, 5), int)
    prediction = reference.copy()
    prediction[0, 0] = 0
    assert ap(LabelPair(prediction, reference)).value.tolist() == [1] * 9 + [0]


def test_edges() -> None:
    scores = (ap, precision, recall, f1, pq, sq, aji, seg)
    for score in scores:
        assert np.all(score(LabelPair(EMPTY, EMPTY)).value == 1), score.__name__
        assert np.all(score(LabelPair(ONE, EMPTY)).value == 0), score.__name__
        assert np.all(score(LabelPair(EMPTY, ONE)).value == 0), score.__name__
    assert relative_count_error(LabelPair(EMPTY, EMPTY)).value == 0
    assert relative_count_error(LabelPair(ONE, EMPTY)).value == relative_count_error(LabelPair(EMPTY, ONE)).value == 1


def test_labels_may_be_renamed() -> None:
    prediction, reference = PAIRS["noise 3"]
    renamed = np.where(reference > 0, 10**12 - 7 * reference.astype(np.int64), 0)
    for measure in (ap, pq, seg, sq):
        np.testing.assert_array_equal(
            measure(LabelPair(prediction, renamed)).value, measure(LabelPair(prediction, reference)).value
        )
