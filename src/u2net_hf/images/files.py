"""Images from files and to files: every picture that enters or leaves goes through here.

Needs Pillow and numpy only, so importing it is cheap.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageColor, ImageOps, UnidentifiedImageError

from ..utils.files import write_atomically
from . import icc
from .png import encode_png

READ_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".psd"),
)
WRITE_FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}

# JPEG: no chroma subsampling, which would blur the colors along the cut.
_ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"quality": 90},
    "JPEG": {"quality": 95, "subsampling": 0},
}
_DRAWINGS = ("EPS", "WMF")  # Pillow would start another program to draw them
_HEIC_SUFFIXES = (".heic", ".heif")
_NO_PROFILE_KEPT = ("CMYK", "LAB")  # modes whose numbers change their meaning on the way to RGB


class ImageError(ValueError):
    """An image that cannot be read or written; the message names the file, what is wrong and what to do."""


class ReducedImage(NamedTuple):
    """An image that may be smaller than its file says, and the size (W, H) that it has there."""

    image: Image.Image
    full_size: tuple[int, int]


def open_image(source: str | Path | BinaryIO) -> Image.Image:
    """Read an image file completely, upright and as 8-bit RGB or RGBA.

    The EXIF orientation is applied; of an animation the first frame is taken. Gray values of 16 bits are divided by
    257, floating-point values in [0, 1] are multiplied by 255, and other deep values are stretched from their minimum
    to their maximum. CMYK and gray pictures with an ICC profile of their kind are converted to sRGB.

    Args:
        source: Path of the file, or a binary stream (which need not be seekable, and stays open).

    Returns:
        An image of mode "RGBA" if the file has transparency, else "RGB". Its `info` holds at most `icc_profile`
        (always one for RGB) and `exif` (without orientation and thumbnail, which no longer fit the picture).

    Raises:
        ImageError: If the file is missing, is not an image, is damaged, or has more pixels than Pillow allows (twice
            `PIL.Image.MAX_IMAGE_PIXELS`, about 179 million).
    """
    return _open(source, None).image


def open_reduced(source: str | Path | BinaryIO, min_size: tuple[int, int]) -> ReducedImage:
    """Read an image file as [`open_image`] does, a large JPEG at a half, a quarter or an eighth of its size.

    libjpeg then computes only those pixels. Its filter is not quite Pillow's, so what is made of the image differs a
    little.

    Args:
        source: As for [`open_image`].
        min_size: Width and height that the image keeps at least, however it is turned.

    Raises:
        ImageError: As for [`open_image`].
    """
    return _open(source, (max(min_size), max(min_size)))


def _open(source: str | Path | BinaryIO, min_size: tuple[int, int] | None) -> ReducedImage:
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", "the input"))
    if name.lower().endswith(_HEIC_SUFFIXES):
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()
    if not isinstance(source, str | Path) and not source.seekable():
        source = io.BytesIO(source.read())
    try:
        with Image.open(source) as image:
            if image.format in _DRAWINGS:
                raise ImageError(f"{name}: is a drawing ({image.format}); convert it to PNG first")
            full_size = image.size
            if min_size:
                image.draft(None, min_size)
            image.load()
            if _lies_sideways(image):
                full_size = full_size[::-1]
            exif = _apply_orientation(image)
            result = _standard_mode(image)
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise ImageError(f"{name}: {_explain(source, error)}") from error
    metadata = {"icc_profile": icc.rgb_profile(result), "exif": exif}
    result.info = {key: value for key, value in metadata.items() if value}
    return ReducedImage(result, full_size)


def find_images(folder: str | Path) -> list[Path]:
    """List the images in a folder and its sub-folders by their suffixes, sorted; hidden ones are left out.

    Raises:
        ImageError: If the folder or one of its sub-folders cannot be read.
    """

    def stop(error: OSError) -> None:
        raise ImageError(f"{error.filename}: the folder cannot be read ({error.strerror})") from error

    def walk() -> Iterator[Path]:
        for parent, folders, files in os.walk(folder, onerror=stop):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(parent, name) for name in files if not name.startswith("."))

    return sorted(path for path in walk() if path.suffix.lower() in READ_SUFFIXES)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB; what is transparent becomes white, as in transformers.

    Returns:
        A new image, or the very same one if it is RGB already.
    """
    image = _standard_mode(image)
    if image.mode == "RGB":
        return image
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    canvas.info = dict(image.info)
    return canvas


