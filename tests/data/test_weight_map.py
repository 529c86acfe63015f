import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from u2net_hf.data.weight_map import balanced_weights, instances_from_mask, two_nearest_distances, weight_map


def naive_gap_term(instances: np.ndarray, w0: float, sigma: float) -> np.ndarray:
    """The second term of the equation, pixel by pixel and cell by cell."""
    gap = np.zeros(instances.shape)
    cells = [np.argwhere(instances == label) for label in sorted(set(instances[instances > 0].tolist()))]
    for place in np.argwhere(instances == 0):
        distances = sorted(min(math.dist(place, pixel) for pixel in cell) for cell in cells)
        if len(distances) > 1:
            gap[tuple(place)] = w0 * math.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return gap


def discs(shape: tuple[int, int], count: int, radius: int, seed: int) -> np.ndarray:
    """Cells drawn in turn, a pixel or more apart."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    instances = np.zeros(shape, dtype=np.int64)
    for label in range(1, count + 1):
        row, column = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        distance = np.hypot(rows - row, columns - column)
        if not instances[distance <= radius + 1.5].any():
            instances[distance <= radius] = label
    return instances


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(0, 12),
    st.integers(0, 3),
    st.floats(0, 30),
    st.floats(0.5, 8),
    st.integers(0, 1000),
)
def test_equals_the_equation_written_out(
    height: int, width: int, count: int, radius: int, w0: float, sigma: float, seed: int
) -> None:
    instances = discs((height, width), count, radius, seed)
    weights = weight_map(instances, w0=w0, sigma=sigma, class_weights=(1.0, 3.0))
    expected = np.where(instances > 0, 3.0, 1.0) + naive_gap_term(instances, w0, sigma)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-6)


def test_gap_term_within_touching_cells() -> None:
    instances = discs((20, 20), 6, 3, seed=4)
    instances[:, 10:][instances[:, 10:] == 0] = 99  # a cell that touches all others
    weights = weight_map(instances, w0=3, sigma=2, class_weights=(1, 1), within_cells=True)
    for place in np.argwhere(instances > 0):
        others = np.argwhere((instances > 0) & (instances != instances[tuple(place)]))
        nearest = min(math.dist(place, other) for other in others)
        assert weights[tuple(place)] == pytest.approx(1 + 3 * math.exp(-(nearest**2) / 8), rel=1e-5)
    expected = weight_map(instances, w0=3, sigma=2, class_weights=(1, 1))
    np.testing.assert_array_equal(weights[instances == 0], expected[instances == 0])


def test_two_walls_with_a_gap_between_them() -> None:
    instances = np.zeros((9, 40), dtype=np.uint8)
    instances[:, :10], instances[:, 16:] = 1, 2  # a gap of 6: d1 + d2 = 7 at every pixel in it
    weights = weight_map(instances, class_weights=(1.0, 1.0))
    np.testing.assert_allclose(weights[:, 10:16], 1 + 10 * math.exp(-49 / 50), rtol=1e-6)
    np.testing.assert_array_equal(weights[instances > 0], 1)


def test_narrower_gaps_weigh_more() -> None:
    def peak(gap: int) -> float:
        instances = np.zeros((5, 60), dtype=int)
        instances[:, :20], instances[:, 20 + gap : 45] = 1, 2
        return float(weight_map(instances, class_weights=(0.0, 0.0))[:, 20 : 20 + gap].max())

    peaks = [peak(gap) for gap in (1, 3, 8, 20)]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[-1] > 0


@pytest.mark.parametrize("cells", [0, 1])
def test_without_two_cells_there_is_no_gap(cells: int) -> None:
    instances = np.zeros((12, 12), dtype=int)
    instances[3:6, 4:8] = cells
    np.testing.assert_array_equal(weight_map(instances, class_weights=(1.0, 2.0)), np.where(instances, 2.0, 1.0))


def test_numbers_of_cells_do_not_matter() -> None:
    instances = discs((40, 50), 12, 4, seed=1)
    names = np.random.default_rng(0).permutation(2**40 + np.arange(instances.max() + 1))
    renamed = np.where(instances > 0, names[instances], 0)
    np.testing.assert_array_equal(weight_map(renamed), weight_map(instances))
    np.testing.assert_array_equal(weight_map(instances.astype(np.uint16)), weight_map(instances))


def test_classes_are_balanced_by_default() -> None:
    instances = discs((60, 60), 20, 4, seed=2)
    weights = weight_map(instances, w0=0.0)
    np.testing.assert_allclose(weights[instances > 0].sum(), weights[instances == 0].sum(), rtol=1e-5)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-5)
    assert balanced_weights(np.zeros((3, 3), bool)) == balanced_weights(np.ones((3, 3), bool)) == (1.0, 1.0)


def test_distances_are_exact_within_reach() -> None:
    instances = discs((50, 60), 15, 3, seed=3)
    everywhere = np.stack(two_nearest_distances(instances))
    near = np.stack(two_nearest_distances(instances, reach=9.5))
    np.testing.assert_array_equal(near, np.where(everywhere <= 9.5, everywhere, np.inf))
    labels = np.unique(instances[instances > 0])
    places = np.argwhere(instances >= 0)
    cells = [np.argwhere(instances == label) for label in labels]
    to_each = [np.linalg.norm(places[:, None] - cell, axis=-1).min(axis=1) for cell in cells]
    np.testing.assert_allclose(everywhere.reshape(2, -1), np.sort(to_each, axis=0)[:2], atol=1e-12)


def test_cells_are_separate_where_only_corners_meet() -> None:
    mask = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(instances_from_mask(mask), [[1, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 3]])


@pytest.mark.parametrize("instances", [np.zeros((3, 3)), np.zeros((3, 3), bool), np.zeros((1, 3, 3), int)])
def test_what_is_no_instance_mask_is_refused(instances: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be integers \(H, W\)"):
        weight_map(instances)


def test_sigma_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`sigma` must be positive, got 0"):
        weight_map(np.zeros((3, 3), int), sigma=0)


def test_many_cells(cells: tuple[Image.Image, Image.Image]) -> None:
    mask = np.asarray(cells[1]) > 128
    instances = instances_from_mask(mask)
    assert instances.max() > 100
    weights = weight_map(instances, class_weights=(1.0, 1.0))
    assert weights[mask].max() == 1
    assert weights[~mask].mean() > 5  # nearly all membranes are gaps between cells
    around = np.s_[100:150, 200:260]
    crop = instances[around]
    crop_weights = weight_map(crop, class_weights=(1.0, 1.0)) - 1
    np.testing.assert_allclose(crop_weights, naive_gap_term(crop, 10, 5), atol=1e-5)
