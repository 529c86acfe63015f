"""Label images and maps as files that ImageJ, napari and CellProfiler open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..images.files import ImageError

MOST_16_BIT = 65_535
LARGEST_TIFF = 2**32 - 2**25  # bytes: beyond 4 GB positions in a TIFF need 64 bits, which ImageJ does not read
MICROMETERS_PER_CENTIMETER = 1e4


def write_labels(pages: Sequence[np.ndarray], path: Path, axes: str, pixel_size: tuple[float, float] | None) -> None:
    """Write label images: 16 bits if that is enough, else 32 (a TIFF only).

    Args:
        pages: One array `(height, width)` of integers per page, all of one size; they may be mapped from files.
        path: A name that ends in .tif, .tiff or .png.
        axes: "YX", "ZYX" or "TYX".
        pixel_size: Height and width of a pixel in µm.

    Raises:
        ImageError: If PNG cannot hold them.
    """
    most = max(int(page.max(initial=0)) for page in pages)
    if path.suffix.lower() == ".png":
        if most > MOST_16_BIT:
            raise ImageError(f"{most} objects are more than the 16 bits of a PNG can number: use TIFF (--format tif)")
        Image.fromarray(pages[0].astype(np.uint16)).save(path)
        return
    write_tiff(pages, path, axes, np.uint16 if most <= MOST_16_BIT else np.uint32, pixel_size)


def write_tiff(
    pages: Sequence[np.ndarray], path: Path, axes: str, dtype: Any, pixel_size: tuple[float, float] | None
) -> None:
    """Write pages as one TIFF, compressed without loss (zlib), with their axes and the size of a pixel.

    It has the metadata of ImageJ, unless that has no such numbers (32-bit integers) or the file is too large for it;
    then those of tifffile.

    Args:
        pages: One array `(height, width)` or `(height, width, 3)` per page, all of one size.
        path: The file.
        axes: "YX", "ZYX" or "TYX".
        dtype: Type of the numbers to write.
        pixel_size: Height and width of a pixel in µm.
    """
    from tifffile import TiffWriter

    dtype = np.dtype(dtype)
    shape = pages[0].shape if axes == "YX" else (len(pages), *pages[0].shape)
    color = pages[0].ndim == 3
    is_large = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > LARGEST_TIFF
    imagej = dtype != np.uint32 and not is_large
    metadata: dict[str, Any] = {"axes": axes + "S" * color}
    resolution: dict[str, Any] = {}
    if pixel_size:
        down, across = (1 / size for size in pixel_size)
        if imagej:
            metadata["unit"] = "um"
            resolution = {"resolution": (across, down)}
        else:
            densities = (across * MICROMETERS_PER_CENTIMETER, down * MICROMETERS_PER_CENTIMETER)
            resolution = {"resolution": densities, "resolutionunit": "CENTIMETER"}
    with TiffWriter(path, imagej=imagej, bigtiff=is_large) as writer:
        writer.write(
            (np.asarray(page, dtype) for page in pages),
            shape=shape,
            dtype=dtype,
            photometric="rgb" if color else "minisblack",
            compression="zlib",
            metadata=metadata,
            **resolution,
        )
