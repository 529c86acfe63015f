"""Photos of any size to measure with: scikit-image's, enlarged, with the noise of a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

NOISE = 3.0  # standard deviation in gray values; without it an enlarged photo compresses too well
NAMES = ("astronaut", "coffee", "chelsea", "rocket")


def make_photos(folder: Path, megapixels: list[float]) -> list[Path]:
    """Write JPEGs of these sizes (quality 92), unless they are there; the same on every machine."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, size in enumerate(megapixels):
        path = folder / f"{number:03}-{size:g}mp.jpg"
        if not path.exists():
            name = NAMES[number % len(NAMES)]
            _enlarged(Image.fromarray(getattr(data, name)()), size, seed=number).save(path, quality=92)
        paths.append(path)
    return paths


def _enlarged(photo: Image.Image, megapixels: float, seed: int) -> Image.Image:
    scale = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
    size = (round(photo.width * scale), round(photo.height * scale))
    pixels = np.asarray(photo.resize(size, Image.Resampling.LANCZOS), np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, np.float32) * NOISE
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
