"""The measures of ISBI 2012 against scikit-image, against pairs of pixels counted one by one, and by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from drawn_cells import MEMBRANES, PAIRS, Labels, boxes
from numpy.typing import NDArray
from skimage.measure import label
from skimage.metrics import adapted_rand_error, variation_of_information

from u2net_hf.cell_metrics import (
    THRESHOLDS,
    LabelPair,
    Ratio,
    pixel_error,
    pixel_f,
    v_info,
    v_info_thinned,
    v_rand,
    v_rand_thinned,
)

all_pairs = pytest.mark.parametrize(("prediction", "reference"), PAIRS.values(), ids=PAIRS.keys())
Segments = list[tuple[int, int]]


def single(ratio: Ratio) -> float:
    """The value of a label map or mask, which is the same at each threshold."""
    (value,) = set(ratio.value.tolist())
    return value


def in_cells(prediction: Labels, reference: Labels) -> Segments:
    """Segment and cell of each pixel of the reference's cells; a pixel outside of segments is one of its own."""
    segments, cells = label(prediction, connectivity=1), label(reference, connectivity=1)
    alone = iter(range(-1, -prediction.size - 1, -1))
    pixels = zip(segments.ravel().tolist(), cells.ravel().tolist(), strict=True)
    return [(segment or next(alone), cell) for segment, cell in pixels if cell]


@all_pairs
def test_v_rand_by_pairs_of_pixels(prediction: Labels, reference: Labels) -> None:
    """Of all pairs of pixels, drawn with replacement: the shares together in segments, in cells, in both."""
    pixels = in_cells(prediction, reference)
    together = [(a[0] == b[0], a[1] == b[1]) for a in pixels for b in pixels]
    both = sum(s and t for s, t in together)
    total = sum(s for s, _ in together) + sum(t for _, t in together)
    assert single(v_rand(LabelPair(prediction, reference))) == (2 * both / total if total else 1)


