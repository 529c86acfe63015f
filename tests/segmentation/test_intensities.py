"""Values of any type in strips: the oracles are numpy's percentiles and the image processor on the whole image."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from u2net_hf import UNetImageProcessorPil
from u2net_hf.images.files import ImageError
from u2net_hf.segmentation.intensities import Intensities, choose_channels, exact_percentiles
from u2net_hf.segmentation.planes import Plane
from u2net_hf.segmentation.sources import ImageSource

floats = st.floats(0, 2.0**100, width=32) | st.sampled_from([0.0, -0.0, 1.0, 255.0])


@given(st.lists(st.lists(floats, min_size=1), min_size=1), st.floats(0, 100))
def test_percentiles_are_numpys(parts: list[list[float]], share: float) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    found = exact_percentiles(lambda: iter(arrays), (share, 100))
    expected = np.percentile(np.concatenate(arrays).astype(np.float64), (share, 100))
    assert np.allclose(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.float32, np.float64, bool])
@pytest.mark.parametrize("percentiles", [None, [1, 99.8]])
def test_every_type_comes_to_the_same(dtype: Any, percentiles: list[float] | None) -> None:
    """A picture of a type's full range looks the same in every type."""
    shares = np.random.default_rng(0).random((1, 20, 31))
    shares[0, 0, :2] = 0, 1
    if dtype is bool:
        shares = shares.round()
    kind = np.dtype(dtype)
    unsigned = np.dtype(f"u{kind.itemsize}") if kind.kind == "i" else kind
    full = np.iinfo(unsigned).max if unsigned.kind == "u" else 1
    array = (shares * full).clip(0, np.iinfo(kind).max if kind.kind == "i" else full).astype(dtype)
    processor = UNetImageProcessorPil(num_channels=1, percentiles=percentiles)
    found = Intensities(Plane.of(array), processor).rows(0, 20)
    expected = processor((array / full).astype(np.float32), do_rescale=False)["pixel_values"][0]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < (0.05 if kind.itemsize == 1 and dtype is not bool else 1e-3)


BAD: dict[str, tuple[np.ndarray, str]] = {
    "negative": (np.array([[[0.5, -1]]], np.float32), r"negative values \(-1\)"),
    "negative integers": (np.array([[[5, -3]]], np.int16), r"negative values \(-3\)"),
    "nan": (np.array([[[0.5, np.nan]]], np.float32), "NaN"),
    "infinity": (np.array([[[0.5, np.inf]]]), "NaN or infinity"),
    "complex": (np.array([[[1j]]]), "complex128"),
}


@pytest.mark.parametrize("percentiles", [None, [1, 99.8]])
@pytest.mark.parametrize("name", BAD)
def test_no_intensities(name: str, percentiles: list[float] | None) -> None:
    array, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        Intensities(Plane.of(array), UNetImageProcessorPil(num_channels=1, percentiles=percentiles))


def test_floats_above_one_need_percentiles() -> None:
    plane = Plane.of(np.array([[[0.5, 4095]]], np.float32))
    with pytest.raises(ValueError, match="up to 4095"):
        Intensities(plane, UNetImageProcessorPil(num_channels=1))
    Intensities(plane, UNetImageProcessorPil(num_channels=1, percentiles=[0, 100]))


@pytest.mark.parametrize(
    ("channels", "is_rgb", "channel", "network", "expected"),
    [
        (1, False, None, 1, None),
        (1, False, None, 3, None),
        (1, False, 1, 1, 0),
        (3, True, None, 1, None),
        (3, True, None, 3, None),
        (3, True, 2, 1, 1),
        (3, False, None, 3, None),
        (3, False, 3, 1, 2),
        (2, False, None, 2, None),
        (3, False, None, 1, "choose one"),
        (2, False, None, 1, "choose one"),
        (2, False, None, 3, "choose one"),
        (2, False, 3, 1, "there is no channel 3"),
    ],
)
def test_channels(channels: int, is_rgb: bool, channel: int | None, network: int, expected: int | str | None) -> None:
    source = ImageSource("cells.tif", "YX", 1, channels, is_rgb, None, None)
    if isinstance(expected, str):
        with pytest.raises(ImageError, match=f"cells.tif: has {channels} channels.*{expected}"):
            choose_channels(source, channel, network)
    else:
        assert choose_channels(source, channel, network) == expected
