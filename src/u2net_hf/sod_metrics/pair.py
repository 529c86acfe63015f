"""One saliency map and its mask: checked once, with what several measures share computed once."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .masks import OBJECT_ABOVE, interpret_mask

LEVELS = np.arange(256) / 255


class Pair:
    """A saliency map and the ground-truth mask of the same size.

    Both may be numpy arrays, torch tensors (of any device), PIL images or nested lists; axes of length one around
    height and width are dropped. Nothing is resized and no map is stretched to [0, 1]: that is the caller's choice.

    Args:
        prediction: The saliency map (height, width): uint8 with 255 for certain foreground, bool, or floats in [0, 1].
        reference: The mask (height, width), read by the rule of `masks.py`: two values of any kind (the darker is
            background), or a soft mask (foreground above 128 of 255).

    Attributes:
        map: The map as it is stored, uint8 or float64 (height, width).
        mask: The foreground, bool (height, width).

    Raises:
        ValueError: If the sizes differ, an image is empty or not two-dimensional, a value is NaN or out of range, or
            the mask has more values than the rule can read.
        TypeError: If a map has integers other than uint8, whose full scale nobody can know.
    """

    def __init__(self, prediction: Any, reference: Any) -> None:
        self.map: NDArray[Any] = _as_map(to_array(prediction))
        self.mask: NDArray[np.bool_] = _as_mask(reference)
        if self.map.shape != self.mask.shape:
            raise ValueError(
                f"the map and its mask differ in size: {self.map.shape} and {self.mask.shape} (height, width); "
                "resize the map to the size of its mask first"
            )

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.mask.size

    @cached_property
    def foreground(self) -> int:
        """Number of foreground pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def levels(self) -> NDArray[np.uint8]:
        """The map in 256 levels, as its 8-bit PNG would hold it: floats are rounded, round(255 * map)."""
        if self.map.dtype == np.uint8:
            return self.map
        return np.rint(self.map * 255).astype(np.uint8)

    @property
    def values(self) -> NDArray[np.float64]:
        """The map as float64 in [0, 1], not quantized."""
        return self.map / 255 if self.map.dtype == np.uint8 else self.map

    @cached_property
    def center(self) -> tuple[int, int]:
        """Row and column behind the centroid of a mask that is not empty, where the S-measure cuts the image."""
        rows, columns = (self.mask.sum(axis=axis, dtype=np.uint32) for axis in (1, 0))
        y, x = (round(int(counts @ np.arange(counts.size)) / self.foreground) + 1 for counts in (rows, columns))
        return y, x

    @cached_property
    def block_histograms(self) -> NDArray[np.int64]:
        """`histogram` of each of the four blocks around `center`, int64 (4, 2, 256), row by row."""
        y, x = self.center
        joint = self._joint_levels()
        joint[:y, x:] += 512
        joint[y:] += 1024
        joint[y:, x:] += 512
        return np.bincount(joint.ravel(), minlength=2048).reshape(4, 2, 256)

    @cached_property
    def histogram(self) -> NDArray[np.int64]:
        """Number of pixels of each level, int64 (2, 256): background in row 0, foreground in row 1."""
        if "block_histograms" in self.__dict__:
            return self.block_histograms.sum(axis=0)
        return np.bincount(self._joint_levels().ravel(), minlength=512).reshape(2, 256)

    def _joint_levels(self) -> NDArray[np.uint16]:
        """Level + 256 * mask, so that one histogram counts both."""
        joint = np.left_shift(self.mask.view(np.uint8), 8, dtype=np.uint16)
        joint += self.levels
        return joint

    @cached_property
    def overlaps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of pixels that are predicted and foreground, and that are predicted, at each of 256 thresholds."""
        background, foreground = self.histogram[:, ::-1].cumsum(axis=1)[:, ::-1]
        return foreground, foreground + background

    @cached_property
    def sums(self) -> tuple[float, float]:
        """Sum of the map over the background and over the foreground, in units of [0, 1]."""
        if self.map.dtype == np.uint8:
            background, foreground = self.histogram @ np.arange(256)
            return int(background) / 255, int(foreground) / 255
        foreground = float(self.map[self.mask].sum())
        return float(self.map[~self.mask].sum()), foreground

    @cached_property
    def adaptive_overlap(self) -> tuple[int, int]:
        """`overlap` at the adaptive threshold: twice the mean of the map, at most 1 (Achanta et al., CVPR 2009)."""
        if self.map.dtype == np.uint8:  # one division of whole numbers, so that a tie with a level stays a tie
            mean = int(self.histogram.sum(axis=0) @ np.arange(256)) / (255 * self.size)
        else:
            mean = sum(self.sums) / self.size
        return self.overlap(min(2 * mean, 1.0))

    def binarise(self, threshold: float) -> NDArray[np.bool_]:
        """Where the map is at least `threshold`, a number in [0, 1]; nothing is quantized for it."""
        level = _level(threshold)
        return self.map >= (level if self.map.dtype == np.uint8 else threshold)

    def overlap(self, threshold: float) -> tuple[int, int]:
        """Number of pixels that are predicted and foreground, and number that are predicted, at a threshold."""
        if self.map.dtype == np.uint8:
            true_positives, predicted = (counts[_level(threshold)] for counts in self.overlaps)
            return int(true_positives), int(predicted)
        above = self.binarise(threshold)
        return int(np.count_nonzero(above & self.mask)), int(np.count_nonzero(above))


def _level(threshold: float) -> int:
    """The lowest 8-bit level that is at least a threshold in [0, 1]."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold must lie in [0, 1], got {threshold}")
    return int(np.searchsorted(LEVELS, threshold))


def to_array(image: Any) -> NDArray[Any]:
    """Array of a numpy array, a torch tensor, a PIL image or nested lists.

    Tensors are moved to the CPU once; half precision, which numpy may not know, becomes float32. PIL images of any
    8-bit mode become gray.
    """
    if hasattr(image, "detach"):
        image = image.detach()
        if image.is_floating_point() and image.element_size() < 4:
            image = image.float()
        image = image.cpu().numpy()
    elif hasattr(image, "getbands") and image.mode not in ("I", "F", "I;16"):
        image = image.convert("L")
    return np.asarray(image)


def _as_map(array: NDArray[Any]) -> NDArray[Any]:
    array = _as_plane(array, "map")
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return (array.view(np.uint8) != 0) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"a map must be uint8 (0...255), bool or floats in [0, 1], got {array.dtype}")
    _check_range(array, "map")
    return array.astype(np.float64, copy=False)


def _as_mask(reference: Any) -> NDArray[np.bool_]:
    if hasattr(reference, "getbands"):
        return interpret_mask(reference) > OBJECT_ABOVE
    array = _as_plane(to_array(reference), "mask")
    if array.dtype == np.bool_:
        return array.view(np.uint8) != 0  # the bytes of a bool array that Pillow made are 0 and 255, not 0 and 1
    if array.dtype.kind == "f":
        _check_range(array, "mask")
        return array > OBJECT_ABOVE / 255
    return interpret_mask(array) > OBJECT_ABOVE


def _as_plane(array: NDArray[Any], what: str) -> NDArray[Any]:
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"a {what} must have the shape (height, width), got {shape}")
    return np.ascontiguousarray(array)  # measures take flat views


def _check_range(array: NDArray[Any], what: str) -> None:
    lowest, highest = array.min(), array.max()  # both are NaN if any value is
    if np.isnan(lowest):
        raise ValueError(f"the {what} has NaN values")
    if lowest < 0 or highest > 1:
        raise ValueError(f"a {what} of floats must lie in [0, 1], got values from {lowest} to {highest}")
