"""Warping against a slow copy of the published algorithm, and the topology of what comes out."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from u2net_hf.cell_metrics import LabelPair, warp, warping_error
from u2net_hf.cell_metrics.warping import _NEIGHBORS, simple_points

EIGHT = np.ones((3, 3), int)
Mask = NDArray[np.bool_]


def is_simple(patch: Mask) -> bool:
    """Bertrand and Malandain (1994): T4 of the cells and T8 of the background around the middle of 3x3 are both 1."""
    around = patch.copy()
    around[1, 1] = False
    cells = ndimage.label(around)[0]
    touching = {int(cells[place]) for place in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
    background = ~patch
    background[1, 1] = False
    return len(touching) == 1 and ndimage.label(background, EIGHT)[1] == 1


def test_simple_points_of_all_neighborhoods() -> None:
    table = simple_points()
    for code, bits in enumerate(itertools.product([False, True], repeat=8)):
        patch = np.zeros((3, 3), bool)
        for (down, right), bit in zip(_NEIGHBORS, reversed(bits), strict=True):
            patch[1 + down, 1 + right] = bit
        assert table[code] == is_simple(patch), patch
    assert sum(table) == 116  # simple points of the plane, as many for (8, 4) as for (4, 8)


def slow_warp(mask: Mask, target: Mask, gain: NDArray[np.float64]) -> Mask:
    """The algorithm as it is written: search all pixels for the best simple one that differs, and change it."""
    warped = np.pad(mask, 1)
    goal, value = np.pad(target, 1), np.pad(gain, 1)
    while True:
        best = None
        for y, x in np.argwhere(warped != goal):
            if is_simple(warped[y - 1 : y + 2, x - 1 : x + 2]) and (best is None or value[y, x] > value[best]):
                best = (y, x)
        if best is None:
            return warped[1:-1, 1:-1]
        warped[best] ^= True


def topology(mask: Mask) -> tuple[int, int]:
    """Numbers of cells and of components of the background, with that beyond the image."""
    padded = np.pad(mask, 1)
    return ndimage.label(padded)[1], ndimage.label(~padded, EIGHT)[1]


def blobs(seed: int) -> tuple[Mask, Mask, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(rng.random((14, 17)), 1.2)
    mask = soft > np.median(soft)
    probability = np.clip(0.5 + 6 * (ndimage.gaussian_filter(rng.random((14, 17)), 1.2) - 0.5) * 0.6, 0, 1)
    probability = np.where(rng.random((14, 17)) < 0.7, np.where(mask, 0.8, 0.2), probability)
    return mask, probability > 0.5, abs(probability - 0.5)


@pytest.mark.parametrize("seed", range(12))
def test_as_the_algorithm_is_written(seed: int) -> None:
    mask, target, gain = blobs(seed)
    warped = warp(mask, target, gain)
    np.testing.assert_array_equal(warped, slow_warp(mask, target, gain))
    assert topology(warped) == topology(mask)
    assert np.count_nonzero(warped != target) < np.count_nonzero(mask != target)


def test_warping_keeps_what_it_got() -> None:
    mask, target, gain = blobs(0)
    copies = mask.copy(), target.copy(), gain.copy()
    for array in (mask, target, gain):
        array.setflags(write=False)
    warp(mask, target, gain)
    for array, copy in zip((mask, target, gain), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def two_cells() -> Mask:
    mask = np.zeros((10, 15), bool)
    mask[2:8, 1:7] = mask[2:8, 8:14] = True
    return mask


def test_a_moved_border_is_free() -> None:
    target = np.zeros((10, 15), bool)
    target[1:9, 1:6] = target[3:7, 7:15] = True
    assert warping_error(LabelPair(target, two_cells())).value.max() == 0


@pytest.mark.parametrize(
    ("change", "pixels"),
    [
        (np.s_[4:5, 7:8], 1),  # a bridge of one pixel merges the cells
        (np.s_[2:8, 7:8], 6),  # no membrane at all: its line of six pixels is missing
        (np.s_[0:1, 0:1], 1),  # a new cell
    ],
)
def test_topology_costs_pixels(change: tuple[slice, slice], pixels: int) -> None:
    target = two_cells()
    target[change] = True
    assert warping_error(LabelPair(target, two_cells())).value[0] * target.size == pixels


def test_deleted_cells_and_holes() -> None:
    mask = two_cells()
    one = mask.copy()
    one[:, 8:] = False
    assert warping_error(LabelPair(one, mask)).value[0] * mask.size == 1  # the last pixel of the lost cell stays
    holed = mask.copy()
    holed[4, 3] = False
    assert warping_error(LabelPair(holed, mask)).value[0] * mask.size == 1
    assert warping_error(LabelPair(mask, holed)).value[0] * mask.size == 1
    nothing = np.zeros_like(mask)
    assert warping_error(LabelPair(nothing, nothing)).value.max() == 0
    assert warping_error(LabelPair(mask, nothing)).value[0] * mask.size == 72  # no simple point to begin with


def test_thresholds_order_the_changes() -> None:
    """At each threshold the pixel farthest from it changes first."""
    rng = np.random.default_rng(5)
    mask, _, _ = blobs(3)
    probability = rng.random(mask.shape)
    wrong = [
        np.count_nonzero(slow_warp(mask, probability > t, abs(probability - t)) != (probability > t))
        for t in (0.0, 0.3, 0.8)
    ]
    values = warping_error(LabelPair(probability, mask)).value * mask.size
    np.testing.assert_allclose(values[[0, 3, 8]], wrong)
