"""Threads that work on items in order, with a bounded number of these in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from .process import usable_cores

MAX_WORKERS = 8

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def usual_workers() -> int:
    """How many threads read and write beside a network: up to eight, one per core."""
    return min(MAX_WORKERS, usable_cores())


@contextmanager
def worker_threads(number: int, begin: Callable[..., Any] | None = None, *args: Any) -> Iterator[ThreadPoolExecutor]:
    """Threads of which none begins anything more once the block ends; each calls `begin(*args)` first."""
    pool = ThreadPoolExecutor(number, thread_name_prefix="images", initializer=begin, initargs=args)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


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
