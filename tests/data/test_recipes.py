import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transform_helpers import noise, rng, same_shape_pair, smooth

from u2net_hf.data.recipes import authors_recipe, strong_recipe, unet_recipe
from u2net_hf.data.transforms import Compose, sample_generator

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
