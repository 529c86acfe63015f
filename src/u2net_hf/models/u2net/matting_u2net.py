"""Fine edges: how much of each pixel is object (alpha matting), and the object's own color there.

A soft map of 320 by 320 cannot resolve hair. Where the map is unsure, the alpha is solved from the photo's colors,
and the old background's share is taken out of them, which else would surround the object as a halo.

The methods are pymatting's: closed-form matting (Levin, Lischinski and Weiss, "A closed-form solution to natural image
matting", 2008) and multi-level foreground estimation (Germer et al., "Fast multi-level foreground estimation", 2020).
"""

import sys
from typing import Any

import numpy as np
from PIL import Image

FOREGROUND, BACKGROUND, UNKNOWN = 1.0, 0.0, 0.5
UNAVAILABLE = "matting needs another package: pip install 'u2net-hf[matting]' (or pymatting alone)"


class MattingUnavailableError(RuntimeError):
    """The package that does the matting is not installed."""


def refine_alpha(
    image: Image.Image,
    soft_map: np.ndarray,
    *,
    foreground_threshold: float = 0.94,
    background_threshold: float = 0.04,
    margin: float = 0.01,
    max_size: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """Refine a soft map to the alpha of the photo, and estimate the colors of the object without its background.

    The alpha is solved at no more than `max_size` pixels a side and enlarged bilinearly; the colors are estimated at
    full size. That takes seconds on a CPU, and the first call of a process a few more, to compile pymatting.

    Args:
        image: The photo, of mode "RGB" and size (W, H).
        soft_map: How salient each pixel is, an array (H, W) in [0, 1].
        foreground_threshold: Pixels above it belong to the object; lower it if parts of the object become transparent.
        background_threshold: Pixels below it are background; raise it if remains of the background stay.
        margin: By how much both are shrunk before they are taken for sure, as a share of the photo's longer side; the
            band between is solved. Raise it for hair and fur, lower it for hard and thin things.
        max_size: The longer side in pixels at which the alpha is solved; time and memory grow with its square.

    Returns:
        The alpha, an array (H, W), float32 in [0, 1], and the colors of the object, (H, W, 3), uint8, which are the
        photo's where the alpha is 1. If no pixel is surely object, none surely background, or none between, the soft
        map and the photo's colors as they are.

    Raises:
        MattingUnavailableError: If pymatting is not installed.
        ValueError: If the image and map do not fit, or an option is out of its range.
    """
    if image.mode != "RGB" or soft_map.shape != (image.height, image.width):
        got = f"mode {image.mode}, size {image.size} and a map of shape {soft_map.shape}"
        raise ValueError(f"matting needs an RGB image and a map of shape (height, width), got {got}")
    if not 0 <= background_threshold < foreground_threshold <= 1:
        got = f"{background_threshold} and {foreground_threshold}"
        raise ValueError(f"the thresholds must be 0 <= background_threshold < foreground_threshold <= 1, got {got}")
    if not 0 <= margin < 0.5 or max_size < 16:
        raise ValueError(f"margin must be in [0, 0.5) and max_size at least 16, got {margin} and {max_size}")
    pymatting = _import_pymatting()
    soft_map = soft_map.astype(np.float32)
    colors = np.asarray(image)

    scale = min(1.0, max_size / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    trimap = cutoff_trimap(_resize(soft_map, size), foreground_threshold, background_threshold, margin)
    if len(np.unique(trimap)) < 3:
        return soft_map, colors
    reduced = image if size == image.size else image.resize(size, Image.Resampling.BOX)
    alpha = pymatting.estimate_alpha_cf(np.asarray(reduced) / 255.0, trimap)
    alpha = np.clip(_resize(alpha.astype(np.float32), image.size), 0, 1)

    estimate = pymatting.estimate_foreground_ml(colors.astype(np.float32) / 255, alpha)
    estimate = np.rint(np.clip(estimate, 0, 1) * 255).astype(np.uint8)
    whole = alpha > 1 - 0.5 / 255  # what becomes 255 in 8 bits
    return alpha, np.where(whole[..., None], colors, estimate)


def cutoff_trimap(
    soft_map: np.ndarray, foreground_threshold: float, background_threshold: float, margin: float
) -> np.ndarray:
    """Cut a soft map (H, W) into sure object (1), sure background (0) and unknown (0.5), as float64.

    The sure parts end `margin` times the longer side before the pixels on the other side of their threshold; the
    picture's border does not shrink them, since an object may go on beyond it.
    """
    try:  # imports in a `try` are not asked for where this file is loaded from the Hub
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise MattingUnavailableError(UNAVAILABLE) from error
    distance = margin * max(soft_map.shape)

    def shrink(part: np.ndarray) -> np.ndarray:
        return distance_transform_edt(part) > distance if not part.all() else part

    trimap = np.full(soft_map.shape, UNKNOWN)
    trimap[shrink(soft_map > foreground_threshold)] = FOREGROUND
    trimap[shrink(soft_map < background_threshold)] = BACKGROUND
    return trimap


def _resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an array (H, W) of float32 bilinearly, anti-aliased; `size` is (width, height)."""
    if values.shape == size[::-1]:
        return values
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _import_pymatting() -> Any:
    try:
        import pymatting
    except ImportError as error:
        raise MattingUnavailableError(UNAVAILABLE) from error
    # Its solver prints hints to standard output, where the cut-out may be written. (Redirecting that for a while would
    # disturb other threads.)
    vars(sys.modules[pymatting.ichol.__module__])["print"] = lambda *_: None
    return pymatting


__all__ = ["MattingUnavailableError", "cutoff_trimap", "refine_alpha"]
