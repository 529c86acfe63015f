"""Tests of u2net_hf.data.instances: the levels of depth, against distances measured pixel by pixel."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from u2net_hf.data.instances import depth_levels


def naive_levels(instances: np.ndarray, num_levels: int, rim: float) -> np.ndarray:
    """The definition written out: the distance of each pixel to every pixel that is not of its object."""
    distances = np.zeros(instances.shape)
    for place in np.argwhere(instances > 0):
        others = np.argwhere(instances != instances[tuple(place)])
        distances[tuple(place)] = min((math.dist(place, other) for other in others), default=math.inf)
    levels = np.zeros(instances.shape, int)
    for place in np.argwhere(instances > 0):
        here, deepest = distances[tuple(place)], distances[instances == instances[tuple(place)]].max()
        if here == deepest:
            level = num_levels
        elif rim > 0 and num_levels > 1:
            level = 1 if here <= rim else 1 + math.ceil((here - rim) / (deepest - rim) * (num_levels - 1) - 1e-9)
        else:
            level = math.ceil(here / deepest * num_levels - 1e-9)
        levels[tuple(place)] = level
    return levels


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 14), st.integers(1, 14), st.integers(1, 6), st.sampled_from([0.0, 1.5, 2.0]), st.integers(0, 999)
)
def test_equals_the_definition(height: int, width: int, num_levels: int, rim: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (height // 4 + 1, width // 4 + 1))
    instances = np.kron(coarse, np.ones((4, 4), int))[:height, :width]  # blocks that touch, also at the border
    levels = depth_levels(instances, num_levels, rim)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, naive_levels(instances, num_levels, rim))


def test_depth_does_not_depend_on_size_and_each_object_has_a_core() -> None:
    small = np.zeros((9, 9), int)
    small[2:7, 2:7] = 70_000  # numbers may be any
    large = np.kron(small, np.ones((7, 7), int))
    shares = [
        np.bincount(depth_levels(one, 4).ravel(), minlength=5)[1:] / np.count_nonzero(one) for one in (small, large)
    ]
    np.testing.assert_allclose(shares[1], [7 / 16, 5 / 16, 3 / 16, 1 / 16], atol=0.06)  # of a square's area
    assert shares[0][3] == 1 / 25


def test_touching_objects_have_rims_between_them() -> None:
    instances = np.ones((20, 20), int)
    instances[:, 10:] = 2
    levels = depth_levels(instances, 5)
    np.testing.assert_array_equal(levels[0], [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])


def test_the_number_in_the_image_is_of_no_matter() -> None:
    instances = np.zeros((12, 12), np.uint16)
    instances[1:6, 1:6], instances[6:11, 3:9] = 40_000, 7
    renumbered = np.choose(np.searchsorted([0, 7, 40_000], instances), [0, 1, 2])
    np.testing.assert_array_equal(depth_levels(instances, 3), depth_levels(renumbered, 3))


@pytest.mark.parametrize(
    ("instances", "num_levels", "message"),
    [
        (np.zeros((4, 4)), 3, "`instances` must be integers"),
        (np.zeros((4, 4, 3), int), 3, "`instances` must be integers"),
        (np.zeros((4, 4), int), 0, "`num_levels` must be between 1 and 254"),
        (np.zeros((4, 4), int), 255, "`num_levels` must be between 1 and 254"),
    ],
)
def test_refuses_what_is_no_label_map(instances: np.ndarray, num_levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depth_levels(instances, num_levels)
