"""Image files to files with their background removed: decoding and encoding beside the network.

A file that cannot be done is reported; the others are done all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from ..engines.predict import batches
from ..images.files import ImageError, cut_out, mask_image, open_image, open_reduced, save_image, to_rgb
from ..models.u2net.pixels_u2net import resize_map
from ..utils.process import usable_cores
from .jobs import Job

if TYPE_CHECKING:
    from ..engines.interface import Engine

MAX_WORKERS = 8
# A mask needs the network's input only. A JPEG is then read at no less than this many times that size, in a third of
# the time: on 13 photos of 10 to 12 megapixels the maps differ by 0.001 on average (by 0.005 on the worst photo, at
# most 0.09 in a pixel), less than what bfloat16 changes.
OVERSAMPLING = 4

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
            out of its colors; see [`u2net_hf.u2net.matting_u2net.refine_alpha`].
        compress_level: Of PNG files, 0 to 9; see [`u2net_hf.png.encode_png`].

    Raises:
        ValueError: If the threshold is outside [0, 1] or the level outside 0 to 9, or a mask is asked for with a
            background.
    """

    mask_only: bool = False
    background: str | Image.Image | None = None
    threshold: float | None = None
    matting: bool = False
    compress_level: int = 1

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")
        if self.mask_only and self.background is not None:
            raise ValueError("a mask has no background: choose either mask_only or background")
        if not 0 <= self.compress_level <= 9:
            raise ValueError(f"compress_level must lie between 0 and 9, got {self.compress_level}")

    @property
    def needs_photo(self) -> bool:
        """Whether the result is made of the photo's pixels, or of the soft map alone."""
        return self.matting or not self.mask_only


def render(image: Image.Image, soft_map: np.ndarray, options: ResultOptions, *, in_place: bool = False) -> Image.Image:
    """Make a mask or a cut-out of an image and its soft map.

    Args:
        image: The photo.
        soft_map: An array (h, w) with values in [0, 1], of the photo's size or of any other: it is enlarged as in
            [`render_mask`].
        options: What to make.
        in_place: Whether `image` itself may become the result.
    """
    if options.matting:
        soft_map = resize_map(soft_map, image.height, image.width)
        kept = soft_map if options.threshold is None else soft_map >= options.threshold
        image, alpha = _refine_edge(image, kept)
        mask = mask_image(alpha)
    else:
        mask = render_mask(soft_map, image.size, options.threshold)
    return mask if options.mask_only else cut_out(image, mask, background=options.background, in_place=in_place)


