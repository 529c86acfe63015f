"""What a label map may be, and what is refused."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from drawn_cells import MEMBRANES, PAIRS
from PIL import Image

from u2net_hf.cell_metrics import OBJECT_MEASURES, CellMetrics, LabelPair
from u2net_hf.cell_metrics.pair import count_overlaps

PREDICTION, REFERENCE = PAIRS["noise 5"]


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


def strided(array: np.ndarray) -> np.ndarray:
    wide = np.full((2 * array.shape[0], 3 * array.shape[1]), 7, array.dtype)
    wide[::2, ::3] = array
    return wide[::2, ::3]


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        strided,
        frozen,
        lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
        *(lambda array, dtype=dtype: array.astype(dtype) for dtype in ("i1", "u1", ">i2", ">u2", "u4", "i8", "u8")),
        torch.from_numpy,
        lambda array: array.tolist(),
        lambda array: Image.fromarray(array.astype(np.uint8)),
        lambda array: Image.fromarray(array.astype(np.uint16)),
        lambda array: Image.fromarray(array.astype(np.int32)),
    ],
)
def test_every_layout_and_type(convert: Callable[[np.ndarray], Any]) -> None:
    expected, metrics = CellMetrics(), CellMetrics()
    expected.update([PREDICTION], [REFERENCE])
    metrics.update([convert(PREDICTION)], [convert(REFERENCE)])
    assert metrics.compute() == expected.compute()


def test_huge_labels_take_no_memory() -> None:
    big = np.where(REFERENCE > 0, np.uint64(2**63) + REFERENCE.astype(np.uint64), np.uint64(0))
    assert LabelPair(PREDICTION, big).overlaps.objects == LabelPair(PREDICTION, REFERENCE).overlaps.objects


def test_overlaps() -> None:
    pair = LabelPair(PREDICTION, REFERENCE)
    overlaps = pair.overlaps
    table = np.zeros((overlaps.reference_areas.size, overlaps.prediction_areas.size), int)
    table[overlaps.rows, overlaps.columns] = overlaps.areas
    true, predicted = (np.unique(labels[labels > 0]) for labels in (REFERENCE, PREDICTION))
    expected = [[np.count_nonzero((i == REFERENCE) & (j == PREDICTION)) for j in predicted] for i in true]
    np.testing.assert_array_equal(table, expected)
    assert np.all(overlaps.areas > 0)
    unions = [[np.count_nonzero((i == REFERENCE) | (j == PREDICTION)) for j in predicted] for i in true]
    np.testing.assert_array_equal(overlaps.unions, np.array(unions)[overlaps.rows, overlaps.columns])


@pytest.mark.parametrize(
    ("prediction", "reference", "error", "message"),
    [
        (PREDICTION, REFERENCE[:-1], ValueError, "differ in size: (13, 17) and (12, 17)"),
        (np.zeros((9, 8, 3), int), np.zeros((9, 8, 3), int), ValueError, "(height, width), got (9, 8, 3)"),
        (np.zeros((0, 5), int), np.zeros((0, 5), int), ValueError, "(height, width), got (0, 5)"),
        (np.zeros(5, int), np.zeros(5, int), ValueError, "(height, width), got (5,)"),
        (PREDICTION, REFERENCE.astype(float), TypeError, "a reference must be a label map of integers, got float64"),
        (PREDICTION.astype(float), REFERENCE, ValueError, "a label map must hold integers: convert it with astype"),
        (PREDICTION - 1, REFERENCE, ValueError, "a prediction must have labels from 0 on, got -1"),
        (PREDICTION, -REFERENCE, ValueError, "a reference must have labels from 0 on"),
        (np.full((2, 2), np.nan), np.ones((2, 2), int), ValueError, "from nan to nan"),
        (PREDICTION.astype(str), REFERENCE, TypeError, "must be a label map of integers, got <U"),
        (PREDICTION.astype(complex), REFERENCE, TypeError, "must be a label map of integers, got complex128"),
    ],
)
def test_refused(prediction: Any, reference: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        LabelPair(prediction, reference)


def test_objects_need_label_maps() -> None:
    probability, true = MEMBRANES[0]
    with pytest.raises(TypeError, match="the prediction must be a label map of integers, got float32"):
        _ = LabelPair(probability, true.astype(int)).overlaps
    with pytest.raises(TypeError, match=r"the reference must be a label map of integers, got bool; .*ndimage.label"):
        _ = LabelPair(PREDICTION, REFERENCE > 0).overlaps


@pytest.mark.parametrize("shape", [(9, 8, 3), (9, 8, 4), (2, 1, 9, 8), (9,)])
def test_one_array_that_is_no_batch(shape: tuple[int, ...]) -> None:
    metrics = CellMetrics()
    with pytest.raises(ValueError, match="a color picture is no label map"):
        metrics.update(np.zeros(shape, int), np.zeros(shape, int))
    assert metrics.count == 0
    assert tuple(metrics.measures) == OBJECT_MEASURES


def test_many_objects_in_narrow_integers() -> None:
    """scikit-image numbers in int32, which cannot hold the product of 50,000 objects and 50,000 others."""
    labels = np.arange(1, 50_001, dtype=np.int32).reshape(200, 250)
    overlaps = count_overlaps(labels, labels)
    np.testing.assert_array_equal(overlaps.rows, np.arange(50_000))
    np.testing.assert_array_equal(overlaps.columns, np.arange(50_000))
