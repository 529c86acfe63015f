"""Each measure beside PySODMetrics and beside the slow, literal formula of its paper."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from drawn_pairs import PAIRS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from u2net_hf.sod_metrics import (
    Pair,
    adaptive_e,
    adaptive_precision_recall,
    dice,
    e_curve,
    f_beta,
    iou,
    mae,
    precision_recall,
    relaxed_f,
    s_measure,
    weighted_f,
)

Array = NDArray[Any]
EPS = np.finfo(float).eps

drawn = pytest.mark.parametrize(("levels", "mask"), PAIRS.values(), ids=PAIRS.keys())
as_levels_and_floats = pytest.mark.parametrize("scale", [1, 255], ids=["levels", "floats"])


def as_map(levels: Array, scale: int) -> Array:
    return levels if scale == 1 else levels / scale


@drawn
@as_levels_and_floats
def test_no_measure_depends_on_how_arrays_lie_in_memory(levels: Array, mask: Array, scale: int) -> None:
    """Transposed, in Fortran's order, as a slice, read-only: the numbers of a plain copy, to the last bit."""
    values = as_map(levels, scale)
    padded, padded_mask = (np.repeat(np.repeat(array, 2, axis=0), 3, axis=1) for array in (values, mask))
    readonly = values.copy()
    readonly.flags.writeable = False
    ways = [
        (values.T.copy().T, mask.T.copy().T),
        (np.asfortranarray(values), mask),
        (values, np.asfortranarray(mask)),
        (padded[::2, ::3], padded_mask[::2, ::3]),
        (values[::-1, ::-1].copy()[::-1, ::-1], mask),
        (readonly, mask),
    ]
    measures = (mae, precision_recall, adaptive_precision_recall, e_curve, adaptive_e, s_measure)
    for measure in (*measures, weighted_f, relaxed_f, iou, dice):
        expected = measure(Pair(values.copy(), mask.copy()))
        for way in ways:
            np.testing.assert_array_equal(measure(Pair(*way)), expected, err_msg=measure.__name__)


# --- beside PySODMetrics -------------------------------------------------------------------------------------------


