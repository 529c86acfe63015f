"""Images from files and to files: every picture that enters or leaves goes through here.

How photos are read and rendered is what the pipeline does too, also where this package is not: it stands beside the
network, in `models.u2net`. Needs Pillow and numpy only, so importing it is cheap.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from ..models.u2net.photo_u2net import ImageError as ImageError
from ..models.u2net.photo_u2net import PhotoWarning as PhotoWarning
from ..models.u2net.photo_u2net import ReducedImage as ReducedImage
from ..models.u2net.photo_u2net import as_photo as as_photo
from ..models.u2net.photo_u2net import convert_profile, rgb_profile
from ..models.u2net.photo_u2net import on_ground as on_ground
from ..models.u2net.photo_u2net import open_image as open_image
from ..models.u2net.photo_u2net import open_reduced as open_reduced
from ..models.u2net.photo_u2net import standard_mode as standard_mode
from ..models.u2net.photo_u2net import to_rgb as to_rgb
from ..models.u2net.render_u2net import cut_out as cut_out
from ..models.u2net.render_u2net import mask_image as mask_image
from ..models.u2net.render_u2net import open_background as open_background
from ..utils.files import write_atomically
from .png import encode_png

READ_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".psd"),
)
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".wmv"),
    *(".flv", ".ogv"),
)
VIDEO_FORMATS = {".webm": "webm", ".mov": "mov", ".mp4": "mp4"}  # those that are written
WRITE_FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF"}

# JPEG: no chroma subsampling, which would blur the colors along the cut.
_ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"quality": 90},
    "JPEG": {"quality": 95, "subsampling": 0},
    "GIF": {},
}


def find_images(folder: str | Path) -> list[Path]:
    """List the images in a folder and its sub-folders by their suffixes, sorted; hidden ones are left out.

    Raises:
        ImageError: If the folder or one of its sub-folders cannot be read.
    """

    def stop(error: OSError) -> None:
        raise ImageError(f"{error.filename}: the folder cannot be read ({error.strerror})") from error

    paths = []
    for parent, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(path for path in paths if path.suffix.lower() in READ_SUFFIXES)


def format_of(path: str | Path, formats: Mapping[str, str] = WRITE_FORMATS) -> str:
    """Tell the format ("PNG", "WEBP", "JPEG", "GIF") in which a file of this name is written, by its suffix.

    Args:
        path: The file.
        formats: Those to choose from, by suffix.

    Raises:
        ImageError: If the suffix is none of those.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise ImageError(f"{path}: cannot be written; use a name that ends in {', '.join(formats)}")
    return formats[suffix]


def encode_image(image: Image.Image, image_format: str = "PNG", *, compress_level: int = 1, threads: int = 1) -> bytes:
    """Encode an image with its ICC profile and EXIF data.

    PNG and masks (mode "L") in WebP are lossless, but for colors whose ICC profile is too large for PNG (1 MB): they
    become sRGB. JPEG has no transparency: what is transparent becomes white. GIF has 256 colors, and no
    half-transparent pixels.

    Args:
        image: Any image.
        image_format: "PNG", "WEBP", "JPEG" or "GIF".
        compress_level: Of PNG only, from 0 (fast, not compressed) to 9 (slow, smallest); see
            [`u2net_hf.png.encode_png`].
        threads: How many threads may encode a large image as PNG.

    Raises:
        ImageError: If the format is another, or does not allow such an image (WebP ends at 16383 pixels a side).
    """
    if image_format not in _ENCODER_OPTIONS:
        raise ImageError(f"image format {image_format!r}: expected one of {', '.join(_ENCODER_OPTIONS)}")
    is_mask = image.mode == "L"
    if not is_mask:
        image = to_rgb(image) if image_format == "JPEG" else standard_mode(image)
    profile = None if is_mask else rgb_profile(image)
    exif = image.info.get("exif", b"")
    if image_format == "PNG" and profile and len(profile) > PngImagePlugin.MAX_TEXT_CHUNK:  # Pillow would refuse it
        image, profile = _in_srgb(image, profile), None
    try:
        if image_format == "PNG":
            return encode_png(image, compress_level=compress_level, icc_profile=profile, exif=exif, threads=threads)
        stream = io.BytesIO()
        options = _ENCODER_OPTIONS[image_format] | ({"lossless": True} if is_mask else {})  # which only WebP knows
        image.save(stream, image_format, icc_profile=profile, exif=exif, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"an image of size {image.size} cannot be encoded as {image_format} ({error})") from error
    return stream.getvalue()


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An RGB or RGBA image whose colors need no profile."""
    result = convert_profile(image.convert("RGB"), profile, None)
    if image.mode == "RGBA":
        result.putalpha(image.getchannel("A"))
    return result


def save_image(image: Image.Image, path: str | Path, *, compress_level: int = 1, threads: int = 1) -> None:
    """Write an image as [`encode_image`] does, in the format that the suffix names: whole or not at all.

    Missing folders are made; an existing file is replaced.

    Raises:
        ImageError: If the format is not supported or the file cannot be written.
    """
    path = Path(path)
    image_format = format_of(path)
    try:
        data = encode_image(image, image_format, compress_level=compress_level, threads=threads)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    try:
        write_atomically(path, data)
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror})") from error


def allow_megapixels(limit: float) -> None:
    """Read photos of up to so many megapixels in this process, instead of the 179 that Pillow allows."""
    Image.MAX_IMAGE_PIXELS = round(limit * 1e6 / 2)  # it refuses twice as many
