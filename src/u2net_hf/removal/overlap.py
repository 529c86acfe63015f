"""Photos through a network, in order: while it works on one batch, threads read the next and write the last ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ..engines.predict import batches
from ..utils.process import usable_cores
from .photo import Photo, maps_or_errors

if TYPE_CHECKING:
    from ..engines.interface import Engine

MAX_WORKERS = 8

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

    The number of images in memory is bounded by the batch size and the number of workers. When the consumer stops,
    also by an interrupt, what is being written is finished and nothing else is begun.

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
    with image_threads(workers) as pool:
        decoded = map_ahead(pool, steps.decode, items, workers)
        yield from map_ahead(pool, steps.encode, _predict(decoded, engine, batch_size), workers)


def usual_workers() -> int:
    """How many threads read and write beside a network: up to eight, one per core."""
    return min(MAX_WORKERS, usable_cores())


@contextmanager
def image_threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of which none begins anything more once the block ends."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _predict(
    items: Iterable[tuple[Item, Photo | Outcome]], engine: Engine, batch_size: int
) -> Iterator[tuple[Item, Photo | Outcome, np.ndarray | Exception | None]]:
    for batch in batches(items, batch_size):
        images = [photo.reduced for _, photo in batch if isinstance(photo, Photo)]
        maps = iter(maps_or_errors(images, engine))
        for item, photo in batch:
            yield item, photo, next(maps) if isinstance(photo, Photo) else None


def map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Outcome], items: Iterable[Item], ahead: int
) -> Iterator[Outcome]:
    """Like `pool.map`, in order, but drawing at most `ahead` items more than have been asked for."""
    waiting: deque[Future[Outcome]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