def assert_like_pysodmetrics(pysodmetrics: ModuleType, levels: Array, mask: Array) -> None:
    """All shared measures of one pair to 1e-10.

    PySODMetrics stretches each map to [0, 1]; the same is done here first, in floats. It counts the thresholds of the
    stretched map by truncated levels where `Pair` rounds, so the curves are compared on its own levels, and it returns
    them from the highest threshold down. It cannot do S on blocks without pixels (NaN).
    """
    values = levels / 255
    if values.max() > values.min():
        values = (values - values.min()) / (values.max() - values.min())
    ours, theirs = Pair(values, mask), mask.astype(np.uint8) * 255
    truncated = Pair((values * 255).astype(np.uint8), mask)

    def run(name: str) -> Any:
        measure = getattr(pysodmetrics, name)()
        measure.step(levels, theirs)
        return measure

    expected = run("MAE").get_results()["mae"]
    assert mae(ours) == pytest.approx(expected, abs=1e-10)
    expected = run("WeightedFmeasure").get_results()["wfm"]
    assert weighted_f(ours) == pytest.approx(expected, abs=1e-10)
    with np.errstate(invalid="ignore"):
        expected = run("Smeasure").get_results()["sm"]
    if not np.isnan(expected):
        assert s_measure(ours) == pytest.approx(expected, abs=1e-10)

    f = run("Fmeasure").get_results()
    precision, recall = precision_recall(truncated)
    np.testing.assert_allclose(precision, f["pr"]["p"][::-1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(recall, f["pr"]["r"][::-1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(f_beta(precision, recall), f["fm"]["curve"][::-1], rtol=0, atol=1e-10)
    assert float(f_beta(*adaptive_precision_recall(ours))) == pytest.approx(f["fm"]["adp"], abs=1e-10)

    e = run("Emeasure").get_results()["em"]
    np.testing.assert_allclose(e_curve(truncated), e["curve"][::-1], rtol=0, atol=1e-10)
    assert adaptive_e(ours) == pytest.approx(e["adp"], abs=1e-10)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@drawn
def test_drawn_pairs_like_pysodmetrics(pysodmetrics: ModuleType, levels: Array, mask: Array) -> None:
    assert_like_pysodmetrics(pysodmetrics, levels, mask)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [0, 255])
def test_constant_maps_like_pysodmetrics(pysodmetrics: ModuleType, value: int) -> None:
    # On other constants PySODMetrics sees a spread of rounding errors, by which S jumps.
    assert_like_pysodmetrics(pysodmetrics, np.full((48, 64), value, np.uint8), PAIRS["soft"][1])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("method", ["Amulet", "DSS", "PiCANet"])
def test_real_maps_like_pysodmetrics(pysodmetrics: ModuleType, shared_data: Path, method: str) -> None:
    folder = shared_data / "sod300"
    for file in sorted((folder / "masks").glob("*.png"))[::40]:
        levels = np.asarray(Image.open(folder / "maps" / method / file.name).convert("L"))
        mask = np.asarray(Image.open(file).convert("L")) > 128
        assert_like_pysodmetrics(pysodmetrics, levels, mask)


# --- beside the literal formula ------------------------------------------------------------------------------------


@as_levels_and_floats
@drawn
def test_mae(levels: Array, mask: Array, scale: int) -> None:
    assert mae(Pair(as_map(levels, scale), mask)) == pytest.approx(np.abs(levels / 255 - mask).mean(), abs=1e-13)


def test_mae_of_floats_is_not_quantized() -> None:
    assert mae(Pair(np.full((5, 5), 0.001), np.zeros((5, 5), bool))) == pytest.approx(0.001, abs=1e-16)


@as_levels_and_floats
@drawn
def test_precision_recall_and_f_threshold_by_threshold(levels: Array, mask: Array, scale: int) -> None:
    precision, recall = precision_recall(Pair(as_map(levels, scale), mask))
    f = f_beta(precision, recall)
    for threshold in range(256):
        predicted = levels >= threshold
        hits = (predicted & mask).sum()
        p = hits / predicted.sum() if predicted.any() else 0
        r = hits / mask.sum() if mask.any() else 0
        expected = 1.3 * p * r / (0.3 * p + r) if hits else 0
        assert (precision[threshold], recall[threshold]) == (p, r)
        assert f[threshold] == pytest.approx(expected, abs=1e-15)


def test_authors_tool_has_no_threshold_1() -> None:
    """Binary-Segmentation-Evaluation-Tool: map / (maximum + 1e-8) * 255, 255 bins, 1e-8 in each denominator."""
    levels, mask = PAIRS["noisy"]
    scaled = levels / (levels.max() + 1e-8) * 255
    edges = np.arange(256)
    inside, _ = np.histogram(scaled[mask], edges)
    outside, _ = np.histogram(scaled[~mask], edges)
    hits, false = inside[::-1].cumsum()[::-1], outside[::-1].cumsum()[::-1]
    precision, recall = precision_recall(Pair(levels, mask))
    np.testing.assert_allclose(np.delete(precision, 1), hits / (hits + false + 1e-8), rtol=1e-7)
    np.testing.assert_allclose(np.delete(recall, 1), hits / (mask.sum() + 1e-8), rtol=1e-7)


def literal_e(predicted: Array, mask: Array) -> float:
    if not mask.any():
        matrix = ~predicted * 1.0
    elif mask.all():
        matrix = predicted * 1.0
    else:
        a, b = predicted - predicted.mean(), mask - mask.mean()
        matrix = (1 + 2 * a * b / (a * a + b * b + EPS)) ** 2 / 4
    return matrix.sum() / (mask.size - 1)


@as_levels_and_floats
@drawn
def test_e_measure(levels: Array, mask: Array, scale: int) -> None:
    pair = Pair(as_map(levels, scale), mask)
    expected = [literal_e(levels >= threshold, mask) for threshold in range(256)]
    np.testing.assert_allclose(e_curve(pair), expected, rtol=0, atol=1e-12)
    adaptive = levels / 255 >= min(2 * (levels / 255).mean(), 1)
    assert adaptive_e(pair) == pytest.approx(literal_e(adaptive, mask), abs=1e-12)


@as_levels_and_floats
@drawn
def test_adaptive_precision_and_recall(levels: Array, mask: Array, scale: int) -> None:
    predicted = levels / 255 >= min(2 * (levels / 255).mean(), 1)
    hits = (predicted & mask).sum()
    expected = hits / max(predicted.sum(), 1), hits / max(mask.sum(), 1)
    assert adaptive_precision_recall(Pair(as_map(levels, scale), mask)) == expected


def literal_s(values: Array, mask: Array) -> float:
    if not mask.any() or mask.all():
        return values.mean() if mask.any() else 1 - values.mean()

    def object_score(x: Array) -> float:
        deviation = x.std(ddof=1) if x.size > 1 else 0
        return 2 * x.mean() / (x.mean() ** 2 + 1 + deviation + EPS)

    def ssim(x: Array, y: Array) -> float:
        count = max(x.size - 1, 1)
        dx, dy = x - x.mean(), y - y.mean()
        a = 4 * x.mean() * y.mean() * (dx * dy).sum() / count
        b = (x.mean() ** 2 + y.mean() ** 2) * ((dx * dx).sum() + (dy * dy).sum()) / count
        return a / (b + EPS) if a != 0 else float(b == 0)

    share = mask.mean()
    by_object = share * object_score(values[mask]) + (1 - share) * object_score(1 - values[~mask])
    y, x = (int(c) + 1 for c in np.round(np.argwhere(mask).mean(axis=0)))
    blocks = [np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]]
    by_region = sum(ssim(values[b], mask[b]) * mask[b].size for b in blocks if mask[b].size) / mask.size
    return max(0, (by_object + by_region) / 2)


@as_levels_and_floats
@drawn
def test_s_measure(levels: Array, mask: Array, scale: int) -> None:
    assert s_measure(Pair(as_map(levels, scale), mask)) == pytest.approx(literal_s(levels / 255, mask), abs=1e-12)


@pytest.mark.parametrize("corner", [np.s_[-1:, :], np.s_[:, -1:], np.s_[-1:, -1:]])
def test_s_measure_of_a_mask_at_the_last_row_or_column(corner: tuple[slice, slice]) -> None:
    # The blocks beyond the centroid are empty, which is NaN in PySODMetrics.
    mask = np.zeros((9, 7), bool)
    mask[corner] = True
    assert s_measure(Pair(mask, mask)) == pytest.approx(1, abs=1e-9)


@as_levels_and_floats
def test_s_measure_of_a_constant_map_has_no_rounding_in_its_spread(scale: int) -> None:
    mask = np.zeros((48, 64), bool)
    mask[4, 4] = True
    share, y, x = mask.mean(), 5, 5  # the block of the object scores 0, the others, constant like the map, score 1
    for level in range(1, 256):
        value = level / 255
        by_object = share * 2 * value / (value**2 + 1) + (1 - share) * 2 * (1 - value) / ((1 - value) ** 2 + 1)
        expected = (by_object + 1 - y * x / mask.size) / 2
        constant = as_map(np.full(mask.shape, level, np.uint8), scale)
        assert s_measure(Pair(constant, mask)) == pytest.approx(expected, abs=1e-12)


def literal_weighted_f(values: Array, top: int, bottom: int, left: int, right: int) -> float:
    """For a filled rectangle, whose nearest pixel to any other is found by clipping, without ties."""
    height, width = values.shape
    mask = np.zeros(values.shape, bool)
    mask[top:bottom, left:right] = True
    error = np.abs(values - mask)
    moved, weight = error.copy(), np.ones(values.shape)
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:
                ny, nx = min(max(y, top), bottom - 1), min(max(x, left), right - 1)
                moved[y, x] = error[ny, nx]
                weight[y, x] = 2 - 0.5 ** (np.hypot(y - ny, x - nx) / 5)
    offsets = [(dy, dx, np.exp(-(dy * dy + dx * dx) / 50)) for dy in range(-3, 4) for dx in range(-3, 4)]
    total = sum(g for _, _, g in offsets)
    smallest = error.copy()
    for y, x in np.argwhere(mask):
        window = sum(
            g * moved[y + dy, x + dx] for dy, dx, g in offsets if 0 <= y + dy < height and 0 <= x + dx < width
        )
        smallest[y, x] = min(error[y, x], window / total)
    weighted = smallest * weight
    hits = mask.sum() - weighted[mask].sum()
    precision, recall = hits / (hits + weighted[~mask].sum() + EPS), 1 - weighted[mask].mean()
    return 2 * precision * recall / (precision + recall + EPS)


@pytest.mark.parametrize("box", [(5, 20, 8, 30), (0, 7, 0, 9), (20, 30, 35, 40), (11, 12, 17, 18), (0, 30, 0, 40)])
@pytest.mark.parametrize("kind", ["levels", "floats", "sparse"])
def test_weighted_f(box: tuple[int, int, int, int], kind: str) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (30, 40), np.uint8)
    if kind == "sparse":  # most of the image has neither object nor prediction
        levels[:, :12] = levels[9:] = 0
    top, bottom, left, right = box
    mask = np.zeros(levels.shape, bool)
    mask[top:bottom, left:right] = True
    prediction = levels / 255 if kind == "floats" else levels
    assert weighted_f(Pair(prediction, mask)) == pytest.approx(literal_weighted_f(levels / 255, *box), abs=1e-12)


def test_weighted_f_leaves_the_map_alone() -> None:
    levels, mask = PAIRS["noisy"]
    values = levels / 255
    before = values.copy()
    weighted_f(Pair(values, mask))
    np.testing.assert_array_equal(values, before)


def literal_relaxed_f(predicted: Array, mask: Array, rho: int) -> float:
    def boundary(binary: Array) -> Array:
        height, width = binary.shape
        return np.array(
            [
                (y, x)
                for y, x in np.argwhere(binary)
                for ny, nx in [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                if 0 <= ny < height and 0 <= nx < width and not binary[ny, nx]
            ]
        ).reshape(-1, 2)

    a, b = (np.unique(boundary(binary), axis=0) for binary in (predicted, mask))
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    near = np.linalg.norm(a[:, None] - b[None], axis=2) <= rho
    precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 1.3 * precision * recall / (0.3 * precision + recall) if precision else 0.0


@pytest.mark.parametrize("rho", [0, 1, 2, 3, 5, 60])
@drawn
def test_relaxed_f(levels: Array, mask: Array, rho: int) -> None:
    expected = literal_relaxed_f(levels / 255 >= 0.5, mask, rho)
    assert relaxed_f(Pair(levels, mask), rho=rho) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@as_levels_and_floats
@drawn
def test_iou_and_dice(levels: Array, mask: Array, scale: int, threshold: float) -> None:
    predicted = set(map(tuple, np.argwhere(levels / 255 >= threshold)))
    true = set(map(tuple, np.argwhere(mask)))
    pair = Pair(as_map(levels, scale), mask)
    assert iou(pair, threshold) == pytest.approx(len(predicted & true) / len(predicted | true))
    assert dice(pair, threshold) == pytest.approx(2 * len(predicted & true) / (len(predicted) + len(true)))


# --- edges and properties ------------------------------------------------------------------------------------------

NOTHING = np.zeros((6, 8), bool)
ALL = np.ones((6, 8), bool)


def test_empty_mask_and_empty_map() -> None:
    pair = Pair(NOTHING, NOTHING)
    assert (mae(pair), s_measure(pair), weighted_f(pair)) == (0, 1, 0)
    assert (relaxed_f(pair), iou(pair), dice(pair)) == (1, 1, 1)
    assert f_beta(*precision_recall(pair)).max() == 0
    assert f_beta(*adaptive_precision_recall(pair)) == 0
    assert e_curve(pair)[1] == 48 / 47
    assert adaptive_e(pair) == 0  # the threshold is 0: all is predicted


def test_empty_mask_and_full_map() -> None:
    pair = Pair(ALL, NOTHING)
    assert (mae(pair), s_measure(pair), weighted_f(pair)) == (1, 0, 0)
    assert (relaxed_f(pair), iou(pair), dice(pair), adaptive_e(pair)) == (1, 0, 0, 0)
    assert e_curve(pair).max() == 0


def test_full_mask_and_full_map() -> None:
    pair = Pair(ALL, ALL)
    assert (mae(pair), s_measure(pair), relaxed_f(pair), iou(pair), dice(pair)) == (0, 1, 1, 1, 1)
    assert weighted_f(pair) == pytest.approx(1)
    np.testing.assert_array_equal(f_beta(*precision_recall(pair)), 1)


def test_full_mask_and_empty_map() -> None:
    pair = Pair(NOTHING, ALL)
    assert (mae(pair), s_measure(pair), iou(pair), dice(pair)) == (1, 0, 0, 0)
    np.testing.assert_array_equal(f_beta(*precision_recall(pair))[1:], 0)


def test_object_that_is_missed() -> None:
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    pair = Pair(np.zeros((20, 20)), mask)
    assert weighted_f(pair) == pytest.approx(0, abs=1e-12)
    assert (relaxed_f(pair), iou(pair), dice(pair)) == (0, 0, 0)


def test_one_pixel_image() -> None:
    pair = Pair(np.array([[0.7]]), np.array([[True]]))
    values = [mae(pair), weighted_f(pair), s_measure(pair), relaxed_f(pair), iou(pair), dice(pair), adaptive_e(pair)]
    assert np.isfinite(values).all()
    assert mae(pair) == pytest.approx(0.3)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5, 1.0])
