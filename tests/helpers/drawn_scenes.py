"""Photos and cells drawn by code, CC0: they stand for the real ones where a checkout has none beside it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree


def draw_photo(seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """An object of several parts before a background out of focus, with noise."""
    random = np.random.default_rng(seed)
    width, height = size
    coarse = Image.fromarray(random.integers(40, 200, (6, 8, 3), dtype=np.uint8))
    photo = coarse.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(6))
    draw = ImageDraw.Draw(photo)
    x, y = width * random.uniform(0.35, 0.65), height * random.uniform(0.4, 0.6)
    for _ in range(5):
        a, b = random.uniform(0.06, 0.2, 2) * height
        dx, dy = random.uniform(-0.12, 0.12, 2) * height
        color = tuple(int(value) for value in random.integers(0, 256, 3))
        draw.ellipse((x + dx - a, y + dy - b, x + dx + a, y + dy + b), fill=color)
    noisy = np.asarray(photo.filter(ImageFilter.GaussianBlur(1))) + random.normal(0, 4, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def draw_cells(seed: int, side: int = 512, number: int = 220) -> tuple[Image.Image, Image.Image]:
    """Cells with dark membranes between them as in ISBI 2012, gray, and their mask: cells 255, membranes 0."""
    random = np.random.default_rng(seed)
    centers = KDTree(random.uniform(0, side, (number, 2)))
    distances = centers.query(np.stack(np.mgrid[:side, :side], axis=-1), k=2)[0]
    cells = distances[..., 1] - distances[..., 0] > 3
    gray = gaussian_filter(np.where(cells, 170.0, 40.0), 0.7) + random.normal(0, 15, cells.shape)
    mask = Image.fromarray(cells.astype(np.uint8) * np.uint8(255))
    return Image.fromarray(gray.clip(0, 255).astype(np.uint8)), mask
