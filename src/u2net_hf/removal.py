"""Image files to files with their background removed: decoding and encoding beside the network.

A file that cannot be done is reported; the others are done all the same.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from .images import ImageError, cut_out, mask_image, open_image, save_image, to_rgb
from .outputs import Job
from .predict import batches, predict_batch

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True)
class Result:
    """What became of a job; `error` says why it failed, and names the file."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    error: Exception | None = None


@dataclass(frozen=True)
class ResultOptions:
    """What is made of an image and its soft map.

    Args:
        mask_only: The soft map itself, as an image of mode "L", instead of a cut-out.
        background: What the object is put before (see [`cut_out`]); `None` leaves it transparent.
        threshold: A value in [0, 1]: pixels of at least this saliency are kept fully, others not at all.
        matting: Whether to refine the edge (with a threshold, that of what it keeps) and to take the old background
            out of its colours; see [`u2net_hf.u2net.matting_u2net.refine_alpha`].

    Raises:
        ValueError: If the threshold is outside [0, 1], or a mask is asked for with a background.
    """

    mask_only: bool = False
    background: str | Image.Image | None = None
    threshold: float | None = None
    matting: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")
        if self.mask_only and self.background is not None:
            raise ValueError("a mask has no background: choose either mask_only or background")


def render(image: Image.Image, soft_map: np.ndarray, options: ResultOptions) -> Image.Image:
    """Make a mask or a cut-out of an image and its soft map, an array (H, W) with values in [0, 1]."""
    kept = soft_map if options.threshold is None else soft_map >= options.threshold
    if options.matting:
        image, kept = _refine_edge(image, kept)
    mask = mask_image(kept)
    return mask if options.mask_only else cut_out(image, mask, background=options.background)


def _refine_edge(image: Image.Image, soft_map: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Refine the edge of a map, and take the background's colour out of the image's pixels there.

    What is partly transparent already keeps its colours: they hold no background.
    """
    from .u2net.matting_u2net import refine_alpha

    photo = to_rgb(image)
    alpha, colours = refine_alpha(photo, soft_map)
    refined = Image.fromarray(colours)
    if image.has_transparency_data:
        own = image.convert("RGBA")
        opacity = own.getchannel("A")
        refined = Image.composite(refined, own.convert("RGB"), opacity.point([0] * 255 + [255]))
        refined.putalpha(opacity)
    refined.info = dict(photo.info)
    return refined, alpha


def remove_backgrounds(
    jobs: Iterable[Job],
    model: Any,
    image_processor: Any,
    *,
    options: ResultOptions | None = None,
    batch_size: int = 1,
    overwrite: bool = False,
    workers: int | None = None,
) -> Iterator[Result]:
    """Carry out jobs and yield a result for each, in order; a job that fails does not stop the others.

    While the network works on one batch, other threads decode the next images and encode the last ones. The number of
    images in memory is bounded by the batch size and the number of workers. When the consumer stops, also by an
    interrupt, files that are being written are finished and nothing else is begun.

    Args:
        jobs: As from [`u2net_hf.outputs.plan_outputs`].
        model: A [`U2NetForImageSegmentation`] in evaluation mode.
        image_processor: The image processor that belongs to it.
        options: What to write; by default the cut-out.
        batch_size: How many images go through the network at once.
        overwrite: Whether to do jobs again whose destination exists; else they are skipped.
        workers: Threads that decode and encode; by default up to four, one per core.

    Raises:
        ValueError: If `batch_size` is below 1.
    """
    workers = workers or min(4, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        decoded = _map_ahead(pool, partial(_decode, overwrite=overwrite), jobs, workers)
        predicted = _predict(decoded, model, image_processor, batch_size)
        yield from _map_ahead(pool, partial(_encode, options=options or ResultOptions()), predicted, workers)
    finally:
        pool.shutdown(cancel_futures=True)


class _Decoded(NamedTuple):
    job: Job
    image: Image.Image


class _Predicted(NamedTuple):
    job: Job
    image: Image.Image
    soft_map: np.ndarray


def _decode(job: Job, overwrite: bool) -> _Decoded | Result:
    if not overwrite and job.destination.exists():
        return Result(job, "skipped")
    try:
        return _Decoded(job, open_image(job.source))
    except Exception as error:
        return _failed(job, error)


def _predict(
    items: Iterable[_Decoded | Result], model: Any, image_processor: Any, batch_size: int
) -> Iterator[_Predicted | Result]:
    for batch in batches(items, batch_size):
        images = [item.image for item in batch if isinstance(item, _Decoded)]
        outcomes = iter(_maps_or_errors(images, model, image_processor))
        for item in batch:
            if isinstance(item, Result):
                yield item
            elif isinstance(outcome := next(outcomes), Exception):
                yield _failed(item.job, outcome)
            else:
                yield _Predicted(item.job, item.image, outcome)


def _encode(item: _Predicted | Result, options: ResultOptions) -> Result:
    if isinstance(item, Result):
        return item
    try:
        save_image(render(item.image, item.soft_map, options), item.job.destination)
    except Exception as error:
        return _failed(item.job, error)
    return Result(item.job, "done")


def _failed(job: Job, error: Exception) -> Result:
    if not isinstance(error, ImageError):
        error = ImageError(f"{job.source}: {type(error).__name__}: {error}")
    return Result(job, "failed", error)


def _maps_or_errors(images: list[Image.Image], model: Any, image_processor: Any) -> list[np.ndarray | Exception]:
    """Predict a batch; if that fails, for example for lack of memory, its images one by one."""
    try:
        return [*predict_batch(images, model, image_processor, do_min_max=False)]
    except Exception as error:
        if len(images) == 1:
            return [error]
        return [outcome for image in images for outcome in _maps_or_errors([image], model, image_processor)]


def _map_ahead(
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