def mask_image(soft_map: np.ndarray) -> Image.Image:
    """Convert a soft map (H, W), or a boolean mask, to an 8-bit image of mode "L"; values beyond [0, 1] are clipped.

    Raises:
        ValueError: If the map has another number of dimensions or holds a NaN.
    """
    if soft_map.ndim != 2:
        raise ValueError(f"soft_map must have the shape (height, width), got {soft_map.shape}")
    if soft_map.size and np.isnan(soft_map.min()):
        raise ValueError("soft_map holds NaN: the network's weights or its precision are at fault")
    scaled = np.multiply(soft_map, 255, dtype=np.float32)
    np.rint(scaled, out=scaled)
    return Image.fromarray(np.clip(scaled, 0, 255, out=scaled).astype(np.uint8))


def open_background(text: str) -> Image.Image:
    """Read what stands for a background: a color, as an image of one pixel, or else the image file of that name.

    Args:
        text: A color as CSS writes it ("white", "#00ff88", "rgb(0, 255, 136)"), or a path.

    Raises:
        ValueError: If it is neither, or a color with transparency.
    """
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        if not os.path.exists(text):
            message = f'background {text!r}: neither a color ("white", "#00ff88") nor an existing image file'
            raise ValueError(message) from None
        return to_rgb(open_image(text))
    if len(color) == 4 and color[3] < 255:
        raise ValueError(f"background {text!r}: must be opaque; without a background the result is transparent")
    return Image.new("RGB", (1, 1), color[:3])


def cut_out(
    image: Image.Image,
    alpha: np.ndarray | Image.Image,
    *,
    background: str | Image.Image | None = None,
    in_place: bool = False,
) -> Image.Image:
    """Cut an object out of an image, or put it before another background.

    The colors of pixels that become fully transparent are erased (set to 0): what was removed is not hidden in the
    file, and the file is about half as large. Scale the result with a filter that weighs by alpha, as Pillow and
    browsers do; other filters draw a dark fringe.

    Args:
        image: The picture, of size (W, H). Transparency of its own is kept: the two alphas are multiplied.
        alpha: How much of each pixel belongs to the object: an array (H, W) in [0, 1], or an image of mode "L".
        background: A color, a path, or an image, which is scaled and cropped about its center to cover the picture.
            Its colors are converted to the color profile of `image`.
        in_place: Whether `image` itself may become the result, which saves a copy of it.

    Returns:
        An image with the metadata of `image`: RGBA, or opaque RGB if there is a background.

    Raises:
        ValueError: If sizes differ, or the background is neither a color nor an image.
    """
    original, image = image, _standard_mode(image)
    mask = alpha if isinstance(alpha, Image.Image) else mask_image(alpha)
    if mask.size != image.size or mask.mode != "L":
        expected = f"mode L and size {image.size}"
        raise ValueError(f"alpha must be of {expected} like the image, got mode {mask.mode} and size {mask.size}")
    if image.mode == "RGBA":
        mask = ImageChops.multiply(mask, image.getchannel("A"))
    if background is None:
        result = image if in_place or image is not original else image.copy()
        result.putalpha(mask)
        result.paste((0, 0, 0, 0), mask=mask.point([255] + [0] * 255, "1"))
    else:
        backdrop = open_background(background) if isinstance(background, str) else to_rgb(background)
        result = _cover(icc.match_profile(backdrop, image.info.get("icc_profile")), image.size)
        result.paste(image, mask=mask)
    result.info = dict(image.info)
    return result


