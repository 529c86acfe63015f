"""What goes into U²-Net and comes out of it, against PyTorch, Pillow and the formulas written out."""

from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.pixels_u2net import InputOptions, resize_bilinear, resize_map, stretch, to_pixel_values

FLAGS = ("do_resize", "do_antialias", "do_truncate", "do_rescale", "do_scale_by_max", "do_normalize")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def photo(width: int = 41, height: int = 33) -> Image.Image:
    """Coarse noise, darker than white."""
    small = np.random.default_rng(0).integers(0, 180, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def composed(image: Image.Image, options: InputOptions) -> np.ndarray:
    """The steps one by one, in float64."""
    height, width = options.size
    values = torch.tensor(np.asarray(image)).permute(2, 0, 1)
    if options.do_resize and options.do_antialias:
        values = torch.tensor(np.asarray(image.resize((width, height), options.resample))).permute(2, 0, 1)
    elif options.do_resize:
        values = F.interpolate(values[None].double(), (height, width), mode="bilinear")[0]
        if options.do_truncate and options.do_rescale:
            values = values.to(torch.uint8)
    values = values.double()
    if options.do_rescale:
        values = values * options.rescale_factor
    if options.do_scale_by_max:
        values = values / values.max()
    if options.do_normalize:
        values = (values - MEAN[:, None, None].double()) / STD[:, None, None].double()
    return values.numpy()


@pytest.mark.parametrize(
    "flags", list(product([True, False], repeat=len(FLAGS))), ids=lambda flags: "".join("01"[i] for i in flags)
)
def test_every_combination_of_options_is_the_composition_of_its_steps(flags: tuple[bool, ...]) -> None:
    options = InputOptions(size=(12, 16), **dict(zip(FLAGS, flags, strict=True)))
    expected = composed(photo(), options)
    tolerance = 2e-6 * max(1.0, abs(expected).max())
    arrays = {"image": photo(), "array": np.asarray(photo()).transpose(2, 0, 1)}
    for kind, image in arrays.items():
        values = to_pixel_values(image, options)
        assert (values.dtype, values.shape) == (np.float32, expected.shape), kind
        assert values.flags.c_contiguous, kind
        np.testing.assert_allclose(values, expected, atol=tolerance, err_msg=kind)
    processor = U2NetImageProcessorPil(size={"height": 12, "width": 16}, **dict(zip(FLAGS, flags, strict=True)))
    through_processor = processor(photo(), return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(through_processor, to_pixel_values(photo(), options))


@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.NEAREST, Image.Resampling.LANCZOS])
def test_other_filters(resample: Image.Resampling) -> None:
    options = InputOptions(size=(12, 16), resample=resample)
    np.testing.assert_allclose(to_pixel_values(photo(), options), composed(photo(), options), atol=2e-6)


def test_arrays_of_floats_are_resized_as_they_are() -> None:
    array = np.random.default_rng(1).normal(size=(3, 33, 41)).astype(np.float32)
    options = InputOptions(size=(12, 16), do_rescale=False, do_scale_by_max=False, do_normalize=False)
    expected = F.interpolate(torch.tensor(array)[None], (12, 16), mode="bilinear", antialias=True)[0]
    np.testing.assert_allclose(to_pixel_values(array, options), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(channels: int) -> None:
    array = np.random.default_rng(1).integers(0, 256, (channels, 33, 41), dtype=np.uint8)
    options = InputOptions(size=(12, 16), do_scale_by_max=False, image_mean=0.5, image_std=0.25)
    expected = F.interpolate(torch.tensor(array)[None].double(), (12, 16), mode="bilinear", antialias=True)[0] / 255
    np.testing.assert_allclose(to_pixel_values(array, options), (expected.numpy() - 0.5) / 0.25, atol=1e-5)


def test_a_black_image_stays_black() -> None:
    options = InputOptions(do_normalize=False)
    assert not to_pixel_values(Image.new("RGB", (9, 9)), options).any()
    assert np.isfinite(to_pixel_values(Image.new("RGB", (9, 9)), InputOptions())).all()


def test_options_are_those_of_the_image_processor(tmp_path: Path) -> None:
    processor = U2NetImageProcessorPil()
    assert {field.name for field in fields(InputOptions)} <= processor.to_dict().keys()
    options: dict[str, Any] = {"size": {"height": 8, "width": 9}, "do_antialias": False, "image_std": [1, 2, 3]}
    changed = InputOptions.from_dict(U2NetImageProcessorPil(**options).to_dict())
    assert (changed.size, changed.do_antialias, changed.image_std) == ((8, 9), False, (1, 2, 3))
    assert InputOptions.from_dict({"unknown": 1, "size": None}) == InputOptions()
    with pytest.raises(ValueError, match="`size` must be"):
        InputOptions.from_dict({"size": {"shortest_edge": 8}})


@pytest.mark.parametrize("size", [(7, 5), (33, 41), (64, 50), (1, 1)])
def test_resize_bilinear_is_pytorch_s_interpolate(size: tuple[int, int]) -> None:
    array = np.array(photo()).transpose(2, 0, 1)
    expected = F.interpolate(torch.tensor(array)[None].float(), size=size, mode="bilinear")[0]
    np.testing.assert_allclose(resize_bilinear(array, *size), expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("size", [(20, 30), (55, 91), (20, 31), (7, 9), (1, 1), (55, 9), (7, 91)])
def test_resize_map_is_pytorch_s_interpolate_with_antialiasing_where_it_shrinks(size: tuple[int, int]) -> None:
    soft_map = np.random.default_rng(2).random((20, 30), dtype=np.float32)
    expected = F.interpolate(torch.tensor(soft_map)[None, None], size, mode="bilinear", antialias=True)[0, 0]
    resized = resize_map(soft_map, *size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected.numpy(), atol=2e-6)
    assert 0 <= resized.min() <= resized.max() <= 1


def test_resize_map_takes_views() -> None:
    maps = np.random.default_rng(3).random((8, 8, 2), dtype=np.float32)
    np.testing.assert_array_equal(resize_map(maps[..., 1], 5, 4), resize_map(maps[..., 1].copy(), 5, 4))


def test_stretch() -> None:
    np.testing.assert_allclose(stretch(np.float32([[0.2, 0.3], [0.4, 0.6]])), [[0, 0.25], [0.5, 1]], atol=1e-6)
    np.testing.assert_array_equal(stretch(np.full((2, 2), 0.3)), np.full((2, 2), 0.3))
