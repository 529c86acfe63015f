"""Photos through a network, in order: while it works, threads read the next ones and write the last ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..engines.predict import batches
from ..utils.threads import map_ahead, usual_workers, worker_threads
from .photo import Photo, maps_or_errors

if TYPE_CHECKING:
    from ..engines.interface import Engine

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def run_overlapped(
    items: Iterable[Item],
    engine: Engine,
    read: Callable[[Item], Photo | Outcome],
    write: Callable[[Item, Photo, np.ndarray], Outcome],
    fail: Callable[[Item, Exception], Outcome],
    *,
    batch_size: int = 1,
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Read all items, predict their maps, write what becomes of them, and yield the outcomes, in order.

    The number of images in memory is bounded by the batch size, the number of workers and how many batches the engine
    does at a time. When the consumer stops, also by an interrupt, what is being written is finished and nothing else
    is begun.

    Args:
        items: What to do, drawn as it is needed.
        engine: What predicts the soft maps.
        read: Gives what the network needs, or at once the outcome of an item that needs no work.
        write: Gives the outcome, of the item, what was read, and the map at the size that the engine gives it.
        fail: Gives the outcome of an item that an error stopped; the others go on.
        batch_size: How many images go through the network at once.
        workers: Threads that read and write; by default up to eight, one per core.

    Raises:
        ValueError: If `batch_size` is below 1.
    """

    def decode(item: Item) -> tuple[Item, Photo | Outcome]:
        try:
            return item, read(item)
        except Exception as error:
            return item, fail(item, error)

    def predict(
        batch: Sequence[tuple[Item, Photo | Outcome]],
    ) -> list[tuple[Item, Photo | Outcome, np.ndarray | Exception | None]]:
        images = [photo.reduced for _, photo in batch if isinstance(photo, Photo)]
        maps = iter(maps_or_errors(images, engine))
        return [(item, photo, next(maps) if isinstance(photo, Photo) else None) for item, photo in batch]

    def encode(predicted: tuple[Item, Photo | Outcome, np.ndarray | Exception | None]) -> Outcome:
        item, photo, soft_map = predicted
        if not isinstance(photo, Photo):
            return photo
        if isinstance(soft_map, Exception):
            return fail(item, soft_map)
        try:
            assert soft_map is not None
            return write(item, photo, soft_map)
        except Exception as error:
            return fail(item, error)

    workers = workers or usual_workers()
    with worker_threads(workers) as pool:
        decoded = map_ahead(pool, decode, items, workers - 1)
        predicted = engine.map(predict, batches(decoded, batch_size))
        yield from map_ahead(pool, encode, chain.from_iterable(predicted), workers - 1)
