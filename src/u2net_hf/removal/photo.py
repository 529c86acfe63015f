"""One photo on its way to its cut-out: read, seen by the network, finished. Files and requests all go this way.

photo = read_photo(source, engine, options)
(soft_map,) = maps_or_errors([photo.reduced], engine)
result = finish_photo(photo, soft_map, options)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from ..images.files import open_image, open_reduced
from ..models.u2net.render_u2net import RenderOptions, crop_to_object, render, render_mask

if TYPE_CHECKING:
    from ..engines.interface import Engine

# A mask needs the network's input only. A JPEG is then read at no less than this many times that size, in a third of
# the time: on 13 photos of 10 to 12 megapixels the maps differ by 0.001 on average (by 0.005 on the worst photo, at
# most 0.09 in a pixel), less than what bfloat16 changes.
OVERSAMPLING = 4


class Photo(NamedTuple):
    """An image file read: its size (W, H), its pixels if the result needs them, and what the network sees of it."""

    size: tuple[int, int]
    pixels: Image.Image | None
    reduced: Image.Image


def read_photo(source: str | Path | BinaryIO, engine: Engine, options: RenderOptions) -> Photo:
    """Read an image file as far as the options need it; it may be done while the network runs.

    Raises:
        ImageError: If the file cannot be read.
    """
    if not options.needs_photo and engine.input_size:
        height, width = engine.input_size
        image, size = open_reduced(source, (OVERSAMPLING * width, OVERSAMPLING * height))
        return Photo(size, None, engine.reduce(image))
    return as_photo_seen(open_image(source), engine, options)


def as_photo_seen(image: Image.Image, engine: Engine, options: RenderOptions) -> Photo:
    """What the network sees of an image that is read, and its pixels if the result needs them."""
    return Photo(image.size, image if options.needs_photo else None, engine.reduce(image))


def finish_photo(photo: Photo, soft_map: np.ndarray, options: RenderOptions) -> Image.Image:
    """Make what the options say of a photo and its soft map; the photo's pixels may become the result."""
    if photo.pixels is None:
        mask = render_mask(soft_map, photo.size, options.threshold)
        return mask if options.crop is None else crop_to_object(mask, mask, options.crop)
    return render(photo.pixels, soft_map, options, in_place=True)


def maps_or_errors(images: Sequence[Image.Image], engine: Engine) -> list[np.ndarray | Exception]:
    """Predict a batch; if that fails, for example for lack of memory, its images one by one."""
    try:
        return [*engine(images, None, False)] if images else []
    except Exception as error:
        if len(images) == 1:
            return [error]
        return [outcome for image in images for outcome in maps_or_errors([image], engine)]
