"""Every kind of file, written by tifffile and Pillow: the values, the axes and the pixel size that come out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from u2net_hf.images.files import ImageError
from u2net_hf.segmentation import sources
from u2net_hf.segmentation.sources import open_source

RNG = np.random.default_rng(0)


def values(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return (RNG.random(shape) * (1 if np.dtype(dtype).kind == "f" else 200)).astype(dtype)


def pages(path: Path, folder: Path) -> tuple[np.ndarray, str]:
    """All pages as `(pages, channels, height, width)`, read in two strips each, and the axes."""
    read = []
    with open_source(path) as source:
        for number in range(source.num_pages):
            plane = source.page(number, folder)
            half = plane.size[0] // 2
            read.append(np.concatenate([plane.rows(0, half), plane.rows(half, plane.size[0])], axis=1))
            assert plane.shape == read[-1].shape
        return np.stack(read), source.axes


# name: shape, options of tifffile, axes of the labels, and how the pages lie in the array
STACKS: dict[str, tuple[tuple[int, ...], dict[str, Any], str, str]] = {
    "one page": ((11, 13), {}, "YX", "YX"),
    "one row": ((1, 13), {}, "YX", "YX"),
    "one pixel": ((1, 1), {}, "YX", "YX"),
    "imagej z": ((4, 11, 13), {"imagej": True, "metadata": {"axes": "ZYX"}}, "ZYX", "PYX"),
    "imagej t": ((4, 11, 13), {"imagej": True, "metadata": {"axes": "TYX"}}, "TYX", "PYX"),
    "imagej channels": ((4, 3, 11, 13), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "ZYX", "PCYX"),
    "imagej two channels": ((2, 11, 13), {"imagej": True, "metadata": {"axes": "CYX"}}, "YX", "CYX"),
    "ome z": ((4, 11, 13), {"ome": True, "metadata": {"axes": "ZYX"}}, "ZYX", "PYX"),
    "ome channels first": ((2, 4, 11, 13), {"ome": True, "metadata": {"axes": "CZYX"}}, "ZYX", "CPYX"),
    "ome one time point": ((1, 4, 1, 11, 13), {"ome": True, "metadata": {"axes": "TZCYX"}}, "ZYX", "1PCYX"),
    "pages": ((4, 11, 13), {"metadata": None}, "ZYX", "PYX"),
    "shaped": ((4, 11, 13), {}, "ZYX", "PYX"),
    "tiled": ((4, 40, 33), {"tile": (16, 16)}, "ZYX", "PYX"),
    "big-endian": ((4, 11, 13), {"byteorder": ">"}, "ZYX", "PYX"),
    "compressed": ((4, 11, 13), {"compression": "zlib", "rowsperstrip": 3}, "ZYX", "PYX"),
    "bigtiff": ((4, 11, 13), {"bigtiff": True}, "ZYX", "PYX"),
    "planar color": ((3, 11, 13), {"photometric": "rgb", "planarconfig": "separate"}, "YX", "CYX"),
    "color": ((11, 13, 3), {"photometric": "rgb"}, "YX", "YXC"),
    "color with alpha": ((11, 13, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "YX", "YXC"),
    "color stack": ((4, 11, 13, 3), {"photometric": "rgb"}, "ZYX", "PYXC"),
}


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_axes(name: str, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, options, axes, layout = STACKS[name]
    if on_disk:
        monkeypatch.setattr(sources, "IN_MEMORY", 0)
    array = values(*shape, dtype=np.uint8 if "photometric" in options else np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, **({"photometric": "minisblack"} | options))
    read, read_axes = pages(tmp_path / "a.tif", tmp_path)
    for axis in "PC":
        if axis not in layout:
            array, layout = array[None], axis + layout
    expected = np.einsum(f"{layout.replace('1', 'Q')}->PCYX", array)
    assert read_axes == axes
    assert np.array_equal(read, expected[:, :3] if "alpha" in name else expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.float16, np.float32, np.float64, bool])
@pytest.mark.parametrize("byteorder", "<>")
def test_dtypes(dtype: Any, byteorder: str, tmp_path: Path) -> None:
    array = values(11, 13, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=byteorder, photometric="minisblack")
    read, _ = pages(tmp_path / "a.tif", tmp_path)
    assert read.dtype == array.dtype
    assert np.array_equal(read[0, 0], array)


@pytest.mark.parametrize("mode", ["L", "I;16", "F", "RGB", "RGBA", "P", "1", "LA"])
def test_pictures(mode: str, tmp_path: Path) -> None:
    if mode in ("I;16", "F"):
        picture = Image.fromarray(values(11, 13, dtype=np.uint16 if mode == "I;16" else np.float32))
    else:
        picture = Image.fromarray(values(11, 13, 3, dtype=np.uint8)).convert(mode)
    suffix = ".tif" if mode == "F" else ".png"
    picture.save(tmp_path / f"a{suffix}")
    read, axes = pages(tmp_path / f"a{suffix}", tmp_path)
    assert axes == "YX"
    if mode in ("L", "I;16", "F"):
        assert np.array_equal(read[0, 0], np.asarray(picture))
    else:
        assert np.array_equal(read[0], np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)) or mode == "LA"


def test_jpeg_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    Image.fromarray(values(8, 16, dtype=np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    read, _ = pages(tmp_path / "a.jpg", tmp_path)
    assert read.shape == (1, 1, 16, 8)


PIXEL_SIZES: dict[str, tuple[dict[str, Any], tuple[float, float] | None]] = {
    "imagej": ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (0.5, 0.25)),
    "imagej micron": ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "micron"}}, (0.5, 0.25)),
    "imagej escaped": ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "\\u00B5m"}}, (0.5, 0.25)),
    "imagej nm": ({"imagej": True, "resolution": (0.01, 0.01), "metadata": {"unit": "nm"}}, (0.1, 0.1)),
    "imagej pixels": ({"imagej": True, "resolution": (1, 1), "metadata": {"unit": "pixel"}}, None),
    "ome": ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, (0.5, 0.25)),
    "ome nm": (
        {
            "ome": True,
            "metadata": {
                **{"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}
            },
        },
        (0.5, 0.25),
    ),
    "ome silent": ({"ome": True}, None),
    "ome, no number": ({"ome": True, "metadata": {"PhysicalSizeX": "n/a", "PhysicalSizeY": 0.5}}, None),
    "ome, not finite": ({"ome": True, "metadata": {"PhysicalSizeX": "inf", "PhysicalSizeY": 0.5}}, None),
    "ome, nothing": ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0}}, None),
    "centimeters": ({"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}, (0.5, 0.25)),
    "inches": ({"resolution": (101600, 50800), "resolutionunit": "INCH"}, (0.5, 0.25)),
    "a printer's": ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
    "none": ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
    "silent": ({}, None),
}


@pytest.mark.parametrize("name", PIXEL_SIZES)
def test_pixel_size(name: str, tmp_path: Path) -> None:
    options, expected = PIXEL_SIZES[name]
    tifffile.imwrite(tmp_path / "a.tif", values(5, 7), photometric="minisblack", **options)
    with open_source(tmp_path / "a.tif") as source:
        assert source.pixel_size == (None if expected is None else pytest.approx(expected, rel=1e-6))


def damaged(path: Path) -> None:
    tifffile.imwrite(path, values(50, 60), compression="zlib")
    path.write_bytes(path.read_bytes()[:-900])


def two_images(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(values(5, 7), metadata=None)
        writer.write(values(15, 17), metadata=None)


BAD: dict[str, tuple[Any, str]] = {
    "text": (lambda path: path.write_text("no image"), "is not an image"),
    "nothing": (lambda path: path.touch(), "is empty"),
    "missing": (lambda path: None, "no such file"),
    "only a header": (lambda path: path.write_bytes(b"II*\0\0\0\0\0"), "damaged or cut short|no image"),
    "cut short": (damaged, "damaged or cut short"),
    "time series": (
        lambda path: tifffile.imwrite(path, values(3, 4, 5, 7), imagej=True, metadata={"axes": "TZYX"}),
        r"4-D time series \(axes TZYX, 3 x 4 x 5 x 7\).*save each time point",
    ),
    "two axes": (lambda path: tifffile.imwrite(path, values(3, 4, 5, 7), photometric="minisblack"), "stack of stacks"),
    "several images": (two_images, "holds 2 images"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    path = tmp_path / "bad.tif"
    make(path)
    with pytest.raises(ImageError, match=message) as caught:
        pages(path, tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, values(5, 40, 60), compression="zlib", photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[3].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 50] = bytes(50)
    path.write_bytes(content)
    with open_source(path) as source:
        source.page(2, tmp_path)
        with pytest.raises(ImageError, match=r"stack\.tif, page 4 of 5: the image is damaged"):
            source.page(3, tmp_path)