def test_constant_map_predicts_all_or_nothing(value: float) -> None:
    mask = PAIRS["soft"][1]
    precision, recall = precision_recall(Pair(np.full(mask.shape, value), mask))
    level = round(255 * value)
    np.testing.assert_allclose(precision[: level + 1], mask.mean())
    np.testing.assert_array_equal(recall, np.arange(256) <= level)
    assert not precision[level + 1 :].any()


shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
masks = shapes.flatmap(lambda shape: hnp.arrays(bool, shape))
pairs = shapes.flatmap(lambda shape: st.tuples(hnp.arrays(np.uint8, shape), hnp.arrays(bool, shape)))


@given(pairs)
@settings(deadline=None, max_examples=60)
def test_ranges_and_agreement_of_levels_and_floats(arrays: tuple[Array, Array]) -> None:
    levels, mask = arrays
    eight_bit, floats = Pair(levels, mask), Pair(levels / 255, mask)
    slack = 1e-12
    for measure in (mae, s_measure, weighted_f, relaxed_f, iou, dice):
        assert -slack <= measure(eight_bit) <= 1 + slack
        assert measure(floats) == pytest.approx(measure(eight_bit), abs=1e-9)
    highest = mask.size / max(mask.size - 1, 1)
    assert -slack <= e_curve(eight_bit).min() <= e_curve(eight_bit).max() <= highest + slack
    assert 0 <= iou(eight_bit) <= dice(eight_bit) <= 1


