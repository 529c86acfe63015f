"""Masks of a corpus as pictures: 8-bit masks by the rule of `sod_metrics/masks.py`, or labels of classes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..sod_metrics.masks import OBJECT_ABOVE, interpret_mask, parse_object_values, read_values

__all__ = ["OBJECT_ABOVE", "as_labels", "as_mask", "as_soft_mask", "parse_object_values"]


def as_mask(picture: Image.Image, object_values: Sequence[str] | None = None) -> Image.Image:
    """Make a mask of any mode 8-bit gray, 0 = background to 255 = object, once or more often.

    Soft masks keep their levels, since U²-Net learns from them; where a hard mask is needed, a pixel is object above
    `OBJECT_ABOVE`.

    Args:
        picture: The mask as it is stored.
        object_values: Which values are object, instead of the rule.

    Raises:
        ValueError: If nothing tells which values are object; the message lists those that were found.
    """
    return Image.fromarray(interpret_mask(picture, object_values))


def as_soft_mask(picture: Image.Image) -> Image.Image:
    """Keep a soft map as it is, of 8 bits (mode L), or make it one of mode F from 0 to 255, of 16.

    Raises:
        ValueError: If it is not a gray picture.
    """
    if picture.mode.startswith("I"):
        return Image.fromarray(np.asarray(picture, np.float32) / 257)
    if picture.mode != "L":
        raise ValueError(f"a soft map is a gray picture of 8 or 16 bits, this one is of mode {picture.mode}")
    return picture


def as_labels(picture: Image.Image) -> Image.Image:
    """Make a mask of classes a picture of mode "I": gray values, or the indices of a palette, are the classes.

    Raises:
        ValueError: If the picture has transparent pixels, or colors without a palette.
    """
    if picture.mode == "P":
        return Image.fromarray(np.asarray(picture, np.int32))
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        raise ValueError("the mask has transparent pixels: classes are gray values or the indices of a palette")
    values, colors = read_values(picture.convert("RGB") if picture.has_transparency_data else picture)
    if colors is not None:
        raise ValueError(
            f"the mask has colors ({', '.join(list(colors.values())[:8])}): classes are gray values or the indices of "
            "a palette"
        )
    return Image.fromarray(values.astype(np.int32))
