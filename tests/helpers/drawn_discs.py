"""Drawn cells: label maps of discs, also touching ones, and pictures of them."""

import numpy as np
from PIL import Image

Disc = tuple[float, float, float]


def draw_discs(shape: tuple[int, int], discs: list[Disc]) -> np.ndarray:
    """A label map (int32) of discs (row, column, radius); where two overlap a pixel is of the nearer one."""
    rows, columns = np.indices(shape)
    # Below 0 within a disc, and equal on the line on which two discs of one size touch.
    depths = np.array([np.hypot(rows - row, columns - column) / radius - 1 for row, column, radius in discs])
    return np.where(depths.min(axis=0) < 0, depths.argmin(axis=0) + 1, 0).astype(np.int32)


def draw_cells(instances: np.ndarray, seed: int = 0, inverted: bool = False) -> Image.Image:
    """An RGB picture of a label map: each cell of a brightness of its own on a dark background, with noise."""
    rng = np.random.default_rng(seed)
    values = np.append(15, rng.uniform(70, 180, instances.max()))[instances] + rng.normal(0, 5, instances.shape)
    gray = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    return gray.point(lambda value: 255 - value) if inverted else gray
