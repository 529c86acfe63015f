"""Photos through a network, in order: while it works, threads read the next ones and write the last ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ..engines.predict import batches
from ..utils.threads import map_ahead, usual_workers, worker_threads
from .photo import Photo, maps_or_errors

if TYPE_CHECKING:
    from ..engines.interface import Engine

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Steps(Generic[Item, Outcome]):
    """What is done with an item before and after the network, each in threads.

    Args:
        read: Gives what the network needs, or at once the outcome of an item that needs no work.
        write: Gives the outcome, of the item, what was read, and the map at the size that the engine gives it.
        fail: Gives the outcome of an item that an error stopped; the others go on.
    """

    read: Callable[[Item], Photo | Outcome]
    write: Callable[[Item, Photo, np.ndarray], Outcome]
    fail: Callable[[Item, Exception], Outcome]

    def decode(self, item: Item) -> tuple[Item, Photo | Outcome]:
        """The first step; errors become outcomes."""
        try:
            return item, self.read(item)
        except Exception as error:
            return item, self.fail(item, error)

    def encode(self, predicted: tuple[Item, Photo | Outcome, np.ndarray | Exception | None]) -> Outcome:
        """The last step; errors become outcomes."""
        item, photo, soft_map = predicted
        if not isinstance(photo, Photo):
            return photo
        if isinstance(soft_map, Exception):
            return self.fail(item, soft_map)
        try:
            assert soft_map is not None
            return self.write(item, photo, soft_map)
        except Exception as error:
            return self.fail(item, error)


def run_overlapped(
    items: Iterable[Item],
    engine: Engine,
    steps: Steps[Item, Outcome],
    *,
    batch_size: int = 1,
    workers: int | None = None,
) -> Iterator[Outcome]:
    """Carry out the steps of all items and yield their outcomes, in order.

    The number of images in memory is bounded by the batch size, the number of workers and how many batches the engine
    does at a time. When the consumer stops, also by an interrupt, what is being written is finished and nothing else
    is begun.

    Args:
        items: What to do, drawn as it is needed.
        engine: What predicts the soft maps.
        steps: What is done before and after it.
        batch_size: How many images go through the network at once.
        workers: Threads that read and write; by default up to eight, one per core.

    Raises:
        ValueError: If `batch_size` is below 1.
    """
    workers = workers or usual_workers()
    with worker_threads(workers) as pool:
        decoded = map_ahead(pool, steps.decode, items, workers - 1)
        predicted = engine.map(partial(_predict, engine=engine), batches(decoded, batch_size))
        yield from map_ahead(pool, steps.encode, chain.from_iterable(predicted), workers - 1)


def _predict(
    batch: Sequence[tuple[Item, Photo | Outcome]], engine: Engine
) -> list[tuple[Item, Photo | Outcome, np.ndarray | Exception | None]]:
    images = [photo.reduced for _, photo in batch if isinstance(photo, Photo)]
    maps = iter(maps_or_errors(images, engine))
    return [(item, photo, next(maps) if isinstance(photo, Photo) else None) for item, photo in batch]