def _cover(backdrop: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale and crop a backdrop about its center to cover a size; a single pixel is a color."""
    if backdrop.size == (1, 1):
        return Image.new("RGB", size, backdrop.getpixel((0, 0)))
    return ImageOps.fit(backdrop, size)


def format_of(path: str | Path) -> str:
    """Tell the format ("PNG", "WEBP", "JPEG") in which a file of this name is written, by its suffix.

    Raises:
        ImageError: If the suffix is none of those.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITE_FORMATS:
        raise ImageError(f"{path}: cannot be written; use a name that ends in {', '.join(WRITE_FORMATS)}")
    return WRITE_FORMATS[suffix]


def encode_image(image: Image.Image, image_format: str = "PNG", *, compress_level: int = 1, threads: int = 1) -> bytes:
    """Encode an image with its ICC profile and EXIF data.

    PNG and masks (mode "L") in WebP are lossless. JPEG has no transparency: what is transparent becomes white.

    Args:
        image: Any image.
        image_format: "PNG", "WEBP" or "JPEG".
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
        image = to_rgb(image) if image_format == "JPEG" else _standard_mode(image)
    profile = None if is_mask else icc.rgb_profile(image)
    exif = image.info.get("exif", b"")
    try:
        if image_format == "PNG":
            return encode_png(image, compress_level=compress_level, icc_profile=profile, exif=exif, threads=threads)
        stream = io.BytesIO()
        options = _ENCODER_OPTIONS[image_format] | ({"lossless": True} if is_mask else {})  # which only WebP knows
        image.save(stream, image_format, icc_profile=profile, exif=exif, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"an image of size {image.size} cannot be encoded as {image_format} ({error})") from error
    return stream.getvalue()


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


def _explain(source: str | Path | BinaryIO, error: Exception) -> str:
    """Say in a user's words why a file could not be read, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(source, str | Path) and os.path.isdir(source):
        return "is a folder, not an image"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if isinstance(error, Image.DecompressionBombError):
        return f"has too many pixels: {error}; make it smaller first"
    if not isinstance(error, UnidentifiedImageError):
        return f"the image is damaged or cut short ({error or type(error).__name__}); fetch or export it again"
    size = os.path.getsize(source) if isinstance(source, str | Path) else source.seek(0, os.SEEK_END)
    if size == 0:
        return "is empty (0 bytes); fetch or export it again"
    if str(source).lower().endswith(_HEIC_SUFFIXES):
        return "HEIC needs another package: pip install pillow-heif"
    return "is not an image, or of a format that is not read here; convert it to JPEG or PNG first"


def _lies_sideways(image: Image.Image) -> bool:
    """Whether turning an image upright swaps its width and height; as [`_apply_orientation`] finds it."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # damaged EXIF data is no reason to refuse a photo
        return False


def _apply_orientation(image: Image.Image) -> bytes | None:
    """Turn an image upright in place; return its EXIF data without orientation and thumbnail."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
        if "exif" not in image.info:  # a TIFF's tags describe its layout, not only the photo
            return None
        exif = image.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        return exif.tobytes() if len(exif) else None  # tobytes leaves the thumbnail out
    except Exception:  # damaged EXIF data is no reason to refuse a photo
        return None


def _standard_mode(image: Image.Image) -> Image.Image:
    """Convert any mode to RGBA if there is transparency, else RGB; such an image itself is returned as it is."""
    if image.mode in ("RGB", "RGBA") and "transparency" not in image.info:
        return image
    profile = image.info.get("icc_profile", b"")
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    result = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if profile and profile[16:20] == icc.SPACES.get(image.mode):
        colors = icc.convert_profile(image.convert("L") if image.mode == "LA" else image, profile, None)
        if result.mode == "RGBA":
            colors.putalpha(result.getchannel("A"))
        result = colors
    metadata = {} if image.mode in _NO_PROFILE_KEPT else {"icc_profile": icc.rgb_profile(image)}
    result.info = {key: value for key, value in {**metadata, "exif": image.info.get("exif")}.items() if value}
    return result


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale gray values of 16 or 32 bits (modes "I;16", "I", "F") to 8 bits, as [`open_image`] says."""
    values = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    limit = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= limit:
        low, high = 0.0, limit
    scale = 255 / (high - low) if high > low else 0
    result = Image.fromarray(np.rint((values.astype(np.float32) - low) * scale).astype(np.uint8))
    result.info = dict(image.info)
    if (transparent := result.info.pop("transparency", None)) is not None:
        result.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return result
