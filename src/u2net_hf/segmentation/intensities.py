"""From the values of a page to what the network sees: channels, range, normalization, one strip at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
from transformers.image_utils import ChannelDimension

from ..images.files import ImageError
from .planes import Plane
from .sources import ImageSource

BINS = 2**16


def choose_channels(source: ImageSource, channel: int | None, num_channels: int) -> int | None:
    """Which channel of an image the network is to see; None for all of them.

    A color picture is made gray for a network of one channel, by the rule of [`UNetImageProcessor`] (ITU-R 601 luma).
    Which of a microscope's channels holds the objects, nobody but the user can say.

    Args:
        source: The image.
        channel: What the user says, counted from 1.
        num_channels: Channels of the network's input.

    Raises:
        ImageError: If the image has no such channel, or the user has to choose one.
    """
    if channel is not None:
        if not 1 <= channel <= source.channels:
            raise ImageError(f"{source.name}: has {source.channels} channels, there is no channel {channel}")
        return channel - 1
    if source.channels in (1, num_channels) or (source.is_rgb and num_channels == 1):
        return None
    raise ImageError(
        f"{source.name}: has {source.channels} channels, the network takes {num_channels}: choose one (--channel 1 to "
        f"{source.channels})"
    )


class Intensities:
    """The values of a page, as the network sees them.

    Args:
        plane: The page, with the channels that the network takes, one, or the three of a color picture.
        processor: The image processor of the network, a [`UNetImageProcessorPil`]. Its percentiles are those of the
            whole page, to the last bit, though no more than a strip of it is in memory.

    Raises:
        ValueError: If the page holds negative values, NaN or infinity, or floating-point numbers above 1 that the
            processor does not stretch.
    """

    def __init__(self, plane: Plane, processor: Any) -> None:
        self.plane, self.processor = plane, processor
        self.stretched = bool(processor.percentiles)
        if self.stretched:
            low, high = exact_percentiles(self._all_values, processor.percentiles)
            self.darkest, self.width = low, max(high - low, 1e-6)
        elif plane.rows(0, 1).dtype.kind not in "bu":
            for _ in self._all_values():
                pass  # each strip is checked

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Some rows: float32 `(num_channels, stop - start, width)`."""
        values = self._values(self.plane.rows(start, stop))
        if self.stretched:
            values = ((values - self.darkest) / self.width).clip(0, 1)
        names = ("rescale_factor", "do_normalize", "image_mean", "image_std")
        options = {name: getattr(self.processor, name) for name in names}
        rescaled = self.processor.do_rescale and not self.stretched
        scaled: np.ndarray = self.processor._scale(
            values, do_resize=False, size=None, resample=None, percentiles=None, do_rescale=rescaled, **options
        )
        return scaled

    def _all_values(self) -> Iterator[np.ndarray]:
        return (self._values(rows) for _, rows in self.plane.strips())

    def _values(self, rows: np.ndarray) -> np.ndarray:
        """Values of any type in the network's channels: float32, from 0 to 255 unless they are stretched anyhow."""
        if rows.dtype.kind not in "bu":
            _check(rows, self.stretched)
        if rows.dtype.kind == "b":
            rows = rows * np.uint8(255)
        elif rows.dtype.kind == "f" or rows.dtype.itemsize > 2:
            largest = 1 if rows.dtype.kind == "f" else 2.0 ** (8 * rows.itemsize) - 1
            rows = rows.astype(np.float32) * np.float32(1 if self.stretched else 255 / largest)
        elif rows.dtype.kind == "i":
            rows = rows.astype(f"u{rows.itemsize}")
        values: np.ndarray = self.processor.process_image(
            rows, num_channels=self.processor.num_channels, input_data_format=ChannelDimension.FIRST
        )
        return values


def _check(rows: np.ndarray, stretched: bool) -> None:
    if rows.dtype.kind not in "if":
        raise ValueError(f"holds {rows.dtype}, which is no intensity; convert it to 16 bits")
    if not np.isfinite(rows).all():
        raise ValueError("holds NaN or infinity; replace them (by 0, for example) first")
    if rows.min(initial=0) < 0:
        raise ValueError(f"holds negative values ({rows.min():g}); add an offset or clip them first")
    if rows.dtype.kind == "f" and not stretched and rows.max(initial=0) > 1:
        raise ValueError(
            f"holds floating-point values up to {rows.max():g}, where this network takes those from 0 to 1 (it is one "
            "without `percentiles`); scale them, or convert to 16 bits"
        )


def exact_percentiles(strips: Callable[[], Iterator[np.ndarray]], wanted: Sequence[float]) -> list[float]:
    """The percentiles of all values, as numpy gives them, without holding the values.

    The bits of floating-point numbers that are not negative are ordered as the numbers are: the first pass counts
    their upper halves, the second the lower halves of those that matter.

    Args:
        strips: Begins a pass over the values: taken as float32, none negative.
        wanted: In [0, 100].
    """
    upper = sum(np.bincount(bits >> 16, minlength=BINS) for bits in _bits(strips))
    below = np.concatenate([[0], np.cumsum(upper)])
    places = [share / 100 * (int(below[-1]) - 1) for share in wanted]
    ranks = sorted({rank for place in places for rank in (floor(place), ceil(place))})
    halves = [int(half) - 1 for half in np.searchsorted(below, ranks, side="right")]
    lower = {half: np.zeros(BINS, np.int64) for half in halves}
    for bits in _bits(strips):
        for half, counts in lower.items():
            counts += np.bincount(bits[bits >> 16 == half] & (BINS - 1), minlength=BINS)
    values = []
    for rank, half in zip(ranks, halves, strict=True):
        rest = int(np.searchsorted(np.cumsum(lower[half]), rank - below[half], side="right"))
        values.append(np.uint32(half << 16 | rest).view(np.float32))
    percentiles: list[float] = np.interp(places, ranks, values).tolist()
    return percentiles


def _bits(strips: Callable[[], Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    for values in strips():
        yield np.add(values, 0, dtype=np.float32).ravel().view(np.uint32)  # the sum has no negative zeros
