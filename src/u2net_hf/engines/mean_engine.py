"""Several networks as one: the mean of their maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .interface import Engine


class MeanEngine(Engine):
    """An engine whose maps are the means of other engines' maps, each at the photo's size.

    Args:
        engines: The others, each with an input of its own.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = [*engines]

    @property
    def variant(self) -> dict[str, Any]:
        """See [`Engine`]; where the engines differ, the values of all."""
        variants = [engine.variant for engine in self.engines]
        names = dict.fromkeys(name for one in variants for name in one)
        values = {name: [str(one.get(name)) for one in variants] for name in names}
        return {name: given[0] if len(set(given)) == 1 else " + ".join(given) for name, given in values.items()}

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        """See [`Engine`]."""
        sizes = sizes or [(image.height, image.width) for image in images]
        maps = [engine(images, sizes, do_min_max) for engine in self.engines]
        return [np.stack(of_one_image).mean(axis=0) for of_one_image in zip(*maps, strict=True)]
