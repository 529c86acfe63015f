"""The measures over a data set: per-image values summed exactly, so that sums add up in any order and grouping."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .correction_effort import hce
from .measures import (
    adaptive_e,
    adaptive_precision_recall,
    dice,
    e_curve,
    f_beta,
    iou,
    mae,
    precision_recall,
    relaxed_f,
    s_measure,
    weighted_f,
)
from .pair import Pair, to_array

if TYPE_CHECKING:
    import torch

AVERAGINGS = ("dataset", "image")


class _Statistic(NamedTuple):
    """What is summed over the images: numbers of a fixed shape, computed from one pair in a row."""

    shape: tuple[int, ...]
    of: Callable[[Pair], ArrayLike]


class _Measure(NamedTuple):
    """A number of the result, made from the mean of one statistic and the averaging."""

    statistic: str
    of: Callable[[NDArray[np.float64], str], Any]


def _with_f(precision: ArrayLike, recall: ArrayLike) -> NDArray[np.float64]:
    """Precision, recall and their F: the two ways of averaging need the means of all three."""
    return np.hstack([precision, recall, f_beta(precision, recall)])


def _f(means: NDArray[np.float64], averaging: str) -> NDArray[np.float64]:
    precision, recall, f = means
    return f_beta(precision, recall) if averaging == "dataset" else f


def _itself(mean: NDArray[np.float64], averaging: str) -> NDArray[np.float64]:
    return mean


_STATISTICS = {
    "s_measure": _Statistic((), s_measure),  # first: the histograms of its four blocks add up to that of the map
    "f_curves": _Statistic((3, 256), lambda pair: _with_f(*precision_recall(pair))),
    "adaptive_f": _Statistic((3,), lambda pair: _with_f(*adaptive_precision_recall(pair))),
    "mae": _Statistic((), mae),
    "weighted_f": _Statistic((), weighted_f),
    "relaxed_f": _Statistic((), relaxed_f),
    "e_curve": _Statistic((256,), e_curve),
    "adaptive_e": _Statistic((), adaptive_e),
    "iou": _Statistic((), iou),
    "dice": _Statistic((), dice),
    "hce": _Statistic((), hce),
}

_MEASURES = {
    "max_f": _Measure("f_curves", lambda means, averaging: _f(means, averaging).max()),
    "mean_f": _Measure("f_curves", lambda means, averaging: _f(means, averaging).mean()),
    "adaptive_f": _Measure("adaptive_f", _f),
    "mae": _Measure("mae", _itself),
    "weighted_f": _Measure("weighted_f", _itself),
    "s_measure": _Measure("s_measure", _itself),
    "relaxed_f": _Measure("relaxed_f", _itself),
    "max_e": _Measure("e_curve", lambda mean, averaging: mean.max()),
    "mean_e": _Measure("e_curve", lambda mean, averaging: mean.mean()),
    "adaptive_e": _Measure("adaptive_e", _itself),
    "iou": _Measure("iou", _itself),
    "dice": _Measure("dice", _itself),
    "hce": _Measure("hce", _itself),
}

MEASURES = tuple(_MEASURES)
DEFAULT_MEASURES = tuple(name for name in MEASURES if name != "hce")  # which takes longer than all the others


class SODMetrics:
    """Measures of salient object detection over any number of images, in constant memory.

    ```python
    metrics = SODMetrics(["max_f", "mae"])
    for batch in loader:
        metrics.update(maps, masks)
    metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))  # with several processes
    metrics.compute()
    ```

    The sums are exact (below four million images), so the result is the same to the last bit, however the images are
    dealt to batches and processes.

    Args:
        measures: Names out of `MEASURES`, by default all but `hce`. Only what these need is computed.

    Attributes:
        measures: The names of the measures.
        sums: Two parts, coarse and fine, of the summed statistics, float64 (2, length); their sum is the value. The
            first entry counts the images. Arrays of the same measures may be added.
    """

    def __init__(self, measures: Sequence[str] | None = None) -> None:
        self.measures = _check_measures(DEFAULT_MEASURES if measures is None else measures, MEASURES)
        needed = {_MEASURES[name].statistic for name in self.measures}
        names = [name for name in _STATISTICS if name in needed]
        ends = np.cumsum([1, *(int(np.prod(_STATISTICS[name].shape)) for name in names)]).tolist()
        self._slices = dict(zip(names, map(slice, ends[:-1], ends[1:]), strict=True))
        self.sums: NDArray[np.float64] = np.zeros((2, ends[-1]))

    @property
    def count(self) -> int:
        """Number of images so far."""
        return int(self.sums[0, 0])

    def reset(self) -> None:
        """Forget all images."""
        self.sums[:] = 0

    def update(self, maps: Any, masks: Any) -> None:
        """Add images; after an error none of them is added.

        Args:
            maps: Saliency maps, uint8 or floats in [0, 1]: an array or tensor (batch, height, width),
                (batch, 1, height, width) or (height, width), a PIL image, or a list of images of any sizes.
            masks: The masks, as many and of the same sizes: two values, or soft (see `Pair`).

        Raises:
            ValueError: If the numbers of maps and masks differ, sizes or values of a pair are wrong, or an array looks
                like one picture with channels (height, width, 3).
            TypeError: If a map has integers other than uint8.
        """
        map_list, mask_list = _unbatch(maps), _unbatch(masks)
        if len(map_list) != len(mask_list):
            raise ValueError(f"got {len(map_list)} maps and {len(mask_list)} masks")
        rows = np.empty((len(map_list), self.sums.shape[1]))
        for index, (prediction, reference) in enumerate(zip(map_list, mask_list, strict=True)):
            try:
                pair = Pair(prediction, reference)
            except (TypeError, ValueError) as error:
                raise type(error)(f"pair {index} of {len(map_list)}: {error}") from error
            rows[index, 0] = 1
            for name, part in self._slices.items():
                rows[index, part] = _STATISTICS[name].of(pair)
        coarse, fine = _split(rows)
        self.sums += coarse.sum(axis=0), fine.sum(axis=0)

    def merge(self, other: "SODMetrics") -> None:
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

        state = {"count": torch.tensor(self.sums[:, 0], device=device)}
        for name, part in self._slices.items():
            state[name] = torch.tensor(self.sums[:, part].reshape(2, *_STATISTICS[name].shape), device=device)
        return state

    def load_state(self, state: "Mapping[str, torch.Tensor]") -> None:
        """Replace the sums by a state of the same measures.

        Raises:
            ValueError: If the state belongs to other measures.
        """
        if state.keys() != {"count", *self._slices}:
            raise ValueError(f"the state has {sorted(state)}, expected {sorted(['count', *self._slices])}")
        parts = [to_array(state[name]).reshape(2, -1) for name in ("count", *self._slices)]
        self.sums[:] = np.concatenate(parts, axis=1)

    def compute(
        self, averaging: str = "dataset", measures: Sequence[str] | None = None, return_curves: bool = False
    ) -> dict[str, Any]:
        """The measures over all images so far.

        Args:
            averaging: How max, mean and adaptive F are averaged. "dataset": precision and recall are averaged over
                the images, then F is made of them (the papers' tables and the authors' tool). "image": the F of the
                images is averaged (PySODMetrics). All other measures are means over the images.
            measures: Some of `self.measures`, all of them by default.
            return_curves: Add `precision`, `recall` and `f`, lists of 256 numbers, one for each threshold.

        Returns:
            Floats by the name of the measure.

        Raises:
            ValueError: If there are no images, or for an unknown averaging or measure.
        """
        names = self.check_arguments(averaging, measures, return_curves)
        if not self.count:
            raise ValueError("no images yet: call update first")
        result: dict[str, Any] = {
            name: float(_MEASURES[name].of(self._mean(_MEASURES[name].statistic), averaging)) for name in names
        }
        if return_curves:
            precision, recall, _ = means = self._mean("f_curves")
            f = _f(means, averaging)
            result |= {"precision": precision.tolist(), "recall": recall.tolist(), "f": f.tolist()}
        return result

    def check_arguments(self, averaging: str, measures: Sequence[str] | None, return_curves: bool) -> tuple[str, ...]:
        """Names of the measures that `compute` would return for these arguments, or its ValueError."""
        if averaging not in AVERAGINGS:
            raise ValueError(f"averaging must be one of {AVERAGINGS}, got {averaging!r}")
        if return_curves and "f_curves" not in self._slices:
            raise ValueError("return_curves needs max_f or mean_f among the measures")
        return _check_measures(measures, self.measures)

    def _mean(self, statistic: str) -> NDArray[np.float64]:
        total = self.sums[:, self._slices[statistic]].sum(axis=0) / self.sums[0, 0]
        return total.reshape(_STATISTICS[statistic].shape)


def _check_measures(measures: Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen measures in the order of the known ones."""
    chosen = set(known if measures is None else [measures] if isinstance(measures, str) else measures)
    if not chosen or chosen - set(known):
        raise ValueError(f"measures must be some of {list(known)}, got {sorted(chosen)}")
    return tuple(name for name in known if name in chosen)


def _unbatch(images: Any) -> Sequence[Any]:
    """List of the images of a batch; tensors of other devices are moved once."""
    if isinstance(images, list | tuple):
        return images
    if hasattr(images, "getbands"):
        return [images]
    array = to_array(images)
    if array.ndim == 3 and array.shape[2] in (3, 4):
        raise ValueError(
            f"an array {array.shape} looks like one picture with channels, not like (batch, height, width): give one "
            "channel, or a list of arrays (height, width)"
        )
    return [array] if array.ndim == 2 else list(array)


def _split(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coarse and fine part of each value.

    Coarse parts are multiples of 2^-30 and fine ones of 2^-62, so a float64 holds millions of each added up without
    rounding, and the order of adding cannot change the sum.
    """
    coarse = np.rint(values * 2.0**30) * 2.0**-30
    fine = np.rint((values - coarse) * 2.0**62) * 2.0**-62
    return coarse, fine
