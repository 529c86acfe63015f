import colorsys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from transform_helpers import Fixed, noise, positions, rng, same_shape_pair, smooth

from u2net_hf.data.deformation import RandomDeformation
from u2net_hf.data.transforms import (
    ColorJitter,
    Compose,
    RandomApply,
    RandomBlur,
    RandomCrop,
    RandomHorizontalFlip,
    RandomJPEG,
    RandomResizedCrop,
    Resize,
    sample_generator,
)


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


def test_sizes_that_differ() -> None:
    with pytest.raises(ValueError, match="must have one size, got 4x3, 3x4"):
        Compose(())((noise(4, 3), noise(3, 4).convert("L")), rng())


def test_samples_depend_on_seed_epoch_and_index() -> None:
    draws = {sample_generator(*key).random() for key in np.ndindex(4, 4, 4)}
    assert len(draws) == 64
