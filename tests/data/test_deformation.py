import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from transform_helpers import Fixed, noise, positions, rng, smooth

from u2net_hf.data.deformation import RandomDeformation, elastic_field, sample_at


@pytest.mark.parametrize(("width", "height"), [(40, 30), (31, 57)])
def test_sampling_equals_scipy_with_mirrored_border(width: int, height: int) -> None:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows, columns = rows + 9 * np.sin(columns / 6), columns - 12 * np.cos(rows / 4)
    image = smooth(width, height)
    floats = Image.fromarray(rng().normal(size=(height, width)).astype(np.float32))

    def sampled(picture: Image.Image) -> np.ndarray:
        return np.asarray(sample_at(picture, torch.from_numpy(rows), torch.from_numpy(columns)))

    for channel in range(3):
        plane = np.asarray(image, dtype=np.float64)[..., channel]
        expected = ndimage.map_coordinates(plane, (rows, columns), order=1, mode="mirror")
        assert np.abs(sampled(image)[..., channel] - expected).max() <= 0.501
        np.testing.assert_array_equal(sampled(image.getchannel(channel)), sampled(image)[..., channel])
    expected = ndimage.map_coordinates(np.asarray(floats), (rows, columns), order=1, mode="mirror")
    np.testing.assert_allclose(sampled(floats), expected, atol=1e-3)
    labels = positions(width, height)
    expected = ndimage.map_coordinates(np.asarray(labels), (rows, columns), order=0, mode="mirror")
    assert np.mean(sampled(labels) == expected) > 0.995  # but for ties that rounding decides
    assert sample_at(labels, torch.from_numpy(rows), torch.from_numpy(columns)).mode == "I"


def test_elastic_field_is_bicubic_between_gaussian_grid_points() -> None:
    size = 41
    drawn = rng(3).normal(0, 10, (1, 2, 3, 3))[0]
    field = elastic_field(size, 10, rng(3)).numpy()

    def kernel(distance: np.ndarray) -> np.ndarray:  # Keys' cubic convolution, a = -0.75
        a, d = -0.75, np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    # Weight of the grid points -2 ... 4 for each pixel; those outside 0 ... 2 repeat the border.
    weights = kernel(np.linspace(0, 2, size)[:, None] - np.arange(-2, 5))
    weights = np.stack((weights[:, :3].sum(1), weights[:, 3], weights[:, 4:].sum(1)), axis=1)
    np.testing.assert_allclose(field, np.einsum("yi,xj,cij->cyx", weights, weights, drawn), atol=1e-4)
    np.testing.assert_allclose(field[:, ::20, ::20], drawn, atol=1e-4)
    spread = np.std([elastic_field(3, 10, rng(seed)).numpy() for seed in range(200)])
    assert 9.5 < spread < 10.5


def test_deformation_that_only_shifts_copies_pixels_and_mirrors_the_border() -> None:
    image, mask, places = noise(20, 16), noise(20, 16, seed=1).convert("L"), positions(20, 16)
    deformation = RandomDeformation(30, shift=3)
    moved, moved_mask, moved_places = deformation((image, mask, places), Fixed(1.0))  # type: ignore[arg-type]
    # The square of 30 lies 7 and 5 pixels before the image, and 3 further on with the largest shift.
    np.testing.assert_array_equal(moved, np.pad(image, ((4, 10), (2, 8), (0, 0)), mode="reflect"))
    np.testing.assert_array_equal(moved_mask, np.pad(mask, ((4, 10), (2, 8)), mode="reflect"))
    np.testing.assert_array_equal(moved_places, np.pad(places, ((4, 10), (2, 8)), mode="reflect"))


@pytest.mark.parametrize(("share", "top", "left"), [(0.0, 0, 0), (0.5, 5, 7), (1.0, 10, 14)])
def test_deformation_takes_its_tile_anywhere_in_a_larger_image(share: float, top: int, left: int) -> None:
    image = noise(20, 16)
    [tile] = RandomDeformation(6)((image,), Fixed(share))  # type: ignore[arg-type]
    np.testing.assert_array_equal(tile, np.asarray(image)[top : top + 6, left : left + 6])


def test_deformation_that_only_rotates() -> None:
    image, places = noise(15, 15), positions(15, 15)
    turned, turned_places = RandomDeformation(15, rotation=90)((image, places), Fixed(1.0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(turned, np.rot90(image, -1))
    np.testing.assert_array_equal(turned_places, np.rot90(places, -1))


def test_deformation_equals_its_parts_by_scipy() -> None:
    size, picture = 33, smooth(33, 33).getchannel(0)
    [deformed] = RandomDeformation(size, shift=4, rotation=40, elastic_std=3)((picture,), rng(5))
    repeated = rng(5)
    top, left = (round(repeated.uniform(-1, 1) * 4) for _ in range(2))
    angle = np.deg2rad(repeated.uniform(-40, 40))
    field = elastic_field(size, 3, repeated).numpy()
    grid = np.mgrid[:size, :size] - 16.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = np.einsum("ij,jyx->iyx", turn, grid) + field + np.array([top + 16.0, left + 16.0])[:, None, None]
    expected = ndimage.map_coordinates(np.asarray(picture, dtype=np.float64), places, order=1, mode="mirror")
    assert np.abs(np.asarray(deformed) - expected).max() <= 0.51
