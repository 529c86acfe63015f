"""The interface of an engine, and what all engines of a U²-Net share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from ..images.files import on_ground
from ..models.u2net.pixels_u2net import InputOptions, resize_map, stretch, to_pixel_values
from .names import EngineName

Batch = TypeVar("Batch")
Outcome = TypeVar("Outcome")
Graph = Callable[[np.ndarray], np.ndarray]  # from pixel values `(batch, channels, height, width)` to an output


class Engine(Protocol):
    """From photos to soft maps."""

    @property
    def variant(self) -> dict[str, Any]:
        """How the maps are made, for the record: engine, type of the numbers, size, options."""

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width to which photos are reduced, smoothly; `None` if another way needs all their pixels."""
        return None

    def reduce(self, image: Image.Image) -> Image.Image:
        """What the network sees of a photo: the same maps come of it, and it may be much smaller.

        May be called from other threads while the network runs.
        """
        return on_ground(image)

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        """Predict the maps of a batch.

        Args:
            images: Pictures of any mode and size; transparency is shown before a ground, see [`on_ground`].
            sizes: Height and width of each map; by default what the engine has at no further cost, the size of the
                network's output or of the image.
            do_min_max: Whether to stretch each map to [0, 1], as the authors do.

        Returns:
            A map (height, width) for each image, float32 in [0, 1].
        """

    def map(self, predict: Callable[[Batch], Outcome], batches: Iterable[Batch]) -> Iterator[Outcome]:
        """Like the built-in `map`, for a function that calls this engine; it may do several batches at a time."""
        return map(predict, batches)


class PixelEngine(Engine, ABC):
    """An engine that computes the maps of a U²-Net from pixel values.

    Args:
        input_options: How images become pixel values.
        dtype: Type of the numbers it computes with, for the record.
    """

    name: EngineName

    def __init__(self, input_options: InputOptions, dtype: str) -> None:
        self.input_options = input_options
        self.dtype = dtype

    @property
    def variant(self) -> dict[str, Any]:
        """See [`Engine`]."""
        return {"engine": self.name, "dtype": self.dtype, **describe_input(self.input_options)}

    @abstractmethod
    def probabilities(self, pixel_values: np.ndarray) -> np.ndarray:
        """From float32 pixel values `(batch, 3, height, width)` to float32 probabilities `(batch, height, width)`."""

    @property
    def input_size(self) -> tuple[int, int] | None:
        """See [`Engine`]."""
        options = self.input_options
        return options.size if options.do_resize and options.do_antialias else None

    def reduce(self, image: Image.Image) -> Image.Image:
        """See [`Engine`]."""
        image = super().reduce(image)
        if self.input_size is None:
            return image
        height, width = self.input_size
        return image.resize((width, height), self.input_options.resample)

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        """See [`Engine`]."""
        pixel_values = np.stack([to_pixel_values(on_ground(image), self.input_options) for image in images])
        maps = [stretch(one) if do_min_max else one for one in self.probabilities(pixel_values)]
        if sizes is None:
            return maps
        return [resize_map(one, *size) for one, size in zip(maps, sizes, strict=True)]


def describe_input(options: object) -> dict[str, Any]:
    """What is stated of an image processor, or of [`InputOptions`], beside results; others have not all of it."""
    named = {name: getattr(options, name, None) for name in ("size", "do_antialias", "do_scale_by_max")}
    stated = {name: value for name, value in named.items() if value is not None}
    if size := stated.get("size"):
        stated["size"] = "x".join(str(length) for length in (size if isinstance(size, tuple) else dict(size).values()))
    return stated
