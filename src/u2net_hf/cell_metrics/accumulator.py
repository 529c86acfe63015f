"""The measures over a data set: per-image values summed exactly, so that sums add up in any order and grouping."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .measures import (
    Ratio,
    absolute_count_error,
    aji,
    ap,
    count_error,
    divide,
    f1,
    pq,
    precision,
    recall,
    relative_count_error,
    seg,
    sq,
)
from .membranes import pixel_error, pixel_f, v_info, v_info_thinned, v_rand, v_rand_thinned, warping_error
from .pair import LabelPair, to_array

if TYPE_CHECKING:
    import torch

AVERAGINGS = ("published", "image", "dataset")

Values = NDArray[np.float64]


class _Measure(NamedTuple):
    """A number of the result, made from one statistic over all images, and how the publication averages it."""

    statistic: str
    published: str
    of: Callable[[Values], float]


def _first(values: Values) -> float:
    return values[0]


def _itself(values: Values) -> float:
    return values.item()


_CURVES: dict[str, Callable[[LabelPair], Ratio]] = {  # ten values each, one for each threshold
    function.__name__: function
    for function in (
        *(ap, precision, recall, f1),
        *(pixel_error, pixel_f, v_rand, v_info, v_rand_thinned, v_info_thinned, warping_error),
    )
}

_STATISTICS: dict[str, Callable[[LabelPair], Ratio]] = _CURVES | {
    function.__name__: function
    for function in (sq, pq, aji, seg, count_error, absolute_count_error, relative_count_error)
}

_OBJECT_MEASURES = {
    "mean_ap": _Measure("ap", "image", np.mean),
    "ap50": _Measure("ap", "image", _first),
    "ap75": _Measure("ap", "image", lambda values: values[5]),
    "precision": _Measure("precision", "dataset", _first),
    "recall": _Measure("recall", "dataset", _first),
    "f1": _Measure("f1", "dataset", _first),
    "pq": _Measure("pq", "dataset", _itself),
    "sq": _Measure("sq", "dataset", _itself),
    "rq": _Measure("f1", "dataset", _first),
    "aji": _Measure("aji", "image", _itself),
    "seg": _Measure("seg", "dataset", _itself),
    "count_error": _Measure("count_error", "image", _itself),
    "absolute_count_error": _Measure("absolute_count_error", "image", _itself),
    "relative_count_error": _Measure("relative_count_error", "dataset", _itself),
}

_MEMBRANE_MEASURES = {
    "pixel_error": _Measure("pixel_error", "image", np.min),
    "pixel_f_error": _Measure("pixel_f", "dataset", lambda values: 1 - values.max()),
    "rand_error": _Measure("v_rand", "image", lambda values: 1 - values.max()),
    "v_rand": _Measure("v_rand", "image", np.max),
    "v_info": _Measure("v_info", "image", np.max),
    "v_rand_thinned": _Measure("v_rand_thinned", "image", np.max),
    "v_info_thinned": _Measure("v_info_thinned", "image", np.max),
    "warping_error": _Measure("warping_error", "image", np.min),
}

_MEASURES = _OBJECT_MEASURES | _MEMBRANE_MEASURES

OBJECT_MEASURES = tuple(_OBJECT_MEASURES)
MEMBRANE_MEASURES = tuple(_MEMBRANE_MEASURES)


class CellMetrics:
    """Measures of cells and nuclei, object by object, or of membranes, over any number of images in constant memory.

    ```python
    metrics = CellMetrics()
    for batch in loader:
        metrics.update(label_maps, true_label_maps)
    metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))  # with several processes
    metrics.compute()
    ```

    The sums are exact (below 2^25 images and 2^29 objects), so the result is the same to the last bit, however the
    images are dealt to batches and processes.

    Args:
        measures: Names out of `OBJECT_MEASURES`, all of these by default, and `MEMBRANE_MEASURES`. Only what they need
            is computed. `MEMBRANE_MEASURES` need scikit-image, and take probabilities as well.

    Attributes:
        measures: The names of the measures.
        sums: Two parts, coarse and fine, of the summed statistics, float64 (2, length); their sum is the value. The
            first entry counts the images. Arrays of the same measures may be added.
    """

    def __init__(self, measures: Sequence[str] | None = None) -> None:
        self.measures = _check_measures(OBJECT_MEASURES if measures is None else measures, tuple(_MEASURES))
        needed = {_MEASURES[name].statistic for name in self.measures}
        names = [name for name in _STATISTICS if name in needed]
        # Numerator, denominator and value of each image.
        ends = np.cumsum([1, *(30 if name in _CURVES else 3 for name in names)]).tolist()
        self._slices = dict(zip(names, map(slice, ends[:-1], ends[1:]), strict=True))
        self.sums: NDArray[np.float64] = np.zeros((2, ends[-1]))

    @property
    def count(self) -> int:
        """Number of images so far."""
        return int(self.sums[0, 0])

    def reset(self) -> None:
        """Forget all images."""
        self.sums[:] = 0

    def update(self, predictions: Any, references: Any) -> None:
        """Add images; after an error none of them is added.

        Args:
            predictions: Label maps of integers, 0 for background: an array or tensor (batch, height, width) or
                (height, width), a PIL image, or a list of images of any sizes. For `MEMBRANE_MEASURES` alone also bool
                masks, or probabilities of a cell, floats in [0, 1].
            references: The true label maps, as many and of the same sizes; for `MEMBRANE_MEASURES` also bool masks.

        Raises:
            ValueError: If the numbers of images differ, or sizes or values of a pair are wrong.
            TypeError: If an image that must be a label map has no integers.
        """
        pairs = _unbatch(predictions), _unbatch(references)
        if len(pairs[0]) != len(pairs[1]):
            raise ValueError(f"got {len(pairs[0])} predictions and {len(pairs[1])} references")
        rows = np.empty((len(pairs[0]), self.sums.shape[1]))
        for index, images in enumerate(zip(*pairs, strict=True)):
            try:
                rows[index] = self._row(LabelPair(*images))
            except (TypeError, ValueError) as error:
                raise type(error)(f"pair {index} of {len(rows)}: {error}") from error
        coarse, fine = _split(rows)
        self.sums += coarse.sum(axis=0), fine.sum(axis=0)

    def _row(self, pair: LabelPair) -> NDArray[np.float64]:
        ratios = [_STATISTICS[name](pair) for name in self._slices]
        parts = [np.ravel(part) for ratio in ratios for part in (ratio.numerator, ratio.denominator, ratio.value)]
        return np.concatenate([[1], *parts])

    def merge(self, other: "CellMetrics") -> None:
        """Add the images of another accumulator of the same measures.

        Raises:
            ValueError: If the other one has other measures.
        """
        if self._slices != other._slices:
            raise ValueError(f"cannot merge the measures {other.measures} into {self.measures}")
        self.sums += other.sums

    def state(self, device: "str | torch.device" = "cpu") -> "dict[str, torch.Tensor]":
        """The sums as float64 tensors of fixed shapes, to be added across processes or saved.

        Args:
            device: Where to put them; `accelerator.device` for a reduction over GPUs.
        """
        import torch

        slices = {"count": slice(0, 1), **self._slices}
        return {name: torch.tensor(self.sums[:, part], device=device) for name, part in slices.items()}

    def load_state(self, state: "Mapping[str, torch.Tensor]") -> None:
        """Replace the sums by a state of the same measures.

        Raises:
            ValueError: If the state belongs to other measures.
        """
        if state.keys() != {"count", *self._slices}:
            raise ValueError(f"the state has {sorted(state)}, expected {sorted(['count', *self._slices])}")
        self.sums[:] = np.concatenate([to_array(state[name]) for name in ("count", *self._slices)], axis=1)

    def compute(
        self, averaging: str = "published", measures: Sequence[str] | None = None, return_curves: bool = False
    ) -> dict[str, Any]:
        """The measures over all images so far.

        Args:
            averaging: "image" averages the values of the images. "dataset" pools: what is divided is summed over the
                images first. "published", the default, is for each measure what its publication does: "dataset" for
                precision, recall, F1, PQ, SQ, RQ, SEG, the relative count error and `pixel_f_error`, else "image".
            measures: Some of `self.measures`, all of them by default.
            return_curves: Add the ten values behind each measure that has a threshold, lists that are named
                `ap_curve` and so on, averaged in the same way; with precision and recall also `tp`, `fp` and `fn`, ten
                whole numbers each.

        Returns:
            Floats by the name of the measure.

        Raises:
            ValueError: If there are no images, or for an unknown averaging or measure.
        """
        names = self.check_arguments(averaging, measures)
        if not self.count:
            raise ValueError("no images yet: call update first")
        result: dict[str, Any] = {}
        curves: dict[str, Any] = {}
        for name in names:
            statistic, published, of = _MEASURES[name]
            values = self._mean(statistic, published if averaging == "published" else averaging)
            result[name] = float(of(values))
            if statistic in _CURVES:
                curves[f"{statistic}_curve"] = values.tolist()
        if not return_curves:
            return result
        return result | curves | self._counts(names)

    def check_arguments(self, averaging: str, measures: Sequence[str] | None) -> tuple[str, ...]:
        """Names of the measures that `compute` would return for these arguments, or its ValueError."""
        if averaging not in AVERAGINGS:
            raise ValueError(f"averaging must be one of {AVERAGINGS}, got {averaging!r}")
        return _check_measures(self.measures if measures is None else measures, self.measures)

    def _parts(self, statistic: str) -> NDArray[np.float64]:
        """Sums of the numerators, the denominators and the values, float64 (3, thresholds)."""
        return self.sums[:, self._slices[statistic]].sum(axis=0).reshape(3, -1)

    def _mean(self, statistic: str, averaging: str) -> Values:
        numerator, denominator, value = self._parts(statistic)
        mean = value / self.sums[0, 0]
        return mean if averaging == "image" else divide(numerator, denominator, mean)

    def _counts(self, names: tuple[str, ...]) -> dict[str, list[int]]:
        if not {"precision", "recall"} <= set(names):
            return {}
        (matched, predicted, _), (_, true, _) = self._parts("precision"), self._parts("recall")
        counts = {"tp": matched, "fp": predicted - matched, "fn": true - matched}
        return {name: values.astype(int).tolist() for name, values in counts.items()}


def _check_measures(measures: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen measures in the order of the known ones."""
    chosen = {measures} if isinstance(measures, str) else set(measures)
    if not chosen or chosen - set(known):
        raise ValueError(f"measures must be some of {list(known)}, got {sorted(chosen)}")
    return tuple(name for name in known if name in chosen)


def _unbatch(images: Any) -> Sequence[Any]:
    """List of the images of a batch; tensors of other devices are moved once."""
    if isinstance(images, list | tuple):
        return images
    array = to_array(images)
    if array.ndim == 2:
        return [array]
    if array.ndim != 3 or array.shape[2] <= 4:
        raise ValueError(
            f"expected label maps (height, width) or a batch (batch, height, width), got an array {array.shape}; "
            "a color picture is no label map"
        )
    return list(array)


def _split(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coarse and fine part of each value.

    Coarse parts are multiples of 2^-24 and fine ones of 2^-53, so a float64 holds millions of each added up without
    rounding, and the order of adding cannot change the sum.
    """
    coarse = np.rint(values * 2.0**24) * 2.0**-24
    fine = np.rint((values - coarse) * 2.0**53) * 2.0**-53
    return coarse, fine
