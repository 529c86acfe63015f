"""Pages of an image and maps of them, which may be too large to hold: they are looked at in strips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

STRIP = 2**22  # values that are looked at in one go


@dataclass(frozen=True)
class Plane:
    """One page of an image, or a map of it, in memory or in a file.

    Args:
        parts: Maps the arrays `(channels, height, width)` of which it is made. What an earlier call mapped can then
            be forgotten: a process is charged with all that it has looked at in a map.
        shape: `(channels, height, width)`.
        first: The first of the parts' channels that belongs to it.
    """

    parts: Callable[[], Sequence[np.ndarray]]
    shape: tuple[int, int, int]
    first: int = 0

    @classmethod
    def of(cls, array: np.ndarray) -> Plane:
        """A plane of an array `(channels, height, width)` in memory."""
        return cls(lambda: [array], (array.shape[0], array.shape[1], array.shape[2]))

    @classmethod
    def new(cls, path: Path, size: tuple[int, int], dtype: Any) -> Plane:
        """A plane of zeros in a new file (`.npy`), of one channel, which can be written to."""
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(1, *size))
        return cls(lambda: [np.load(path, mmap_mode="r+")], (1, *size))

    def channel(self, number: int) -> Plane:
        """One of the channels, counted from 0."""
        return replace(self, shape=(1, *self.size), first=self.first + number)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[1:]

    def open(self) -> np.ndarray:
        """The array `(height, width)` of a plane that [`new`] made."""
        (part,) = self.parts()
        return part[0]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """A copy of some rows: `(channels, stop - start, width)`, in the computer's byte order."""
        rows = np.concatenate([part[:, start:stop] for part in self.parts()])
        return rows[self.first : self.first + self.shape[0]].astype(rows.dtype.newbyteorder("="), copy=False)

    def strips(self) -> Iterator[tuple[int, np.ndarray]]:
        """From top to bottom: the first row of a strip, and a copy of its rows."""
        step = max(1, STRIP // (self.shape[0] * self.shape[2]))
        for start in range(0, self.shape[1], step):
            yield start, self.rows(start, min(start + step, self.shape[1]))
