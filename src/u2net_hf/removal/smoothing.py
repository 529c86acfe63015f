"""Less flicker: the map of a frame mixed with those before it, moved along with the picture. Needs OpenCV."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from PIL import Image

_LARGEST_ERROR = 1.0  # pixels by which motion there and back may miss the point where it began
_ALIKE = 0.1  # root mean square of gray in [0, 1] over a window, by which what is followed may change
_WINDOW = (5, 5)


class Smoother:
    """An exponential mean over time of the maps of a video, along the motion of the picture.

    Each pixel is followed back to the frame before by optical flow (Kroeger et al., "Fast optical flow using dense
    inverse search", 2016). Where the flow there and the flow back do not meet, or lead to what looks different (what
    was hidden, what is new, a cut to another scene), the mean begins anew.

    Args:
        strength: The share of the frames before in a map, in [0, 1); 0 leaves maps as they are.

    Raises:
        ValueError: If the strength is outside [0, 1).
    """

    def __init__(self, strength: float) -> None:
        if not 0 <= strength < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, got {strength}")
        self.strength = strength
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, soft_map: np.ndarray, seen: Image.Image) -> np.ndarray:
        """Smooth the next map.

        Args:
            soft_map: An array (h, w) in [0, 1].
            seen: The picture that the network saw.
        """
        if not self.strength:
            return soft_map
        gray = np.asarray(seen.convert("L").resize(soft_map.shape[::-1]), np.uint8)
        if self._before is not None:
            earlier, earlier_gray = self._before
            back, there = self._flow.calc(gray, earlier_gray, None), self._flow.calc(earlier_gray, gray, None)
            share = self.strength * follows(back, there) * _likeness(gray, warp(earlier_gray.astype(np.float32), back))
            soft_map = soft_map + share * (warp(earlier, back) - soft_map)
        self._before = soft_map, gray
        return soft_map


def _likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How alike two gray pictures (h, w) are at each place, from 0 to 1."""
    return np.exp(-cv2.blur(np.square((one - other) / np.float32(255 * _ALIKE)), _WINDOW))


def warp(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Fetch values (h, w) or (h, w, n), float32, from where a flow (h, w, 2) of x and y leads, bilinearly."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(values, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def follows(back: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Where a flow leads to a point of the picture from which the opposite flow leads back: booleans (h, w)."""
    height, width = back.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = (abs(x + back[..., 0] - (width - 1) / 2) <= width / 2) & (
        abs(y + back[..., 1] - (height - 1) / 2) <= height / 2
    )
    return inside & (np.linalg.norm(back + warp(there, back), axis=2) < _LARGEST_ERROR)
