"""Image files to files with their background removed: decoding and encoding beside the network.

A file that cannot be done is reported; the others are done all the same. Of animations all frames are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from ..images.animations import encode_animation
from ..images.files import ImageError, format_of, save_image
from ..images.outputs import Job, Result
from ..models.u2net.render_u2net import RenderOptions
from ..utils.files import write_atomically
from ..utils.process import usable_cores
from .animation import is_animation, remove_animation
from .overlap import run_overlapped
from .photo import Photo, finish_photo, read_photo

if TYPE_CHECKING:
    from ..engines.interface import Engine


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

    While the network works on one batch, other threads decode the next images and encode the last ones, as
    [`u2net_hf.removal.overlap.run_overlapped`] describes.

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
    chosen = options or RenderOptions()
    single = isinstance(jobs, Sequence) and len(jobs) == 1
    threads = usable_cores() if single else 1

    def read(job: Job) -> Photo | Result | Job:
        if not overwrite and job.destination.exists():
            return Result(job, "skipped")
        if is_animation(job.source, format_of(job.destination)):
            return job  # its frames are done one after the other, by the thread that has the engine
        return read_photo(job.source, engine, chosen)

    def write(job: Job, photo: Photo, soft_map: np.ndarray) -> Result:
        image = finish_photo(photo, soft_map, chosen)
        try:
            save_image(image, job.destination, compress_level=compress_level, threads=threads)
        except ImageError as error:  # which names the result
            raise ImageError(f"{job.source}: {error}") from error
        return Result(job, "done")

    outcomes: Iterator[Result | Job] = run_overlapped(
        jobs, engine, read, write, Result.failed, batch_size=batch_size, workers=workers
    )
    for outcome in outcomes:
        yield outcome if isinstance(outcome, Result) else _animate(outcome, engine, chosen)


def _animate(job: Job, engine: Engine, options: RenderOptions) -> Result:
    try:
        animation = remove_animation(job.source, engine, options)
        try:
            data = encode_animation(animation, format_of(job.destination))
        except ImageError as error:  # which names no file
            raise ImageError(f"{job.source}: {error}") from error
        write_atomically(job.destination, data)
    except Exception as error:
        return Result.failed(job, error)
    return Result(job, "done")
