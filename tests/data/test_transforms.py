import colorsys
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from u2net_hf.data.transforms import (
    ColorJitter,
    Compose,
    RandomApply,
    RandomBlur,
    RandomCrop,
    RandomDeformation,
    RandomHorizontalFlip,
    RandomJPEG,
    RandomResizedCrop,
    Resize,
    authors_recipe,
    elastic_field,
    sample_at,
    sample_generator,
    strong_recipe,
    unet_recipe,
)


class Fixed:
    """A generator that always draws the same place between the lowest and the highest value."""

    def __init__(self, share: float) -> None:
        self.share = share

    def uniform(self, low: float, high: float) -> float:
        return low + self.share * (high - low)

    def random(self) -> float:
        return self.share


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def smooth(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    values = 127 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)
    return Image.fromarray(np.stack((values, values.T.reshape(height, width), 255 - values), -1).astype(np.uint8))


def positions(width: int, height: int) -> Image.Image:
    """Labels (mode I) that tell where each pixel was: 1000 * row + column."""
    return Image.fromarray((1000 * np.arange(height)[:, None] + np.arange(width)).astype(np.int32))


def same_shape_pair(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """An image whose three channels are its mask: they must stay equal under all that moves pixels."""
    mask = smooth(width, height).getchannel(0)
    return Image.merge("RGB", (mask, mask, mask)), mask


def test_flip_is_horizontal() -> None:
    image, mask = noise(7, 5), positions(7, 5)
    flipped, flipped_mask = RandomHorizontalFlip(p=1)((image, mask), rng())
    np.testing.assert_array_equal(flipped, np.asarray(image)[:, ::-1])
    np.testing.assert_array_equal(flipped_mask, np.asarray(mask)[:, ::-1])
    assert RandomHorizontalFlip(p=0)((image, mask), rng()) == (image, mask)
    share = np.mean([RandomHorizontalFlip()((image, mask), rng(seed))[0] != image for seed in range(200)])
    assert 0.4 < share < 0.6


def test_crop_is_a_slice_and_reaches_every_offset() -> None:
    image, places = noise(9, 8), positions(9, 8)
    offsets = set()
    for seed in range(300):
        cropped, cropped_places = RandomCrop(6)((image, places), rng(seed))
        top, left = divmod(int(np.asarray(cropped_places)[0, 0]), 1000)
        offsets.add((top, left))
        np.testing.assert_array_equal(cropped, np.asarray(image)[top : top + 6, left : left + 6])
        np.testing.assert_array_equal(cropped_places, np.asarray(places)[top : top + 6, left : left + 6])
    assert offsets == {(top, left) for top in range(3) for left in range(4)}


def test_crop_of_the_whole_image_and_of_more() -> None:
    image = noise(6, 6)
    np.testing.assert_array_equal(RandomCrop(6)((image,), rng())[0], image)
    with pytest.raises(ValueError, match="Cannot crop 7x7 from an image of 6x6"):
        RandomCrop(7)((image,), rng())


def test_resize_smooths_pictures_and_keeps_labels() -> None:
    image, places = smooth(40, 30), positions(40, 30)
    resized, resized_places = Resize(10)((image, places), rng())
    np.testing.assert_array_equal(resized, image.resize((10, 10), Image.Resampling.BILINEAR))
    assert set(np.ravel(resized_places)) <= set(np.ravel(places))


def test_resized_crop_shows_the_share_it_promises() -> None:
    row, column = np.mgrid[:100, :200].astype(np.float32)
    pictures = (noise(200, 100), Image.fromarray(column), Image.fromarray(2 * row))
    for seed in range(50):
        _, columns, rows = RandomResizedCrop(20, scale=(0.25, 0.5))(pictures, rng(seed))
        width = (np.asarray(columns)[10, 18] - np.asarray(columns)[10, 1]) / 17 * 20 / 200
        height = (np.asarray(rows)[18, 10] - np.asarray(rows)[1, 10]) / 17 * 20 / 200
        assert 0.24 < width * height < 0.51
        assert 0.73 < width / height < 1.36
    [whole] = RandomResizedCrop(20, scale=(1, 1), ratio=(1, 1))((pictures[1],), rng())
    np.testing.assert_array_equal(whole, pictures[1].resize((20, 20), Image.Resampling.BILINEAR))


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


@pytest.mark.parametrize(
    "transform",
    [
        Resize(20),
        RandomCrop(20),
        RandomResizedCrop(20),
        RandomHorizontalFlip(p=1),
        RandomDeformation(20, shift=5, rotation=30, elastic_std=4),
    ],
)
def test_image_and_mask_move_alike(transform: Callable) -> None:
    for seed in range(5):
        image, mask = transform(same_shape_pair(41, 33), rng(seed))
        for channel in range(3):
            np.testing.assert_array_equal(np.asarray(image)[..., channel], mask)


@pytest.mark.parametrize("change", [ColorJitter(0.3, 0.3, 0.3, 0.03), RandomBlur(), RandomJPEG()])
def test_changes_of_the_image_leave_mask_and_maps(change: Callable) -> None:
    image, mask, weights = noise(16, 12), noise(16, 12).convert("L"), Image.new("F", (16, 12), 2.5)
    changed, *others = change((image, mask, weights), rng())
    assert (changed.size, changed.mode) == (image.size, image.mode)
    assert changed != image
    assert others[0] is mask
    assert others[1] is weights


def test_brightness_contrast_and_saturation() -> None:
    image = noise(30, 20)
    values = np.asarray(image, dtype=np.float64)
    gray = np.asarray(image.convert("L"), dtype=np.float64)
    expected = {
        ColorJitter(brightness=0.3): values * 1.3,
        ColorJitter(contrast=0.3): round(gray.mean()) + 1.3 * (values - round(gray.mean())),
        ColorJitter(saturation=0.3): gray[..., None] + 1.3 * (values - gray[..., None]),
    }
    for jitter, wanted in expected.items():
        [changed] = jitter((image,), Fixed(1.0))  # type: ignore[arg-type]
        assert np.abs(np.asarray(changed) - np.clip(wanted, 0, 255)).max() <= 1
    assert ColorJitter()((image,), rng())[0] == image


def test_hue_turns_on_its_circle() -> None:
    image = Image.new("RGB", (1, 1), (200, 50, 50))
    [changed] = ColorJitter(hue=0.25)((image,), Fixed(1.0))  # type: ignore[arg-type]
    hue, saturation, value = colorsys.rgb_to_hsv(200, 50, 50)
    wanted = colorsys.hsv_to_rgb((hue + 0.25) % 1, saturation, value)
    assert np.abs(np.asarray(changed)[0, 0] - np.array(wanted)).max() <= 3


def test_blur_smooths_and_jpeg_loses_more_at_low_quality() -> None:
    image = noise(40, 40)
    blurred = np.asarray(RandomBlur((2, 2))((image,), rng())[0], dtype=np.float64)
    assert blurred.std() < 0.3 * np.std(image)
    assert abs(blurred.mean() - np.mean(image)) < 2

    def loss(quality: int) -> float:
        compressed = RandomJPEG((quality, quality))((image,), rng())[0]
        return float(np.abs(np.asarray(compressed, dtype=np.float64) - np.asarray(image)).mean())

    assert 0 < loss(95) < loss(30)


def test_random_apply_applies_with_its_probability() -> None:
    image = noise(7, 5)
    apply = RandomApply(RandomHorizontalFlip(p=1), p=0.3)
    share = np.mean([apply((image,), rng(seed))[0] != image for seed in range(300)])
    assert 0.2 < share < 0.4


RECIPES = {
    "authors": (authors_recipe(40), 36),
    "strong": (strong_recipe(40), 40),
    "U-Net": (unet_recipe(40), 40),
    "U-Net, small tile": (unet_recipe(16), 16),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_give_the_promised_size(recipe: str) -> None:
    transform, side = RECIPES[recipe]
    image, mask = transform((smooth(53, 31), smooth(53, 31).getchannel(0)), rng())
    assert (image.size, image.mode) == ((side, side), "RGB")
    assert (mask.size, mask.mode) == ((side, side), "L")


@pytest.mark.parametrize("recipe", RECIPES)
def test_maps_go_with_the_image(recipe: str) -> None:
    transform, _ = RECIPES[recipe]
    mask = smooth(53, 31).getchannel(0)
    weights = Image.fromarray(np.asarray(mask, dtype=np.float32) / 16)
    labels = Image.fromarray((np.asarray(mask) > 128).astype(np.int32) * 70_000)
    for seed in range(5):
        _, moved, moved_weights, moved_labels = transform((smooth(53, 31), mask, weights, labels), rng(seed))
        assert [moved_weights.mode, moved_labels.mode] == ["F", "I"]
        assert np.abs(np.asarray(moved_weights) * 16 - np.asarray(moved)).max() < 4
        assert set(np.unique(moved_labels)) <= {0, 70_000}
        assert np.mean((np.asarray(moved_labels) > 0) == (np.asarray(moved) > 128)) > 0.9


def test_authors_sizes() -> None:
    image, _ = authors_recipe()(same_shape_pair(100, 80), rng())
    assert image.size == (288, 288)


def test_classes_stay_classes() -> None:
    values = np.mgrid[:40, :40][1].astype(np.int32) // 14 * 100
    _, classes = strong_recipe(24)((noise(40, 40), Image.fromarray(values)), rng())
    assert classes.mode == "I"
    assert set(np.unique(classes)) <= {0, 100, 200}


def test_sizes_that_differ() -> None:
    with pytest.raises(ValueError, match="must have one size, got 4x3, 3x4"):
        Compose(())((noise(4, 3), noise(3, 4).convert("L")), rng())


class Samples(Dataset):
    """Transformed samples, as a training loop makes them in its workers."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> np.ndarray:
        image, mask = strong_recipe(24)(
            (noise(30, 26, index), smooth(30, 26).getchannel(0)), sample_generator(7, 2, index)
        )
        return np.concatenate((np.asarray(image), np.asarray(mask)[..., None]), axis=-1)


def test_samples_do_not_depend_on_process_and_order() -> None:
    here = [Samples()[index] for index in reversed(range(6))][::-1]
    loaded = [sample.numpy() for sample in DataLoader(Samples(), batch_size=None, num_workers=2)]
    np.testing.assert_array_equal(here, loaded)


def test_samples_depend_on_seed_epoch_and_index() -> None:
    draws = {sample_generator(*key).random() for key in np.ndindex(4, 4, 4)}
    assert len(draws) == 64


@pytest.mark.parametrize("recipe", RECIPES)
def test_global_generators_are_not_used(recipe: str) -> None:
    transform, _ = RECIPES[recipe]
    states = []
    for seed in range(3):
        for module_seed in (random.seed, np.random.seed, torch.manual_seed):
            module_seed(seed)
        states.append(transform(same_shape_pair(30, 26), sample_generator(0, 0, 0)))
        assert random.getstate() == random.Random(seed).getstate()
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(seed).get_state())
    assert states[0] == states[1] == states[2]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(8, 48),
    st.integers(0, 1000),
    st.sampled_from([authors_recipe, strong_recipe, unet_recipe]),
)
def test_any_image_can_be_transformed(
    width: int, height: int, resolution: int, seed: int, recipe: Callable[[int], Compose]
) -> None:
    side = round(0.9 * resolution) if recipe is authors_recipe else resolution
    image, mask = recipe(resolution)((noise(width, height), noise(width, height).convert("L")), rng(seed))
    assert image.size == mask.size == (side, side)


def test_image_and_mask_stay_aligned(cells: tuple[Image.Image, Image.Image]) -> None:
    photo, mask = cells
    for seed in range(3):
        image, moved = unet_recipe(512)((photo.convert("RGB"), mask), rng(seed))
        inside, membranes = (np.asarray(image.convert("L"))[np.asarray(moved) == value].mean() for value in (255, 0))
        assert inside > membranes + 20  # membranes are dark