@given(pairs)
@settings(deadline=None, max_examples=60)
def test_precision_recall_bounds(arrays: tuple[Array, Array]) -> None:
    levels, mask = arrays
    precision, recall = precision_recall(Pair(levels, mask))
    f = f_beta(precision, recall)
    assert (np.diff(recall) <= 0).all()
    assert precision[0] == mask.mean()
    assert recall[0] == mask.any()
    assert (f <= np.maximum(precision, recall) + 1e-15).all()
    assert (f >= np.minimum(precision, recall) - 1e-15).all()


@given(masks.filter(lambda mask: mask.any()))
@settings(deadline=None, max_examples=60)
def test_perfect_map(mask: Array) -> None:
    pair = Pair(mask, mask)
    assert mae(pair) == 0
    assert (iou(pair), dice(pair), relaxed_f(pair)) == (1, 1, pytest.approx(1))
    np.testing.assert_allclose(f_beta(*precision_recall(pair))[1:], 1, atol=1e-12)
    assert weighted_f(pair) == pytest.approx(1)
    np.testing.assert_allclose(e_curve(pair)[1:], mask.size / max(mask.size - 1, 1), atol=1e-9)
    if mask.size > 60:  # EPS weighs in on very small blocks
        assert s_measure(pair) == pytest.approx(1, abs=1e-6)


@given(pairs)
@settings(deadline=None, max_examples=60)
def test_complement(arrays: tuple[Array, Array]) -> None:
    levels, mask = arrays
    assert mae(Pair(255 - levels, ~mask)) == pytest.approx(mae(Pair(levels, mask)), abs=1e-15)
    assert mae(Pair(levels, ~mask)) == pytest.approx(1 - mae(Pair(levels, mask)), abs=1e-15)
    binary = levels > 127
    e, of_complement = e_curve(Pair(binary, mask))[1:], e_curve(Pair(~binary, ~mask))[1:]
    np.testing.assert_allclose(e, of_complement, atol=1e-12)


@given(pairs, st.sampled_from([np.fliplr, np.flipud, np.transpose]))
@settings(deadline=None, max_examples=60)
def test_mirroring_changes_no_measure_of_single_pixels(arrays: tuple[Array, Array], mirror: Any) -> None:
    levels, mask = arrays
    pair, mirrored = Pair(levels, mask), Pair(mirror(levels), mirror(mask))
    for measure in (mae, iou, dice, relaxed_f, adaptive_e):
        assert measure(mirrored) == measure(pair)
    np.testing.assert_array_equal(e_curve(mirrored), e_curve(pair))
