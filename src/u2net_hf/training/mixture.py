"""Several corpora as one, mixed in proportion to weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mixture:
    """Corpora of which samples are drawn in proportion to weights, evenly mixed.

    Args:
        corpora: What to mix, each with a length.
        weights: How often each is drawn, whatever its size: 1 and 3 draw every fourth sample from the first.

    Raises:
        ValueError: If there is not one weight above 0 for each corpus.
    """

    corpora: Sequence[Any]
    weights: Sequence[float]

    def __post_init__(self) -> None:
        """Check the weights."""
        if len(self.weights) != len(self.corpora):
            raise ValueError(f"{len(self.corpora)} corpora need as many weights, got {len(self.weights)}.")
        if not all(weight > 0 and math.isfinite(weight) for weight in self.weights):
            raise ValueError(f"the weights of corpora must be above 0, got {', '.join(map(str, self.weights))}.")

    def __len__(self) -> int:
        return sum(map(len, self.corpora))

    def place(self, position: int) -> tuple[int, int]:
        """Which corpus the sample at a position of the endless order comes from, and its position in that one's order.

        The first corpus gets its share of the positions, evenly spread; the second its share of the others, and so on.
        """
        for number, weight in enumerate(self.weights[:-1]):
            share = weight / sum(self.weights[number:])
            before = math.floor(position * share)
            if math.floor((position + 1) * share) > before:
                return number, before
            position -= before
        return len(self.weights) - 1, position
