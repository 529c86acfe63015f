"""Drawn pairs: each has a number that can be read back from its image and from its mask."""

from collections.abc import Callable

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 16

Draw = Callable[[dict[str, int], dict[str, int]], None]


def draw_image(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A photo whose gray value is 5 times its number."""
    return Image.new("RGB", size, (5 * number,) * 3)


def draw_mask(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A mask with as many object pixels as its number, in the first row."""
    values = np.zeros(size[::-1], np.uint8)
    values.flat[:number] = 255
    return Image.fromarray(values)


def number_of_image(image: Image.Image) -> int:
    return round(float(np.asarray(image).mean()) / 5)


def number_of_mask(mask: Image.Image) -> int:
    return int((np.asarray(mask) > 128).sum())
