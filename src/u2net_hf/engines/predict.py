"""Images through a network to saliency maps, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from .interface import Engine

_Item = TypeVar("_Item")


def saliency_maps(
    images: Iterable[Image.Image], engine: Engine, *, batch_size: int = 1, do_min_max: bool = False
) -> Iterator[np.ndarray]:
    """Predict the soft saliency map of each image, lazily and in order.

    Args:
        images: Pictures of any mode and size; what is transparent is put before a ground that shows the rest.
        engine: As from [`u2net_hf.engines.load_engine`]; or, for a model object and its image processor, a
            [`u2net_hf.engines.torch_engine.ModelEngine`].
        batch_size: How many images go through the network at once.
        do_min_max: Whether to stretch each map to [0, 1], as the authors do.

    Yields:
        Arrays of shape (H, W) of the image's size, float32 in [0, 1].

    Raises:
        ValueError: If `batch_size` is below 1 or the model is in training mode.
    """
    for batch in batches(images, batch_size):
        yield from predict_batch(batch, engine, do_min_max)


def predict_batch(
    images: Sequence[Image.Image],
    engine: Engine,
    do_min_max: bool = False,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[np.ndarray]:
    """Predict the maps of a batch, as [`saliency_maps`] does, of its images' sizes or of those in `sizes` (H, W)."""
    if not images:
        return []
    return engine(images, sizes or [(image.height, image.width) for image in images], do_min_max)


def batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Cut an iterable into lists of `size` items, the last one being shorter.

    Raises:
        ValueError: If `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
