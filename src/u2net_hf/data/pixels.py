"""What the pixels of a mask mean: one rule for training, weight maps and evaluation.

Data sets store the same mask in many ways: 0/255, 0/1, gray edges, RGB, a palette, 16 bits. Here each becomes eight
bits, 0 = background, 255 = object. Values between are kept, since U²-Net learns from soft masks; where a hard mask is
needed, a pixel is object above 128, as in the official evaluation tool.
"""

import numpy as np
from PIL import Image

OBJECT_ABOVE = 128


def as_mask(picture: Image.Image) -> Image.Image:
    """Make a mask of any mode 8-bit gray, 0 = background to 255 = object.

    RGB is read as its gray value, 16 bits are scaled to 8, and a mask whose values are only 0 and 1 is scaled to 0 and
    255. In a palette of colors the colors are only names: every index but 0 is object.

    This is for masks as they are stored, once or more often; not for parts of them, since a part of a soft mask may
    have no value above 1.
    """
    if picture.mode == "P" and _is_colored(picture):
        return picture.point([0] + [255] * 255, "L")
    mask = _eight_bits(picture).convert("L")
    zero_or_one = picture.mode != "F" and mask.getextrema()[1] == 1
    return mask.point([0] + [255] * 255) if zero_or_one else mask


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale pictures of 16 or 32 bits or of floats in [0, 1], which Pillow would clip; others are given back."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, dtype=np.float64)
    highest = values.max(initial=0)
    if highest > 255:
        values = values / 257
    elif picture.mode == "F" and highest <= 1:
        values = values * 255
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _is_colored(picture: Image.Image) -> bool:
    """Whether a picture with a palette uses any color that is not gray."""
    stored = picture.getpalette("RGB") or []
    palette = np.pad(stored, (0, 768 - len(stored))).reshape(256, 3)  # what is not stored is black
    used = palette[np.unique(np.asarray(picture))]
    return bool((used != used[:, :1]).any())
