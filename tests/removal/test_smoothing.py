"""Tests of u2net_hf.removal.smoothing, on pictures whose motion is known."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2")

from u2net_hf.removal.smoothing import Smoother, follows, warp

SIDE = 192


def texture(seed: int) -> np.ndarray:
    """A picture in which every place looks different (SIDE, SIDE), without sharp points."""
    small = np.random.default_rng(seed).integers(30, 220, (16, 16), np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def scene(left: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """A square of 64 pixels before a background of its own: the picture, and where it is (SIDE, SIDE)."""
    picture, mask = texture(1).copy(), np.zeros((SIDE, SIDE), np.float32)
    place = np.s_[top : top + 64, left : left + 64]
    picture[place], mask[place] = texture(2)[:64, :64], 1
    return picture, mask


def test_where_nothing_moves_it_is_the_exponential_mean() -> None:
    maps = np.random.default_rng(0).random((20, SIDE, SIDE)).astype(np.float32)
    smoother, mean = Smoother(0.75), maps[0]
    for index, one in enumerate(maps):
        mean = one if index == 0 else 0.25 * one + 0.75 * mean
        found = smoother(one, Image.fromarray(texture(0)))
        np.testing.assert_allclose(found[4:-4, 4:-4], mean[4:-4, 4:-4], atol=0.02)


def test_noise_of_the_map_goes_and_its_edge_stays() -> None:
    """An object that moves by 4 pixels a frame: nearer to the true mask than the maps and a plain mean."""
    random, smoother, plain = np.random.default_rng(0), Smoother(0.7), np.zeros((SIDE, SIDE))
    for step in range(12):
        picture, mask = scene(20 + 4 * step, 60)
        noisy = (mask + random.normal(0, 0.1, mask.shape)).astype(np.float32)
        found = smoother(noisy, Image.fromarray(picture))
        plain = noisy if step == 0 else 0.3 * noisy + 0.7 * plain
    error, before, plainly = (np.abs(one - mask).mean() for one in (found, noisy, plain))
    assert error < 0.7 * before
    assert error < 0.7 * plainly


def test_a_cut_begins_anew() -> None:
    smoother = Smoother(0.9)
    smoother(np.ones((SIDE, SIDE), np.float32), Image.fromarray(texture(3)))
    after = smoother(np.zeros((SIDE, SIDE), np.float32), Image.fromarray(texture(4)))
    assert after.mean() < 0.1


def test_without_strength_maps_stay() -> None:
    one = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    smoother = Smoother(0)
    assert smoother(one, Image.new("RGB", (8, 8))) is one


def test_warp_and_follows() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    right = np.zeros((3, 4, 2), np.float32)
    right[..., 0] = 1
    assert warp(values, right).tolist() == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]
    assert follows(right, -right).tolist() == [[True, True, True, False]] * 3
    assert not follows(right, right).any()


@pytest.mark.parametrize("strength", [-0.1, 1.0])
def test_strength_outside_its_range(strength: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be at least 0 and below 1"):
        Smoother(strength)
