import numpy as np
import pytest
import torch
from PIL import Image

from u2net_hf.sod_metrics import Pair, precision_recall

MASK = np.array([[True, False, True], [False, False, True]])
LEVELS = np.array([[255, 0, 51], [102, 1, 254]], np.uint8)


@pytest.mark.parametrize(
    "prediction",
    [
        LEVELS,
        LEVELS[None],
        LEVELS[:, :, None],
        LEVELS / 255,
        (LEVELS / 255).astype(np.float32),
        (LEVELS / 255).tolist(),
        torch.from_numpy(LEVELS),
        torch.from_numpy(LEVELS / 255)[None, None],
        torch.from_numpy(LEVELS / 255).float().requires_grad_(),
        Image.fromarray(LEVELS),
        Image.fromarray(LEVELS).convert("RGB"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_map_has_the_same_levels(prediction: object) -> None:
    pair = Pair(prediction, MASK)
    np.testing.assert_array_equal(pair.levels, LEVELS)
    np.testing.assert_allclose(pair.values, LEVELS / 255, atol=1e-7)
    assert pair.values.dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps(dtype: torch.dtype) -> None:
    half = torch.tensor([[0.25, 1.0], [0.0, 0.5]], dtype=dtype)
    np.testing.assert_array_equal(Pair(half, np.ones((2, 2), bool)).values, [[0.25, 1], [0, 0.5]])


@pytest.mark.parametrize(
    "reference",
    [
        MASK,
        MASK.astype(np.uint8),
        MASK.astype(np.int64),
        MASK.astype(np.uint8) * 255,
        MASK.astype(np.uint8) * 129,
        np.where(MASK, 200, 128).astype(np.uint8),
        MASK.astype(np.float32),
        np.where(MASK, 129 / 255, 128 / 255).astype(np.float32),
        MASK.tolist(),
        torch.from_numpy(MASK),
        torch.from_numpy(MASK).long()[None],
        Image.fromarray(MASK),
        np.asarray(Image.fromarray(MASK)),
        Image.fromarray(MASK.astype(np.uint8) * 255),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_mask_is_the_same_mask(reference: object) -> None:
    np.testing.assert_array_equal(Pair(LEVELS, reference).mask, MASK)


def test_colors_of_voc() -> None:
    """An object in the colors of VOC is found by a perfect map; with a second class or void nobody knows."""
    picture = Image.fromarray(MASK.astype(np.uint8)).convert("L")
    colored = Image.frombytes("P", picture.size, picture.tobytes())
    colored.putpalette([0, 0, 0, 128, 0, 0, 224, 224, 192])
    assert precision_recall(Pair(MASK, colored))[1][255] == 1
    colored.putpixel((0, 0), 2)
    with pytest.raises(ValueError, match=r"0 \(#000000\), 1 \(#800000\), 2 \(#e0e0c0\)"):
        Pair(MASK, colored)


def test_bool_map_is_certain() -> None:
    np.testing.assert_array_equal(Pair(MASK, MASK).levels, MASK.astype(np.uint8) * 255)


def test_bool_arrays_of_pillow_have_other_bytes() -> None:
    from_pillow = np.asarray(Image.fromarray(MASK))
    pair = Pair(from_pillow, from_pillow)
    assert pair.foreground == MASK.sum()
    np.testing.assert_array_equal(pair.histogram, Pair(MASK, MASK).histogram)
    np.testing.assert_array_equal(pair.levels, MASK.astype(np.uint8) * 255)


def test_levels_round_and_do_not_truncate() -> None:
    pair = Pair(np.array([[0.5, 0.9999, 0.0019, 0.002]]), np.ones((1, 4), bool))
    np.testing.assert_array_equal(pair.levels, [[128, 255, 0, 1]])


def test_histogram_and_blocks_count_every_pixel_once() -> None:
    rng = np.random.default_rng(0)
    levels, mask = rng.integers(0, 256, (37, 23), np.uint8), rng.random((37, 23)) > 0.7
    expected = np.zeros((2, 256), int)
    for level, inside in zip(levels.ravel(), mask.ravel(), strict=True):
        expected[int(inside), level] += 1
    np.testing.assert_array_equal(Pair(levels, mask).histogram, expected)

    pair = Pair(levels, mask)
    y, x = pair.center
    for histogram, block in zip(
        pair.block_histograms, (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]), strict=True
    ):
        np.testing.assert_array_equal(histogram, Pair(levels[block], mask[block]).histogram)
    np.testing.assert_array_equal(pair.histogram, expected)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 1 / 3, 0.5, 200 / 255, 1.0])
def test_overlap_is_the_same_for_levels_and_floats(threshold: float) -> None:
    rng = np.random.default_rng(0)
    levels, mask = rng.integers(0, 256, (37, 23), np.uint8), rng.random((37, 23)) > 0.7
    above = levels / 255 >= threshold
    for prediction in (levels, levels / 255):
        assert Pair(prediction, mask).overlap(threshold) == ((above & mask).sum(), above.sum())
        np.testing.assert_array_equal(Pair(prediction, mask).binarise(threshold), above)


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        (LEVELS, MASK.T, r"\(2, 3\) and \(3, 2\)"),
        (np.full((2, 3), np.nan), MASK, "map has NaN"),
        (LEVELS / 255, np.full((2, 3), np.nan), "mask has NaN"),
        (LEVELS.astype(float), MASK, r"\[0, 1\], got values from 0.0 to 255.0"),
        (LEVELS / -255, MASK, "from -1.0"),
        (LEVELS, MASK * -1, "no negative values, got -1"),
        (LEVELS, [[0, 1, 2]] * 2, "holds 3 values, 0, 1, 2, and nothing says which are object"),
        (LEVELS, MASK.astype(np.float32) * 255, r"\[0, 1\]"),
        (np.zeros((2, 3, 3)), MASK, r"map must have the shape \(height, width\), got \(2, 3, 3\)"),
        (np.zeros((0, 3)), MASK, r"got \(0, 3\)"),
        (LEVELS, [1, 0], r"mask must have the shape \(height, width\), got \(2,\)"),
    ],
)
def test_bad_values_are_named(prediction: object, reference: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pair(prediction, reference)


@pytest.mark.parametrize("bad", [LEVELS.astype(np.int64), LEVELS.astype(complex)])
def test_maps_of_unknown_scale_are_refused(bad: object) -> None:
    with pytest.raises(TypeError, match="map must be uint8"):
        Pair(bad, MASK)


def test_masks_of_unknown_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="mask must be bool"):
        Pair(LEVELS, MASK.astype(complex))


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
@pytest.mark.parametrize("prediction", [LEVELS, LEVELS / 255])
def test_thresholds_lie_between_0_and_1(prediction: object, threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Pair(prediction, MASK).overlap(threshold)


def test_adaptive_threshold_of_levels_is_exact_at_ties() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((3, 3)) > 0.5
    ties = 0
    for _ in range(1000):
        levels = rng.integers(0, 13, (3, 3), np.uint8)
        scaled, threshold = levels.astype(int) * levels.size, 2 * int(levels.sum())
        ties += bool((scaled == threshold).any())
        above = scaled >= min(threshold, 255 * levels.size)
        assert Pair(levels, mask).adaptive_overlap == ((above & mask).sum(), above.sum())
    assert ties > 20
