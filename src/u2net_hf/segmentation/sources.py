"""Microscope images from files: TIFF with its axes and the size of its pixels, and what Pillow reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from ..images.files import ImageError, open_image, to_rgb
from .pixel_size import read_pixel_size
from .planes import Plane

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

UNAVAILABLE = "cells need other packages: pip install 'u2net-hf[cells]'"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")  # of Pillow: gray values that 8 bits would cut off
COLOR = (2, 6)  # the values of PhotometricInterpretation for RGB and YCbCr
IN_MEMORY = 2**26  # bytes: larger pages are unpacked into a file


@dataclass(frozen=True)
class ImageSource:
    """An image file whose pages can be read one by one.

    Args:
        name: What to call it.
        axes: Of its pages: "YX" for one, "ZYX" or "TYX" for a stack.
        num_pages: How many there are.
        channels: Of a page.
        is_rgb: Whether they are those of a color picture, and not of a microscope.
        pixel_size: Height and width of a pixel in µm, if the file says so.
        reader: Reads a page, by its number from 0; it may unpack it into a folder.
    """

    name: str
    axes: str
    num_pages: int
    channels: int
    is_rgb: bool
    pixel_size: tuple[float, float] | None
    reader: Any

    def page(self, number: int, folder: Path) -> Plane:
        """Read a page.

        Args:
            number: From 0.
            folder: An existing folder, for a page that is too large for the memory.

        Raises:
            ImageError: If it cannot be read; names the page of a stack.
        """
        try:
            plane: Plane = self.reader(number, folder)
        except Exception as error:  # damaged files make tifffile raise nearly anything
            raise ImageError(f"{self.page_name(number)}: {_explain(error)}") from error
        return plane

    def page_name(self, number: int) -> str:
        """The file's name, with the number of the page (from 1) in a stack."""
        return self.name if self.num_pages == 1 else f"{self.name}, page {number + 1} of {self.num_pages}"


@contextlib.contextmanager
def open_source(path: Path, name: str | None = None) -> Iterator[ImageSource]:
    """Open an image file.

    Args:
        path: The file.
        name: What to call it in messages; by default its path.

    Raises:
        ImageError: If it is missing, empty, damaged or no image, or has more than one axis beside rows, columns and
            channels.
        ImportError: If it is a TIFF and tifffile is not installed.
    """
    name = name or str(path)
    if not _is_tiff(path):
        yield _open_picture(path, name)
        return
    try:
        from tifffile import TiffFile
    except ImportError as error:
        raise ImportError(UNAVAILABLE) from error
    with contextlib.ExitStack() as stack:
        try:
            source = _describe(stack.enter_context(TiffFile(path)), path, name)
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"{name}: {_explain(error)}") from error
        yield source


def source_of_array(array: np.ndarray, name: str = "the image") -> ImageSource:
    """An image in memory: `(height, width)`, or a color picture `(height, width, 3)`.

    Raises:
        ImageError: If it has another shape, or no pixels.
    """
    is_rgb = array.ndim == 3 and array.shape[2] == 3
    if not (is_rgb or array.ndim == 2) or not array.size:
        raise ImageError(f"{name}: must have the shape (height, width) or (height, width, 3), got {array.shape}")
    plane = Plane.of(np.moveaxis(array, -1, 0) if is_rgb else array[None])
    return ImageSource(name, "YX", 1, plane.shape[0], is_rgb, None, lambda number, folder: plane)


