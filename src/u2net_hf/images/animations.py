"""Animations in and out: GIF, WebP and APNG, all frames, how long each is shown, how often all of them are.

The formats count loops in three ways: NETSCAPE2.0 of GIF the repetitions after the first time, ANIM of WebP (RFC 9649)
and acTL of PNG (third edition, 11.3.6.1) how often it is played, 0 being without end in all of them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

from .files import ImageError, as_photo, rgb_profile

ANIMATED = ("GIF", "WEBP", "PNG")


class Animation(NamedTuple):
    """Frames of one size.

    Args:
        frames: What is shown, each a whole picture.
        durations: For how many milliseconds, each.
        plays: How often all of them are shown; 0 is without end.
    """

    frames: list[Image.Image]
    durations: list[float]
    plays: int


def count_frames(source: str | Path | BinaryIO) -> int:
    """How many frames an image file has; 1 also for what is no animation, or no image. A stream stays where it is."""
    if isinstance(source, str | Path) and not Path(source).is_file():  # a pipe would wait for its writer
        return 1
    position = None if isinstance(source, str | Path) else source.tell()
    try:
        with Image.open(source) as image:
            return getattr(image, "n_frames", 1) - _first(image) if image.format in ANIMATED else 1
    except Exception:  # damaged files make Pillow raise nearly anything; reading them says what is wrong
        return 1
    finally:
        if position is not None and not isinstance(source, str | Path):
            source.seek(position)


def read_animation(source: str | Path | BinaryIO) -> Animation:
    """Read all frames, as [`u2net_hf.images.files.as_photo`] makes photos of them.

    Raises:
        ImageError: If the file is damaged, or its frames have more pixels together than one photo may have.
    """
    name = str(source if isinstance(source, str | Path) else getattr(source, "name", "the input"))
    number = 0
    try:
        with Image.open(source) as image:
            count = getattr(image, "n_frames", 1)
            limit = 2 * (Image.MAX_IMAGE_PIXELS or float("inf"))
            if count * image.width * image.height > limit:
                raise ImageError(
                    f"{name}: its {count} frames have more than {limit / 1e6:g} megapixels; make it smaller, or allow "
                    "more (--max-megapixels)"
                )
            frames, durations = [], []
            for number in range(_first(image), count):
                image.seek(number)
                image.load()
                durations.append(float(image.info.get("duration", 0)))
                frames.append(as_photo(image))
            return Animation(frames, durations, _plays(image))
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        message = f"{name}: frame {number + 1} is damaged ({error or type(error).__name__}); fetch or export it again"
        raise ImageError(message) from error


def encode_animation(animation: Animation, image_format: str) -> bytes:
    """Encode frames, with the ICC profile of the first one.

    PNG and masks (mode "L") in WebP are lossless. GIF has 256 colors, and a pixel is there or not.

    Raises:
        ImageError: If the format has no animations, or does not allow such frames.
    """
    if image_format not in ANIMATED:
        raise ImageError(f"image format {image_format!r} has no animations: choose one of {', '.join(ANIMATED)}")
    first, *others = animation.frames
    options: dict[str, Any] = {"save_all": True, "append_images": others, "loop": animation.plays}
    options["duration"] = [round(duration) for duration in animation.durations]
    if image_format == "GIF":
        options |= {"disposal": 2, "loop": max(0, animation.plays - 1)}
        if animation.plays == 1:
            del options["loop"]
    elif image_format == "WEBP":
        options |= {"lossless": True} if first.mode == "L" else {"quality": 90}
    stream = io.BytesIO()
    try:
        first.save(stream, image_format, icc_profile=rgb_profile(first), **options)
    except (OSError, ValueError) as error:
        message = f"frames of size {first.size} cannot be encoded as {image_format} ({error})"
        raise ImageError(message) from error
    return stream.getvalue()


def _first(image: Image.Image) -> int:
    """An APNG may have a picture for programs that know no animations, before its frames."""
    return int(getattr(image, "default_image", False))


def _plays(image: Image.Image) -> int:
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else 0 if loop == 0 else loop + 1
    return loop or 0
