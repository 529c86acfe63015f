"""Image files to files with their background removed: decoding and encoding beside the network.

A file that cannot be done is reported; the others are done all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from ..engines.predict import batches
from ..images.files import save_image
from ..images.outputs import Job, Result
from ..models.u2net.render_u2net import RenderOptions
from ..utils.process import usable_cores
from .photo import Photo, finish_photo, maps_or_errors, read_photo

if TYPE_CHECKING:
    from ..engines.interface import Engine

MAX_WORKERS = 8

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")


def remove_background(
    source: str | Path | BinaryIO, engine: Engine, options: RenderOptions | None = None
) -> Image.Image:
    """Make a cut-out, or what else the options say, of one image file.

    Args:
        source: Path of the file, or a binary stream.
        engine: What predicts the soft map, as from [`u2net_hf.engines.load_engine`].
        options: What to make; by default the cut-out.

    Raises:
        ImageError: If the file cannot be read.
    """
    options = options or RenderOptions()
    photo = read_photo(source, engine, options)
    (soft_map,) = engine([photo.reduced], None, False)
    return finish_photo(photo, soft_map, options)


def remove_backgrounds(
    jobs: Iterable[Job],
    engine: Engine,
    *,
    options: RenderOptions | None = None,
    compress_level: int = 1,
    batch_size: int = 1,
    overwrite: bool = False,
    workers: int | None = None,
) -> Iterator[Result]:
    """Carry out jobs and yield a result for each, in order; a job that fails does not stop the others.

    While the network works on one batch, other threads decode the next images and encode the last ones. The number of
    images in memory is bounded by the batch size and the number of workers. When the consumer stops, also by an
    interrupt, files that are being written are finished and nothing else is begun.

    Args:
        jobs: As from [`u2net_hf.images.outputs.plan_outputs`].
        engine: What predicts the soft maps, as from [`u2net_hf.engines.load_engine`].
        options: What to write; by default the cut-out.
        compress_level: Of PNG files, 0 to 9; see [`u2net_hf.images.png.encode_png`].
        batch_size: How many images go through the network at once.
        overwrite: Whether to do jobs again whose destination exists; else they are skipped.
        workers: Threads that decode and encode; by default up to eight, one per core.

    Raises:
        ValueError: If `batch_size` is below 1, or the level is outside 0 to 9.
    """
    if not 0 <= compress_level <= 9:
        raise ValueError(f"compress_level must lie between 0 and 9, got {compress_level}")
    options = options or RenderOptions()
    single = isinstance(jobs, Sequence) and len(jobs) == 1
    workers = workers or min(MAX_WORKERS, usable_cores())
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        decode = partial(_decode, engine=engine, options=options, overwrite=overwrite)
        decoded = map_ahead(pool, decode, jobs, workers)
        predicted = _predict(decoded, engine, batch_size)
        threads = usable_cores() if single else 1
        encode = partial(_encode, options=options, compress_level=compress_level, threads=threads)
        yield from map_ahead(pool, encode, predicted, workers)
    finally:
        pool.shutdown(cancel_futures=True)


class _Decoded(NamedTuple):
    job: Job
    photo: Photo


class _Predicted(NamedTuple):
    job: Job
    photo: Photo
    soft_map: np.ndarray


def _decode(job: Job, engine: Engine, options: RenderOptions, overwrite: bool) -> _Decoded | Result:
    if not overwrite and job.destination.exists():
        return Result(job, "skipped")
    try:
        return _Decoded(job, read_photo(job.source, engine, options))
    except Exception as error:
        return Result.failed(job, error)


def _predict(items: Iterable[_Decoded | Result], engine: Engine, batch_size: int) -> Iterator[_Predicted | Result]:
    for batch in batches(items, batch_size):
        images = [item.photo.reduced for item in batch if isinstance(item, _Decoded)]
        outcomes = iter(maps_or_errors(images, engine))
        for item in batch:
            if isinstance(item, Result):
                yield item
            elif isinstance(outcome := next(outcomes), Exception):
                yield Result.failed(item.job, outcome)
            else:
                yield _Predicted(item.job, item.photo, outcome)


def _encode(item: _Predicted | Result, options: RenderOptions, compress_level: int, threads: int) -> Result:
    if isinstance(item, Result):
        return item
    try:
        image = finish_photo(item.photo, item.soft_map, options)
        save_image(image, item.job.destination, compress_level=compress_level, threads=threads)
    except Exception as error:
        return Result.failed(item.job, error)
    return Result(item.job, "done")


def map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[_Item], _Outcome], items: Iterable[_Item], ahead: int
) -> Iterator[_Outcome]:
    """Like `pool.map`, in order, but drawing at most `ahead` items more than have been asked for."""
    waiting: deque[Future[_Outcome]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