def _is_tiff(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:  # Pillow's way says why
        return file.read(4) in TIFF_STARTS
    return False


def _open_picture(path: Path, name: str) -> ImageSource:
    """What Pillow reads: gray values of any depth as they are, else 8-bit RGB, what is transparent white."""
    array = _gray_values(path)
    if array is None:
        try:
            array = np.asarray(to_rgb(open_image(path)))
        except ImageError as error:
            raise ImageError(str(error).replace(str(path), name, 1)) from error
    return source_of_array(array, name)


def _gray_values(path: Path) -> np.ndarray | None:
    """The values `(height, width)` of a gray picture, upright; None for others, and for what cannot be read."""
    with contextlib.suppress(Exception), Image.open(path) as image:
        if image.mode in (*DEEP_MODES, "L") and "transparency" not in image.info:
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(image)
    return None


def _describe(tiff: TiffFile, path: Path, name: str) -> ImageSource:
    if not tiff.series:
        raise ImageError(f"{name}: the TIFF file holds no image")
    if len(tiff.series) > 1:
        shapes = ", ".join("x".join(map(str, one.shape)) for one in tiff.series[:4])
        raise ImageError(
            f"{name}: holds {len(tiff.series)} images ({shapes}{', ...' if len(tiff.series) > 4 else ''}); "
            "save each as a file of its own"
        )
    series = tiff.series[0]
    sizes = dict(zip(series.axes, series.shape, strict=True))
    shown = f"axes {series.axes}, {' x '.join(map(str, series.shape))}"
    if not {"Y", "X"} <= sizes.keys() or 0 in series.shape:
        raise ImageError(f"{name}: has no pixels ({shown})")
    stacks = [axis for axis in series.axes if axis not in "YXCS" and sizes[axis] > 1]
    if len(stacks) > 1:
        kind = "a 4-D time series" if "T" in stacks else "a stack of stacks"
        raise ImageError(
            f"{name}: is {kind} ({shown}); one axis beside rows, columns and channels is done: save each "
            f"{'time point' if 'T' in stacks else 'stack'} as a file of its own"
        )
    if sizes.get("C", 1) > 1 and sizes.get("S", 1) > 1:
        raise ImageError(f"{name}: has channels of color pictures ({shown}); save each channel as a file of its own")
    if stacks and stacks[0] in series.keyframe.axes:
        raise ImageError(f"{name}: its pages are volumes ({shown}); save the planes as pages")
    axes = "".join("T" if axis == "T" else "Z" for axis in stacks) + "YX"
    is_rgb = sizes.get("S", 1) >= 3 and series.keyframe.photometric in COLOR
    channels = 3 if is_rgb else sizes.get("C", 1) * sizes.get("S", 1)
    pages = sizes[stacks[0]] if stacks else 1
    reader = partial(_read_page, series, path, stacks[0] if stacks else "", channels)
    return ImageSource(name, axes, pages, channels, is_rgb, read_pixel_size(tiff), reader)


def _read_page(series: TiffPageSeries, path: Path, stack: str, channels: int, number: int, folder: Path) -> Plane:
    """One page with all its channels: from the file itself where it lies there as it is, else unpacked."""
    page = series.keyframe
    inner = len(page.shape)  # axes that lie within a page of the file
    names, shape = series.axes[:-inner], series.shape[:-inner]
    chosen = tuple(number if axis == stack else slice(None) for axis in names)
    indices = np.arange(prod(shape)).reshape(shape)[chosen].ravel()
    openers = [_opener(series, path, int(index), folder / f"unpacked-{index}") for index in indices]
    sides = [page.axes.index("Y"), page.axes.index("X")]
    order = [axis for axis in range(inner) if axis not in sides] + sides
    height, width = (page.shape[side] for side in sides)

    def parts() -> list[np.ndarray]:
        return [opened().transpose(order).reshape(-1, height, width) for opened in openers]

    parts()  # does the file reach that far?
    return Plane(parts, (channels, height, width))


def _opener(series: TiffPageSeries, path: Path, index: int, unpacked: Path) -> Callable[[], np.ndarray]:
    """What gives the array of a page in the file: mapped if it is large."""
    page = series.keyframe
    if series.dataoffset is not None and page.dtype is not None:
        dtype = np.dtype(page.parent.byteorder + page.dtype.char)
        return partial(np.memmap, path, dtype, "r", series.dataoffset + index * page.nbytes, page.shape)
    found = series.pages[index]
    if found is None:
        raise ValueError("is missing in the file")
    if page.nbytes > IN_MEMORY:
        dtype = found.asarray(out=str(unpacked)).dtype
        return partial(np.memmap, unpacked, dtype, "r", 0, page.shape)
    array = found.asarray()
    return lambda: array


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "imagecodecs" in text:
        return f"its compression needs another package: pip install imagecodecs ({text})"
    return f"the image is damaged or cut short ({text}); fetch or export it again"