def render_mask(soft_map: np.ndarray, size: tuple[int, int], threshold: float | None = None) -> Image.Image:
    """Make a mask of a soft map (h, w), of the size (W, H), by Pillow's filter BILINEAR.

    A soft mask is enlarged in 8 bits, three times as fast as in float32; values differ by 1 of 255 at most. The
    threshold is applied to the map enlarged in float32.
    """
    if threshold is not None:
        return mask_image(resize_map(soft_map, size[1], size[0]) >= threshold)
    mask = mask_image(soft_map)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def _refine_edge(image: Image.Image, soft_map: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Refine the edge of a map, and take the background's color out of the image's pixels there.

    What is partly transparent already keeps its colors: they hold no background.
    """
    from ..models.u2net.matting_u2net import refine_alpha

    photo = to_rgb(image)
    alpha, colors = refine_alpha(photo, soft_map)
    refined = Image.fromarray(colors)
    if image.has_transparency_data:
        own = image.convert("RGBA")
        opacity = own.getchannel("A")
        refined = Image.composite(refined, own.convert("RGB"), opacity.point([0] * 255 + [255]))
        refined.putalpha(opacity)
    refined.info = dict(photo.info)
    return refined, alpha


def remove_background(
    source: str | Path | BinaryIO, engine: Engine, options: ResultOptions | None = None
) -> Image.Image:
    """Make a cut-out, or what else the options say, of one image file.

    Args:
        source: Path of the file, or a binary stream.
        engine: What predicts the soft map, as from [`u2net_hf.engines.load_engine`].
        options: What to make; by default the cut-out.

    Raises:
        ImageError: If the file cannot be read.
    """
    options = options or ResultOptions()
    photo = _read(source, engine, options)
    (soft_map,) = engine([photo.reduced], None, False)
    return _finish(photo, soft_map, options)


def remove_backgrounds(
    jobs: Iterable[Job],
    engine: Engine,
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
        engine: What predicts the soft maps, as from [`u2net_hf.engines.load_engine`].
        options: What to write; by default the cut-out.
        batch_size: How many images go through the network at once.
        overwrite: Whether to do jobs again whose destination exists; else they are skipped.
        workers: Threads that decode and encode; by default up to eight, one per core.

    Raises:
        ValueError: If `batch_size` is below 1.
    """
    options = options or ResultOptions()
    single = isinstance(jobs, Sequence) and len(jobs) == 1
    workers = workers or min(MAX_WORKERS, usable_cores())
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        decode = partial(_decode, engine=engine, options=options, overwrite=overwrite)
        decoded = _map_ahead(pool, decode, jobs, workers)
        predicted = _predict(decoded, engine, batch_size)
        encode = partial(_encode, options=options, threads=usable_cores() if single else 1)
        yield from _map_ahead(pool, encode, predicted, workers)
    finally:
        pool.shutdown(cancel_futures=True)


class _Photo(NamedTuple):
    """An image file read: its size (W, H), its pixels if the result needs them, and what the network sees of it."""

    size: tuple[int, int]
    pixels: Image.Image | None
    reduced: Image.Image


class _Decoded(NamedTuple):
    job: Job
    photo: _Photo


class _Predicted(NamedTuple):
    job: Job
    photo: _Photo
    soft_map: np.ndarray


def _read(source: str | Path | BinaryIO, engine: Engine, options: ResultOptions) -> _Photo:
    if not options.needs_photo and engine.input_size:
        height, width = engine.input_size
        image, size = open_reduced(source, (OVERSAMPLING * width, OVERSAMPLING * height))
        return _Photo(size, None, engine.reduce(image))
    image = open_image(source)
    return _Photo(image.size, image if options.needs_photo else None, engine.reduce(image))


def _finish(photo: _Photo, soft_map: np.ndarray, options: ResultOptions) -> Image.Image:
    if photo.pixels is None:
        return render_mask(soft_map, photo.size, options.threshold)
    return render(photo.pixels, soft_map, options, in_place=True)


def _decode(job: Job, engine: Engine, options: ResultOptions, overwrite: bool) -> _Decoded | Result:
    if not overwrite and job.destination.exists():
        return Result(job, "skipped")
    try:
        return _Decoded(job, _read(job.source, engine, options))
    except Exception as error:
        return _failed(job, error)


def _predict(items: Iterable[_Decoded | Result], engine: Engine, batch_size: int) -> Iterator[_Predicted | Result]:
    for batch in batches(items, batch_size):
        images = [item.photo.reduced for item in batch if isinstance(item, _Decoded)]
        outcomes = iter(_maps_or_errors(images, engine))
        for item in batch:
            if isinstance(item, Result):
                yield item
            elif isinstance(outcome := next(outcomes), Exception):
                yield _failed(item.job, outcome)
            else:
                yield _Predicted(item.job, item.photo, outcome)


def _encode(item: _Predicted | Result, options: ResultOptions, threads: int) -> Result:
    if isinstance(item, Result):
        return item
    try:
        image = _finish(item.photo, item.soft_map, options)
        save_image(image, item.job.destination, compress_level=options.compress_level, threads=threads)
    except Exception as error:
        return _failed(item.job, error)
    return Result(item.job, "done")


def _failed(job: Job, error: Exception) -> Result:
    if not isinstance(error, ImageError):
        error = ImageError(f"{job.source}: {type(error).__name__}: {error}")
    return Result(job, "failed", error)


def _maps_or_errors(images: list[Image.Image], engine: Engine) -> list[np.ndarray | Exception]:
    """Predict a batch; if that fails, for example for lack of memory, its images one by one."""
    try:
        return [*engine(images, None, False)] if images else []
    except Exception as error:
        if len(images) == 1:
            return [error]
        return [outcome for image in images for outcome in _maps_or_errors([image], engine)]


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
