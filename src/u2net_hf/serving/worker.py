"""An engine in a thread of its own: requests hand it what the network shall see, and wait for the map."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..removal.photo import maps_or_errors

if TYPE_CHECKING:
    from ..engines.interface import Engine

_Item = tuple[Image.Image, "Future[np.ndarray]"]


class EngineWorker:
    """The only thread that runs an engine.

    It takes what is waiting, at most a batch of it, and waits for no more: a batch grows where requests come faster
    than the network answers.

    Args:
        engine: As from [`u2net_hf.engines.load_engine`].
        batch_size: How many images go through the network at once, at most.
    """

    def __init__(self, engine: Engine, batch_size: int = 1) -> None:
        self.engine, self.batch_size = engine, batch_size
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def submit(self, reduced: Image.Image) -> Future[np.ndarray]:
        """Ask for the map of an image; the future may be cancelled until its turn comes."""
        future: Future[np.ndarray] = Future()
        self._queue.put((reduced, future))
        return future

    def close(self) -> None:
        """Do what is waiting, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            waiting = self._fill([item])
            batch = [(image, future) for image, future in waiting if future.set_running_or_notify_cancel()]
            outcomes = maps_or_errors([image for image, _ in batch], self.engine)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
            del item, waiting, batch, outcomes  # a photo's pixels are not kept until the next one comes

    def _fill(self, batch: list[_Item]) -> list[_Item]:
        """Add what is waiting."""
        with suppress(Empty):
            while len(batch) < self.batch_size:
                item = self._queue.get_nowait()
                if item is None:  # the end: for the next turn
                    self._queue.put(None)
                    break
                batch.append(item)
        return batch
