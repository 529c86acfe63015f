"""Shift, rotation, scale and elastic deformation of an image and its mask, sampled together in one go."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch.nn import functional as F

from .transforms import Pictures, resampling


@dataclass(frozen=True)
class RandomDeformation:
    """Shift, rotate and deform, and give a square of `size` pixels of the result; images are mirrored at their border.

    The square lies anywhere in the image if that is larger; else in its middle, moved by up to `shift` pixels.
    `rotation` is the largest angle in degrees, `elastic_std` the standard deviation of `elastic_field` in pixels of
    the square, `scale` the smallest and the largest magnification (all ratios between are equally likely). `mirror`
    swaps left and right half of the time. The square is placed up to `tries` times, until its mask is not empty.
    """

    size: int
    shift: float = 0.0
    rotation: float = 0.0
    elastic_std: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    mirror: bool = False
    tries: int = 1

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Draw one deformation and sample all pictures with it."""
        smallest, largest = self.scale
        step = math.exp(-rng.uniform(math.log(smallest), math.log(largest))) if self.scale != (1, 1) else 1.0
        top, left = self._place(pictures, self.size * step, rng)
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        middle = (self.size - 1) / 2
        offsets = torch.arange(self.size, dtype=torch.float32) - middle
        down, right = offsets[:, None], offsets[None, :]
        if self.mirror and rng.random() < 0.5:
            right = -right
        rows = math.cos(angle) * down - math.sin(angle) * right
        columns = math.sin(angle) * down + math.cos(angle) * right
        if self.elastic_std:
            row_field, column_field = elastic_field(self.size, self.elastic_std, rng)
            rows, columns = rows + row_field, columns + column_field
        rows, columns = top + middle * step + step * rows, left + middle * step + step * columns
        return tuple(sample_at(picture, rows, columns) for picture in pictures)

    def _place(self, pictures: Pictures, side: float, rng: np.random.Generator) -> tuple[int, int]:
        """First row and column of the square, which has `side` pixels of the image."""
        image, mask = pictures[0], pictures[min(1, len(pictures) - 1)]
        for _ in range(self.tries):
            top, left = self._draw_corner(image.height, side, rng), self._draw_corner(image.width, side, rng)
            if self.tries == 1 or mask.crop((left, top, round(left + side), round(top + side))).getbbox():
                break
        return top, left

    def _draw_corner(self, length: int, side: float, rng: np.random.Generator) -> int:
        """First row or column of the square: whole, so that a shift alone copies the pixels."""
        free = (length - side) / 2
        return round(free + rng.uniform(-1, 1) * max(free, self.shift))


def elastic_field(size: int, std: float, rng: np.random.Generator, grid: int = 3) -> torch.Tensor:
    """Draw the displacements of the U-Net paper: Gaussian on a coarse grid, bicubic in between.

    Returns:
        `torch.Tensor` of shape `(2, size, size)`: the shift of each pixel along rows and columns, in pixels. The outer
        points of the grid lie on the corner pixels.
    """
    coarse = torch.from_numpy(rng.normal(0, std, (2, grid, grid)).astype(np.float32))
    weights = _bicubic_weights(size, grid)
    return weights @ coarse @ weights.T


@lru_cache(maxsize=8)
def _bicubic_weights(size: int, grid: int) -> torch.Tensor:
    """How much each point of a coarse side counts at each pixel of a fine one, `(size, grid)`: the same each time."""
    points = torch.eye(grid)[None, :, :, None]
    return F.interpolate(points, size=(size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T


def sample_at(picture: Image.Image, rows: torch.Tensor, columns: torch.Tensor) -> Image.Image:
    """The picture's values at given places, mirrored at its outermost pixels beyond the border.

    Args:
        picture: Of mode RGB, L or F (interpolated bilinearly) or I (nearest value).
        rows: float32 `(H, W)`, in pixels, 0 is the center of the first row.
        columns: The same for columns.

    Returns:
        A picture of `(H, W)` of the same mode.
    """
    top, bottom = _needed(rows, picture.height)
    left, right = _needed(columns, picture.width)
    values = np.asarray(picture)[top:bottom, left:right]
    height, width = values.shape[:2]
    # grid_sample counts from -1, the first pixel, to 1, the last.
    grid = torch.stack(
        (2 * (columns - left) / max(width - 1, 1) - 1, 2 * (rows - top) / max(height - 1, 1) - 1), dim=-1
    )
    channels = torch.from_numpy(np.atleast_3d(values).astype(np.float32)).permute(2, 0, 1)
    mode = "nearest" if resampling(picture) == Resampling.NEAREST else "bilinear"
    sampled = F.grid_sample(channels[None], grid[None], mode, padding_mode="reflection", align_corners=True)[0]
    if values.dtype != np.float32:
        sampled = sampled.round_()
    result = sampled.permute(1, 2, 0).numpy().astype(values.dtype)
    return Image.fromarray(result.reshape(*rows.shape, *values.shape[2:]))


def _needed(places: torch.Tensor, length: int) -> tuple[int, int]:
    """The part of a side that places on it, or on its mirror images, ask for: all of it if they reach beyond."""
    first, last = math.floor(places.min()), math.ceil(places.max())
    return (first, last + 1) if first >= 0 and last < length else (0, length)
