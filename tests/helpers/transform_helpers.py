"""Pictures to transform, and generators that draw known numbers."""

import numpy as np
from PIL import Image


class Fixed:
    """A generator that always draws the same place between the lowest and the highest value."""

    def __init__(self, share: float) -> None:
        self.share = share

    def uniform(self, low: float, high: float) -> float:
        return low + self.share * (high - low)

    def random(self) -> float:
        return self.share


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def smooth(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    values = 127 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)
    return Image.fromarray(np.stack((values, values.T.reshape(height, width), 255 - values), -1).astype(np.uint8))


def positions(width: int, height: int) -> Image.Image:
    """Labels (mode I) that tell where each pixel was: 1000 * row + column."""
    return Image.fromarray((1000 * np.arange(height)[:, None] + np.arange(width)).astype(np.int32))


def same_shape_pair(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """An image whose three channels are its mask: they must stay equal under all that moves pixels."""
    mask = smooth(width, height).getchannel(0)
    return Image.merge("RGB", (mask, mask, mask)), mask
