"""A predicted label map beside its reference, and how their objects overlap: what every measure starts from."""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.signedinteger[Any]]

# Where probabilities are cut, above each, as the challenge's script does; at 1, its last, nothing is left.
THRESHOLDS = tuple(tenths / 10 for tenths in range(10))


class Overlaps(NamedTuple):
    """How the objects of two label maps overlap, without the background: a sparse table, never object by object.

    Attributes:
        reference_areas: Pixels of each reference object, int64 (R,).
        prediction_areas: Pixels of each predicted object, int64 (P,).
        rows: Reference object of each pair of objects that overlap, int64 (N,), ascending.
        columns: Predicted object of each pair, int64 (N,), ascending within a row.
        areas: Pixels that the two have in common, int64 (N,).
    """

    reference_areas: NDArray[np.int64]
    prediction_areas: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    areas: NDArray[np.int64]

    @property
    def unions(self) -> NDArray[np.int64]:
        """Pixels of either object of each pair, int64 (N,)."""
        return self.reference_areas[self.rows] + self.prediction_areas[self.columns] - self.areas

    @property
    def objects(self) -> tuple[int, int]:
        """Numbers of reference and of predicted objects."""
        return self.reference_areas.size, self.prediction_areas.size


class LabelPair:
    """A prediction and its reference of the same size.

    Both may be numpy arrays of any memory layout, torch tensors (of any device), PIL images or nested lists.

    Args:
        prediction: A label map (height, width): integers, 0 for background, any other number for an object; numbers
            may be left out. The measures of membranes also take a bool mask, or the probability of a cell in floats
            in [0, 1] (an 8-bit map of probabilities is taken for labels: divide it by 255).
        reference: The true label map (height, width); for the measures of membranes also a bool mask.

    Attributes:
        prediction: Objects numbered 1, 2, ... without gaps, int64 (height, width); masks and floats stay as they are.
        reference: The same of the reference.

    Raises:
        ValueError: If the sizes differ, an image is empty or not two-dimensional, or a value is negative, NaN or a
            probability above 1.
        TypeError: If the reference has floats, or either has values that are no numbers.
    """

    def __init__(self, prediction: Any, reference: Any) -> None:
        true = to_array(reference)
        if true.dtype.kind == "f":
            raise TypeError(
                f"a reference must be a label map of integers, got {true.dtype}: if the numbers are labels, convert "
                "it with astype(int)"
            )
        self.reference: NDArray[Any] = _as_plane(true, "reference")
        self.prediction: NDArray[Any] = _as_plane(to_array(prediction), "prediction")
        if self.prediction.shape != self.reference.shape:
            raise ValueError(
                f"the prediction and its reference differ in size: {self.prediction.shape} and {self.reference.shape} "
                "(height, width)"
            )

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.reference.size

    @cached_property
    def overlaps(self) -> Overlaps:
        """Areas of the objects and of what they have in common.

        Raises:
            TypeError: If the prediction or the reference is no label map.
        """
        for array, what in ((self.prediction, "prediction"), (self.reference, "reference")):
            if array.dtype.kind != "i":
                raise TypeError(
                    f"this measure compares objects: the {what} must be a label map of integers, got {array.dtype}; "
                    "number the objects of a mask with scipy.ndimage.label, and turn probabilities into objects first"
                )
        return count_overlaps(self.reference, self.prediction)

    @cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """Where cells are predicted: at each of `THRESHOLDS`, or once if the prediction is no probability."""
        if self.prediction.dtype.kind == "f":
            return [self.prediction > threshold for threshold in THRESHOLDS]
        return [self.prediction > 0]

    @cached_property
    def cell_overlaps(self) -> list[Overlaps]:
        """Overlaps of the connected cells of the reference with those predicted, for each of `masks`."""
        return [count_overlaps(self._true_cells, cells) for cells in self._cells]

    @cached_property
    def thinned_overlaps(self) -> list[Overlaps]:
        """`cell_overlaps` with the predicted cells grown until only lines of one pixel part them."""
        from skimage.segmentation import watershed

        flat = np.zeros(self.reference.shape, np.uint8)
        thinned = (watershed(flat, cells, connectivity=1, watershed_line=True) for cells in self._cells)
        return [count_overlaps(self._true_cells, cells) for cells in thinned]

    @cached_property
    def _true_cells(self) -> Labels:
        return _connected(self.reference)

    @cached_property
    def _cells(self) -> list[Labels]:
        return [_connected(mask) for mask in (self.masks if self.prediction.dtype.kind == "f" else [self.prediction])]


def _connected(labels: NDArray[Any]) -> Labels:
    """Number what connects across pixel sides and has one label."""
    from skimage.measure import label

    return label(labels, background=0, connectivity=1)


def count_overlaps(reference: Labels, prediction: Labels) -> Overlaps:
    """The overlaps of two maps of the same shape with objects numbered without gaps, 0 for background."""
    reference_areas, prediction_areas = (np.bincount(labels.ravel())[1:] for labels in (reference, prediction))
    both = (reference > 0) & (prediction > 0)
    width = prediction_areas.size + 1
    codes, areas = np.unique(reference[both].astype(np.int64) * width + prediction[both], return_counts=True)
    rows, columns = np.divmod(codes, width)
    return Overlaps(reference_areas, prediction_areas, rows - 1, columns - 1, areas)


def to_array(image: Any) -> NDArray[Any]:
    """Array of a numpy array, a torch tensor, a PIL image or nested lists; half precision becomes float32."""
    if hasattr(image, "detach"):
        image = image.detach()
        if image.is_floating_point() and image.element_size() < 4:
            image = image.float()
        image = image.cpu().numpy()
    return np.asarray(image)


def _as_plane(array: NDArray[Any], what: str) -> NDArray[Any]:
    """The array checked, and a label map numbered without gaps."""
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"a {what} must have the shape (height, width), got {array.shape}; colored labels are no label map"
        )
    if array.dtype.kind == "b":
        return array.view(np.uint8) != 0  # the bytes of a bool array that Pillow made are 0 and 255, not 0 and 1
    if array.dtype.kind == "f":
        lowest, highest = array.min(), array.max()  # both are NaN if any value is
        if not (lowest >= 0 and highest <= 1):
            raise ValueError(
                f"a {what} of floats is a probability in [0, 1], got values from {lowest} to {highest}; a label map "
                "must hold integers: convert it with astype(int)"
            )
        return array
    if array.dtype.kind not in "iu":
        raise TypeError(f"a {what} must be a label map of integers, got {array.dtype}")
    numbers = np.unique(array)
    if numbers[0] < 0:
        raise ValueError(f"a {what} must have labels from 0 on, got {numbers[0]}")
    return np.searchsorted(numbers[numbers > 0], array, side="right")
