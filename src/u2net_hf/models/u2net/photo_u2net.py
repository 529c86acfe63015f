"""A photo as a picture to work with: read from its file, upright, in 8-bit RGB or RGBA, its colors known.

Every photo comes this way: the command's, the pipeline's, the demo's. Needs Pillow and NumPy only.
"""

import contextlib
import importlib
import io
import os
import re
import stat
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

_DRAWINGS = ("EPS", "WMF")  # Pillow would start another program to draw them
_HEIC_SUFFIXES = (".heic", ".heif")
_SEQUENCES = {"GIF": "frames", "WEBP": "frames", "PNG": "frames", "AVIF": "frames", "TIFF": "pages"}
_PROFILE_SPACES = {"CMYK": b"CMYK", "L": b"GRAY", "LA": b"GRAY"}  # bytes 16 to 19 of an ICC profile
_NO_PROFILE_KEPT = ("CMYK", "LAB")  # modes whose numbers change their meaning on the way to RGB
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339  # tags of a TIFF
_LOST, _LOST_SHARE = 32, 0.05  # gray levels from the ground; share of the visible pixels

# Chromaticities (x, y) of white, red, green and blue by their number in ITU-T H.273, table 2; 2 says nothing.
_PRIMARIES = {
    1: (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    2: (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    5: (0.3127, 0.329, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.329, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
_SRGB_TRANSFERS = (1, 2, 6, 13, 14, 15)  # sRGB, and video's, which is meant for the same screens; 2 says nothing
_GAMMA_TRANSFERS = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ, _HLG = 16, 18
_TRANSFERS = (*_SRGB_TRANSFERS, *_GAMMA_TRANSFERS, _PQ, _HLG)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class ImageError(ValueError):
    """An image that cannot be read or written; the message names the file, what is wrong and what to do."""


class PhotoWarning(UserWarning):
    """Something in a file that is left out, though the photo is done; the message names the file."""


class ReducedImage(NamedTuple):
    """An image that may be smaller than its file says, and the size (W, H) that it has there."""

    image: Image.Image
    full_size: tuple[int, int]


def open_image(source: str | Path | BinaryIO) -> Image.Image:
    """Read an image file completely, upright and as 8-bit RGB or RGBA.

    The EXIF orientation is applied; of an animation or a file of several pages the first is taken, with a
    [`PhotoWarning`]. Gray values of 16 bits are divided by 257, floating-point values in [0, 1] are multiplied by 255,
    and other deep values are stretched from their minimum to their maximum. Converted to sRGB are CMYK and gray
    pictures with an ICC profile of their kind, and PNG files whose chunk cICP (HDR too: what is lighter than its
    reference white becomes white), or gAMA and cHRM, tells of other colors.

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


def as_photo(image: Image.Image) -> Image.Image:
    """Make what [`open_image`] makes of a file of an image that is already open; it stays as it is.

    The first frame or page of a file, and a PNG's cICP, only [`open_image`] sees.
    """
    upright = ImageOps.exif_transpose(image)
    return _finish(upright, _exif_of(upright), getattr(image, "tag_v2", {}))


def _open(source: str | Path | BinaryIO, min_size: tuple[int, int] | None) -> ReducedImage:
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", "the input"))
    if name.lower().endswith(_HEIC_SUFFIXES):
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()
    if not isinstance(source, str | Path):
        source = source if source.seekable() else io.BytesIO(source.read())
    elif os.path.exists(source) and not stat.S_ISREG(os.stat(source).st_mode) and not os.path.isdir(source):
        raise ImageError(f"{name}: is a pipe or a device, not a file; read it through standard input")
    try:
        with Image.open(source) as image:
            if image.format in _DRAWINGS:
                raise ImageError(f"{name}: is a drawing ({image.format}); convert it to PNG first")
            full_size = image.size
            if min_size:
                image.draft(None, min_size)
            image.load()
            if image.format in _SEQUENCES:
                _look_further(image, source, name)
            if lies_sideways(image):
                full_size = full_size[::-1]
            with contextlib.suppress(Exception):  # damaged EXIF data is no reason to refuse a photo
                ImageOps.exif_transpose(image, in_place=True)
            result = _finish(image, _exif_of(image), getattr(image, "tag_v2", {}))
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise ImageError(f"{name}: {_explain(source, error)}") from error
    return ReducedImage(result, full_size)


def _look_further(image: Image.Image, source: str | Path | BinaryIO, name: str) -> None:
    """Look for what Pillow did not read: the color chunk of a PNG is put into `info`, further frames are told of."""
    kind = _SEQUENCES[str(image.format)]
    with contextlib.suppress(Exception), Image.open(source) as again:  # damage behind the first frame
        if again.format == "PNG" and (cicp := _find_cicp(again.fp)):
            image.info["cicp"] = cicp
            image.info.pop("icc_profile", None)  # which is for programs that know no cICP
        if (count := getattr(again, "n_frames", 1)) > 1:
            warnings.warn(f"{name}: holds {count} {kind}; only the first is done", PhotoWarning, stacklevel=4)


def _find_cicp(file: Any) -> bytes | None:
    """What the chunk cICP of a PNG file holds, if it is known here: primaries, transfer, matrix, full range."""
    position = file.tell()
    file.seek(8)
    found = None
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT" and found is None:
        size = int.from_bytes(head[:4])
        found = file.read(4) if head[4:] == b"cICP" and size == 4 else file.seek(size + 4, os.SEEK_CUR) and None
    file.seek(position)
    return found if found and found[0] in _PRIMARIES and found[1] in _TRANSFERS else None


def _finish(image: Image.Image, exif: bytes | None, tags: Any) -> Image.Image:
    """From a loaded, upright image to the photo: depth, transparency and colors, and the metadata that still hold."""
    result = standard_mode(image, tags)
    metadata = {"icc_profile": rgb_profile(result), "exif": exif}
    result.info = {key: value for key, value in metadata.items() if value}
    return result


def _explain(source: str | Path | BinaryIO, error: Exception) -> str:
    """Say in a user's words why a file could not be read, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(source, str | Path) and os.path.isdir(source):
        return "is a folder, not an image"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if isinstance(error, Image.DecompressionBombError):
        pixels, limit = (int(number) / 1e6 for number in re.findall(r"\d+", str(error))[:2])
        return f"has {pixels:g} megapixels, more than {limit:g}; make it smaller, or allow more (--max-megapixels)"
    if not isinstance(error, UnidentifiedImageError):
        return f"the image is damaged or cut short ({error or type(error).__name__}); fetch or export it again"
    size = os.path.getsize(source) if isinstance(source, str | Path) else source.seek(0, os.SEEK_END)
    if size == 0:
        return "is empty (0 bytes); fetch or export it again"
    if str(source).lower().endswith(_HEIC_SUFFIXES):
        return "HEIC needs another package: pip install pillow-heif"
    return "is not an image, or of a format that is not read here; convert it to JPEG or PNG first"


def lies_sideways(image: Image.Image) -> bool:
    """Whether turning an image upright by its EXIF orientation swaps width and height; from the header alone."""
    if image.format == "PNG" and "exif" not in image.info:  # asking for it would decode the picture
        return False
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # damaged EXIF data is no reason to refuse a photo
        return False


def _exif_of(upright: Image.Image) -> bytes | None:
    """The EXIF data of an upright image without orientation and thumbnail."""
    if "exif" not in upright.info:  # a TIFF's tags describe its layout, not only the photo
        return None
    try:
        exif = upright.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        return exif.tobytes() if len(exif) else None  # tobytes leaves the thumbnail out
    except Exception:  # damaged EXIF data is no reason to refuse a photo
        return None


def standard_mode(image: Image.Image, tags: Any = None) -> Image.Image:
    """Convert any mode to RGBA if there is transparency, else RGB; such an image itself is returned as it is.

    Args:
        image: A loaded image.
        tags: Those of the TIFF that it comes from.
    """
    to_linear = _unusual_color(image.info)
    if image.mode in ("RGB", "RGBA") and "transparency" not in image.info and to_linear is None:
        return image
    profile = image.info.get("icc_profile", b"")
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image, tags or {})
    result = image.convert("RGBA" if image.has_transparency_data else "RGB")
    kept = {} if image.mode in _NO_PROFILE_KEPT else {"icc_profile": rgb_profile(image)}
    colors = None
    if to_linear is not None:
        colors, kept = _to_srgb(result, *to_linear), {}
    elif profile and profile[16:20] == _PROFILE_SPACES.get(image.mode):
        colors = convert_profile(image.convert("L") if image.mode == "LA" else image, profile, None)
    if colors is not None:
        if result.mode == "RGBA":
            colors.putalpha(result.getchannel("A"))
        result = colors
    result.info = {key: value for key, value in {**kept, "exif": image.info.get("exif")}.items() if value}
    return result


def _to_eight_bits(image: Image.Image, tags: Any) -> Image.Image:
    """Scale gray values of 16 or 32 bits (modes "I;16", "I", "F") to 8 bits, as [`open_image`] says.

    Args:
        tags: Those of a TIFF: Pillow reads unsigned 32 bits as signed ones, and leaves deep values as they are where
            0 is white.
    """
    values = np.nan_to_num(np.asarray(image), posinf=0, neginf=0)
    if image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)
    low, high = float(values.min()), float(values.max())
    limit = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= limit:
        low, high = 0.0, limit
    scale = 255 / (high - low) if high > low else 0
    scaled = np.rint((values.astype(np.float32) - low) * scale).astype(np.uint8)
    result = Image.fromarray(~scaled if tags.get(_PHOTOMETRIC) == 0 else scaled)
    result.info = dict(image.info)
    if (transparent := result.info.pop("transparency", None)) is not None:
        result.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return result


def to_rgb(image: Image.Image, ground: str | tuple[int, int, int] = "white") -> Image.Image:
    """Convert an image of any mode to 8-bit RGB, what is transparent to the color of the ground.

    Returns:
        A new image, or the very same one if it is RGB already.
    """
    image = standard_mode(image)
    if image.mode == "RGB":
        return image
    canvas = Image.new("RGB", image.size, ground)
    canvas.paste(image, mask=image)
    canvas.info = dict(image.info)
    return canvas


def on_ground(image: Image.Image) -> Image.Image:
    """Make the RGB picture that a network sees of an image, of any mode: transparency before a ground that shows it.

    That is white, as in transformers, unless more than 5 % of what is visible would be lost there (a white logo): then
    white, black or gray, where the least is. A pixel is lost if no channel of it differs from the ground by 32 levels.
    """
    image = standard_mode(image)
    if image.mode == "RGB":
        return image
    sample = image.resize((min(image.width, 256), min(image.height, 256)), Image.Resampling.NEAREST)
    pixels = np.asarray(sample).reshape(-1, 4).astype(np.float32)
    colors, weights = pixels[:, :3], pixels[:, 3] / max(1.0, float(pixels[:, 3].sum()))

    def lost(level: int) -> float:
        return float(weights[np.abs(colors - level).max(axis=1) < _LOST].sum())

    level = 255 if lost(255) <= _LOST_SHARE else min((255, 0, 128), key=lost)
    return to_rgb(image, (level, level, level))


def rgb_profile(image: Image.Image) -> bytes | None:
    """The ICC profile of an image if it is one for RGB, the only kind that fits an RGB image."""
    profile = image.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else None


def match_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert the colors of an RGB image to an ICC profile, so that they look the same there."""
    own = rgb_profile(image)
    return image if own == profile else convert_profile(image, own, profile)


def convert_profile(image: Image.Image, source: bytes | None, target: bytes | None) -> Image.Image:
    """Convert an image between two ICC profiles to RGB, `None` being sRGB; without them if one is broken."""
    try:
        before, after = (
            ImageCms.ImageCmsProfile(io.BytesIO(data) if data else ImageCms.createProfile("sRGB"))
            for data in (source, target)
        )
        result = ImageCms.profileToProfile(image, before, after, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    assert result is not None  # only in-place conversion returns nothing
    return result


def _unusual_color(info: dict[Any, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """What the color chunks of a PNG say, by their rank: cICP, iCCP, sRGB, gAMA with cHRM (PNG 3rd ed., 4.3).

    Returns:
        For each of 256 levels its light, 1.0 being white, and the matrix from that light to sRGB's, (3, 3); `None`
        for sRGB and where nothing is said, or nonsense.
    """
    levels, primaries = np.arange(256) / 255, _PRIMARIES[1]
    if cicp := info.get("cicp"):
        primaries = _PRIMARIES[cicp[0]]
        if not cicp[3]:  # narrow range
            levels = np.clip((levels * 255 - 16) / 219, 0, 1)
        elif primaries == _PRIMARIES[1] and cicp[1] in _SRGB_TRANSFERS:
            return None
        light = _light(levels, cicp[1])
    elif info.get("icc_profile") or "srgb" in info or not 0.01 < (gamma := info.get("gamma", 0)) < 10:
        return None
    else:
        primaries = info.get("chromaticity", primaries)
        usual = abs(gamma - 1 / 2.2) < 0.01  # how sRGB is written there
        if usual and np.allclose(primaries, _PRIMARIES[1], atol=0.002):
            return None
        light = _srgb_light(levels) if usual else levels ** (1 / gamma)
    try:
        matrix = np.linalg.solve(_to_xyz(_PRIMARIES[1]), _to_xyz(primaries))
    except (ArithmeticError, ValueError):  # no colors have these chromaticities
        return None
    return light, matrix


def _srgb_light(signal: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: linear light of a signal, both in [0, 1]."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _light(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Linear light of a signal in [0, 1], by the number of its transfer in ITU-T H.273, table 3.

    HDR ends at its reference white, 203 cd/m² (ITU-R BT.2408); what is lighter becomes white. PQ and HLG, that on a
    screen of 1000 cd/m², are from ITU-R BT.2100, tables 4 and 5.
    """
    if transfer == _PQ:
        root = signal ** (32 / 2523)
        light = (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
        return np.minimum(light * 10000 / 203, 1)
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        return np.minimum(scene**1.2 * 1000 / 203, 1)
    if transfer in _GAMMA_TRANSFERS:
        return signal ** _GAMMA_TRANSFERS[transfer]
    return _srgb_light(signal)


def _to_xyz(chromaticities: tuple[float, ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ, adapted to white D65 (Bradford), of the (x, y) of white, red, green, blue."""
    x, y = np.reshape(chromaticities, (4, 2)).T
    with np.errstate(divide="raise", invalid="raise"):
        white, *colors = np.stack((x / y, np.ones(4), (1 - x - y) / y), axis=1)
        columns = np.transpose(colors)
        matrix = columns * np.linalg.solve(columns, white)
    x, y = _PRIMARIES[1][:2]
    gain = (_BRADFORD @ (x / y, 1, (1 - x - y) / y)) / (_BRADFORD @ white)
    return np.linalg.solve(_BRADFORD, gain[:, None] * (_BRADFORD @ matrix))


def _to_srgb(image: Image.Image, light: np.ndarray, matrix: np.ndarray) -> Image.Image:
    """Convert an RGB or RGBA image, whose levels mean this light, to RGB in sRGB."""
    linear = np.arange(65536) / 65535
    encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    encoded = np.rint(encoded * 255).astype(np.uint8)
    pixels = np.asarray(image)[..., :3]
    result = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), 256):  # a whole photo in floating point would be large
        mixed = light[pixels[top : top + 256]] @ matrix.T
        result[top : top + 256] = encoded[np.rint(np.clip(mixed, 0, 1) * 65535).astype(np.uint16)]
    return Image.fromarray(result)
