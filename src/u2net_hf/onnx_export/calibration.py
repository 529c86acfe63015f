"""Photos that give the 8-bit numbers of a graph their ranges: the user's own, or parts of one that is shipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageEnhance, ImageOps

from ..images.files import find_images, open_image, to_rgb
from ..utils.resources import find_template

if TYPE_CHECKING:
    import torch

Photo = Path | Image.Image


def find_photos(sources: str | Path | Sequence[str | Path]) -> list[Photo]:
    """List photos: files as they are named, and all images in folders.

    Raises:
        ImageError: If a folder cannot be read.
        ValueError: If there is none.
    """
    listed = [Path(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    photos: list[Photo] = []
    for source in listed:
        photos.extend(find_images(source) if source.is_dir() else [source])
    if not photos:
        raise ValueError(f"calibration_images: no image in {', '.join(map(str, listed)) or 'an empty list'}.")
    return photos


def shipped_photos() -> list[Photo]:
    """The shipped photo and its four corners at two scales, each also in opposite colors and with hard contrast.

    For the published U²-Net†, the graph that these 27 pictures give is as near to torch as one from 100 photos of
    people, animals and things.
    """
    photo = to_rgb(open_image(find_template("space/coffee.jpg")))
    parts = [photo]
    for share in (0.7, 0.5):
        width, height = round(photo.width * share), round(photo.height * share)
        for left in (0, photo.width - width):
            for top in (0, photo.height - height):
                parts.append(photo.crop((left, top, left + width, top + height)))
    opposite = [ImageOps.mirror(ImageOps.invert(part)) for part in parts]
    hard = [ImageEnhance.Contrast(ImageOps.flip(part)).enhance(2) for part in parts]
    return [*parts, *opposite, *hard]


def network_inputs(photos: Iterable[Photo], image_processor: Any) -> Iterator[torch.Tensor]:
    """The network's input for each photo, `(1, channels, height, width)`.

    Raises:
        ImageError: If a photo cannot be read.
    """
    for photo in photos:
        image = photo if isinstance(photo, Image.Image) else to_rgb(open_image(photo))
        yield image_processor(images=image, return_tensors="pt")["pixel_values"]
