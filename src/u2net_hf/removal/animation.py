"""Animations: each frame goes the way of a photo. What has one frame is a photo."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from ..images.animations import ANIMATED, Animation, count_frames, encode_animation, read_animation
from ..images.files import ImageError, encode_image
from ..models.u2net.render_u2net import RenderOptions
from .photo import Photo, as_photo_seen, finish_photo, read_photo

if TYPE_CHECKING:
    from ..engines.interface import Engine


class Frames(NamedTuple):
    """A photo, or the frames of an animation with its timing."""

    photos: list[Photo]
    animation: Animation | None


def remove_animation(source: str | Path | BinaryIO, engine: Engine, options: RenderOptions | None = None) -> Animation:
    """Make cut-outs, or what else the options say, of all frames of an animation (GIF, WebP, APNG).

    Args:
        source: Path of the file, or a binary stream.
        engine: As from [`u2net_hf.engines.load_engine`]. It sees one frame after the other.
        options: What to make; by default cut-outs. Animations cannot be cropped.

    Returns:
        The results; [`u2net_hf.images.animations.encode_animation`] makes a file of them.

    Raises:
        ImageError: If the file cannot be read.
    """
    options = options or RenderOptions()
    frames = _read_frames(source, engine, options)
    return _finish_frames(frames, predict_maps(frames, engine), options)


def is_animation(source: str | Path | BinaryIO, image_format: str) -> bool:
    """Whether all frames of a file are done: it has several, and the format of the result can hold them."""
    return image_format in ANIMATED and count_frames(source) > 1


def read_photos(source: str | Path | BinaryIO, engine: Engine, options: RenderOptions, image_format: str) -> Frames:
    """Read a photo, or the frames of an animation if the result can be one.

    Raises:
        ImageError: If the file cannot be read, or an animation is to be cropped.
    """
    if is_animation(source, image_format):
        return _read_frames(source, engine, options)
    return Frames([read_photo(source, engine, options)], None)


def predict_maps(photos: Frames, engine: Engine) -> list[np.ndarray]:
    """The soft map of each photo, one after the other."""
    return [engine([photo.reduced], None, False)[0] for photo in photos.photos]


def encode_results(
    photos: Frames,
    soft_maps: Sequence[np.ndarray],
    options: RenderOptions,
    image_format: str,
    *,
    compress_level: int = 1,
    threads: int = 1,
) -> bytes:
    """Make what the options say of photos and their maps, as a file of this format.

    Args:
        photos: As from [`read_photos`]. Their pixels may become the results.
        soft_maps: One for each.
        options: What to make.
        image_format: As in [`u2net_hf.images.files.encode_image`], as are the others, for a single photo.
        compress_level: See there.
        threads: See there.

    Raises:
        ImageError: If the format does not allow such an image.
    """
    if photos.animation is not None:
        return encode_animation(_finish_frames(photos, soft_maps, options), image_format)
    result = finish_photo(photos.photos[0], soft_maps[0], options)
    return encode_image(result, image_format, compress_level=compress_level, threads=threads)


def _read_frames(source: str | Path | BinaryIO, engine: Engine, options: RenderOptions) -> Frames:
    if options.crop is not None:
        name = source if isinstance(source, str | Path) else getattr(source, "name", "the input")
        raise ImageError(f"{name}: is an animation, which cannot be cropped: leave the crop out, or choose JPEG")
    animation = read_animation(source)
    photos = [as_photo_seen(frame, engine, options) for frame in animation.frames]
    return Frames(photos, animation._replace(frames=[]))


def _finish_frames(photos: Frames, soft_maps: Sequence[np.ndarray], options: RenderOptions) -> Animation:
    assert photos.animation is not None
    pairs = zip(photos.photos, soft_maps, strict=True)
    return photos.animation._replace(frames=[finish_photo(photo, soft_map, options) for photo, soft_map in pairs])


def buffered(stream: BinaryIO) -> BinaryIO:
    """A stream that can be read twice, as animations need it."""
    return stream if stream.seekable() else io.BytesIO(stream.read())
