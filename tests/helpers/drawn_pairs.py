"""Small maps and masks, drawn so that each reaches from 0 to 255: neither tool's stretching changes them."""

import numpy as np
from numpy.typing import NDArray

DrawnPair = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def _grid(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[:height, :width]
    return y.astype(float), x.astype(float)


def _ellipse(height: int, width: int, cy: float, cx: float, ry: float, rx: float) -> NDArray[np.float64]:
    """Below 1 inside, above 1 outside."""
    y, x = _grid(height, width)
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2


def _stretch(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    values = values - values.min()
    return np.rint(values / values.max() * 255).astype(np.uint8)


def draw() -> dict[str, DrawnPair]:
    """Name to (map, mask)."""
    rng = np.random.default_rng(0)
    blob = _ellipse(48, 64, 22, 30, 12, 18)
    mask = blob < 1
    soft = _stretch(1 / (1 + np.exp(6 * (_ellipse(48, 64, 24, 33, 13, 16) - 1))))
    noisy = _stretch(soft + rng.normal(0, 40, soft.shape))
    two = (_ellipse(40, 37, 9, 8, 6, 5) < 1) | (_ellipse(40, 37, 30, 27, 5, 7) < 1)
    y, x = _grid(33, 29)
    one_pixel = np.zeros((20, 25), bool)
    one_pixel[7, 11] = True
    speck = np.zeros((120, 160), bool)
    speck[50, 70] = True
    corner = np.zeros((24, 18), bool)
    corner[:6, :5] = True
    thin = np.zeros((30, 30), bool)
    thin[4:26, 14] = True
    holed = (blob < 1) & (blob > 0.3)
    return {
        "soft": (soft, mask),
        "noisy": (noisy, mask),
        "noise": (_stretch(rng.random((31, 45))), rng.random((31, 45)) > 0.5),
        "two objects": (_stretch(np.minimum(_ellipse(40, 37, 9, 8, 6, 5), 3) * -1.0), two),
        "ramp": (_stretch(x + y), (x > 9) & (x < 22) & (y > 5) & (y < 30)),
        "one pixel": (_stretch(-_ellipse(20, 25, 7, 11, 4, 4)), one_pixel),
        "speck": (speck.astype(np.uint8) * np.uint8(255), speck),
        "corner": (_stretch(rng.random((24, 18))), corner),
        "thin": (_stretch(-np.abs(_grid(30, 30)[1] - 13)), thin),
        "hole": (soft, holed),
        "perfect": (mask.astype(np.uint8) * np.uint8(255), mask),
        "inverse": ((~mask).astype(np.uint8) * np.uint8(255), mask),
        "empty mask": (soft, np.zeros_like(mask)),
        "full mask": (soft, np.ones_like(mask)),
        "row": (_stretch(rng.random((1, 40))), np.arange(40)[None] < 13),
    }


PAIRS = draw()
