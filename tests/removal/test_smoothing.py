"""Tests of u2net_hf.removal.smoothing."""

import numpy as np
import pytest
from PIL import Image

from u2net_hf.removal.smoothing import Smoother

GRAY = Image.new("RGB", (32, 32), (120, 120, 120))


def test_where_nothing_moves_it_is_the_exponential_mean() -> None:
    maps = np.random.default_rng(0).random((20, 32, 32)).astype(np.float32)
    smoother, mean = Smoother(0.75), maps[0]
    for index, one in enumerate(maps):
        mean = one if index == 0 else 0.25 * one + 0.75 * mean
        np.testing.assert_allclose(smoother(one, GRAY), mean, atol=1e-6)


def test_what_moves_leaves_nothing_behind() -> None:
    """A square that jumps: its map is not seen any more where it was, and fully where it is."""
    smoother, pixels = Smoother(0.9), np.full((2, 64, 64, 3), 100, np.uint8)
    pixels[0, 8:24, 8:24] = pixels[1, 40:56, 40:56] = 220
    for picture in pixels:
        found = smoother((picture[..., 0] > 200).astype(np.float32), Image.fromarray(picture))
    assert found[8:24, 8:24].max() < 0.01
    assert found[40:56, 40:56].min() > 0.99


def test_a_cut_begins_anew() -> None:
    smoother = Smoother(0.9)
    smoother(np.ones((32, 32), np.float32), GRAY)
    dark = smoother(np.zeros((32, 32), np.float32), Image.new("RGB", (32, 32), "black"))
    assert dark.max() == 0


def test_without_strength_maps_stay() -> None:
    one = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    smoother = Smoother(0)
    assert smoother(one, GRAY) is one
    assert smoother(one * 0.5, GRAY).max() == one.max() * 0.5


@pytest.mark.parametrize("strength", [-0.1, 1.0])
def test_strength_outside_its_range(strength: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be at least 0 and below 1"):
        Smoother(strength)
