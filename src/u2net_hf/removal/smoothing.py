"""Less flicker: the map of a frame mixed with those before it, where the picture stands still."""

from __future__ import annotations

import numpy as np
from PIL import Image

_STILL = 0.12  # root mean square over a small block; what moves is more
_CUT = 0.25  # mean over the picture, as between two scenes
_BLOCK = 8


class Smoother:
    """An exponential mean over time of the maps of a video, which forgets where the picture changes.

    Args:
        strength: The share of the frames before in a map, in [0, 1), where nothing moves; 0 leaves maps as they are.

    Raises:
        ValueError: If the strength is outside [0, 1).
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, got {strength}")
        self.strength = strength
        self._map: np.ndarray | None = None
        self._seen: np.ndarray | None = None

    def __call__(self, soft_map: np.ndarray, seen: Image.Image) -> np.ndarray:
        """Smooth the next map.

        Args:
            soft_map: An array (h, w) in [0, 1].
            seen: The picture that the network saw, RGB.
        """
        if not self.strength:
            return soft_map
        height, width = soft_map.shape
        pixels = np.asarray(seen.resize((width, height)) if seen.size != (width, height) else seen, np.float32) / 255
        if self._map is not None and self._seen is not None:
            share = self.strength * self._stillness(pixels, self._seen)
            soft_map = soft_map + share * (self._map - soft_map)
        self._map, self._seen = soft_map, pixels
        return soft_map

    @staticmethod
    def _stillness(pixels: np.ndarray, before: np.ndarray) -> np.ndarray | float:
        """How much each pixel (h, w) is what it was, from 0 to 1; 0 everywhere at a cut."""
        difference = np.square(pixels - before).mean(axis=2)
        if np.sqrt(difference).mean() > _CUT:
            return 0.0
        image = Image.fromarray(difference)
        small = (-(-image.width // _BLOCK), -(-image.height // _BLOCK))
        blocks = image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
        return np.exp(-np.asarray(blocks) / _STILL**2)