@all_pairs
def test_v_info_by_entropies(prediction: Labels, reference: Labels) -> None:
    pixels = in_cells(prediction, reference)

    def entropy(values: list) -> float:
        return sum(-n / len(values) * math.log2(n / len(values)) for n in Counter(values).values())

    segments, cells = entropy([s for s, _ in pixels]), entropy([t for _, t in pixels])
    expected = 2 * (segments + cells - entropy(pixels)) / (segments + cells) if segments + cells else 1
    assert single(v_info(LabelPair(prediction, reference))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_scikit_image(seed: int) -> None:
    """Its measures, told of pixels outside of segments; its Rand error has no pairs of a pixel with itself."""
    prediction, reference = PAIRS[f"noise {seed}"]
    pair = LabelPair(prediction, reference)
    true, segments = label(reference, connectivity=1), label(prediction, connectivity=1)
    outside = segments == 0
    segments[outside] = segments.max() + 1 + np.arange(np.count_nonzero(outside))
    error, *_ = adapted_rand_error(true, segments, ignore_labels=(0,))
    of_cells_alone, *_ = adapted_rand_error(true, segments, ignore_labels=(0,), alpha=1)
    count = np.count_nonzero(true)
    of_cells = int((np.bincount(true.ravel())[1:] ** 2).sum()) - count  # pairs of two pixels
    both = (1 - of_cells_alone) * of_cells
    of_segments = 2 * both / (1 - error) - of_cells
    expected = 2 * (both + count) / (of_cells + of_segments + 2 * count)
    assert single(v_rand(pair)) == pytest.approx(expected, abs=1e-12)

    cells = true > 0
    given_cells, given_segments = variation_of_information(true[cells], segments[cells])
    shares = np.bincount(true.ravel())[1:] / count
    of_cells = -(shares * np.log2(shares)).sum()
    mutual = of_cells - given_segments
    expected = 2 * mutual / (2 * mutual + given_segments + given_cells)
    assert single(v_info(pair)) == pytest.approx(expected, abs=1e-12)


def test_by_hand() -> None:
    """Two cells of ten pixels that the prediction merges, and one that it misses by a half."""
    reference = boxes(5, 13, (0, 0, 5, 2), (0, 3, 5, 5), (0, 6, 5, 8))
    prediction = boxes(5, 13, (0, 0, 5, 5), (0, 6, 5, 7))
    pair = LabelPair(prediction, reference)
    assert single(v_rand(pair)) == 2 * (100 + 100 + 25 + 5) / (400 + 25 + 5 + 300)
    both = 2 / 3 * math.log(3) + 1 / 6 * math.log(6) + 1 / 6 * math.log(30)
    segments = 2 / 3 * math.log(3 / 2) + 1 / 6 * math.log(6) + 1 / 6 * math.log(30)
    assert single(v_info(pair)) == pytest.approx(2 * (segments + math.log(3) - both) / (segments + math.log(3)))
    assert single(pixel_error(pair)) == 10 / 65
    assert single(pixel_f(pair)) == 2 * 25 / (2 * 25 + 5 + 5)


def test_edges() -> None:
    empty, full, other = np.zeros((4, 6), int), np.ones((4, 6), int), boxes(4, 6, (0, 0, 4, 3), (0, 3, 4, 6))
    for measure in (v_rand, v_info, v_rand_thinned, v_info_thinned, pixel_f):
        assert single(measure(LabelPair(full, full))) == 1
        assert single(measure(LabelPair(empty, empty))) == 1
    for measure in (v_rand, v_info):
        assert single(measure(LabelPair(full, empty))) == 1  # nothing to compare
    assert single(v_info(LabelPair(full, other))) == 0  # one segment says nothing
    assert single(pixel_f(LabelPair(full, empty))) == single(pixel_f(LabelPair(empty, full))) == 0
    assert single(pixel_error(LabelPair(empty, empty))) == 0


@pytest.mark.parametrize("soft", range(len(MEMBRANES)))
def test_probabilities_are_cut_above_each_threshold(soft: int) -> None:
    probability, true = MEMBRANES[soft]
    for measure in (pixel_error, pixel_f, v_rand, v_info, v_rand_thinned, v_info_thinned):
        values = measure(LabelPair(probability, true)).value
        assert len(values) == len(THRESHOLDS) == 10
        for threshold, value in zip(THRESHOLDS, values, strict=True):
            assert value == single(measure(LabelPair(probability > threshold, true)))


def test_masks_and_labels() -> None:
    """A mask is what 0/255 and a label map with one label are; labels that touch stay apart."""
    probability, true = MEMBRANES[0]
    predicted = probability > 0.5
    numbered = label(true, connectivity=1)
    expected = single(v_rand(LabelPair(predicted, true)))
    assert expected < 1
    for reference in (numbered, true.astype(np.uint8) * np.uint8(255), numbered.astype(">u2")):
        assert single(v_rand(LabelPair(predicted.astype(np.uint8), reference))) == expected
    touching = boxes(4, 6, (0, 0, 4, 3), (0, 3, 4, 6))
    assert single(v_rand(LabelPair(touching, touching))) == 1
    assert single(v_rand(LabelPair(touching > 0, touching))) == 2 * 288 / (576 + 288)


def widen(true: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return binary_erosion(true, iterations=width, border_value=1)


def test_thinning_forgives_wide_membranes_and_nothing_else() -> None:
    true = boxes(30, 31, (0, 0, 30, 15), (0, 16, 30, 31)) > 0
    wide = widen(true, 3)
    assert single(v_rand(LabelPair(wide, true))) < 0.9
    assert single(v_rand_thinned(LabelPair(wide, true))) == single(v_info_thinned(LabelPair(wide, true))) == 1
    merged = true.copy()
    merged[10:12, 15] = True
    assert single(v_rand_thinned(LabelPair(merged, true))) == single(v_rand(LabelPair(merged, true))) < 0.7


def test_thinned_lines_are_of_one_pixel() -> None:
    """Cells between membranes of seven pixels grow to the middle; the crossing may fall to one of them."""
    true = np.ones((41, 41), bool)
    true[20] = true[:, 20] = False
    (overlaps,) = LabelPair(widen(true, 3), true).thinned_overlaps
    assert overlaps.objects == (4, 4)
    assert overlaps.areas.tolist() == [400] * 4
    assert overlaps.prediction_areas.sum() <= 1601
