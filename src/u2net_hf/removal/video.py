"""A video to a video or to a folder of frames, with the background removed: each frame as if it were a photo."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..engines.predict import batches
from ..images.files import VIDEO_FORMATS, ImageError, format_of, save_image
from ..images.video import Frame, VideoReader
from ..images.video_writer import VideoWriter, check_video_format
from ..models.u2net.render_u2net import RenderOptions
from ..utils.files import new_file, new_folder
from ..utils.threads import map_ahead, usual_workers, worker_threads
from .photo import Photo, as_photo_seen, finish_photo
from .smoothing import Smoother

if TYPE_CHECKING:
    from ..engines.interface import Engine

TIMES = "timestamps.txt"
_Seen = tuple[Photo, int]  # a frame that is read, and its time
_WriteFrame = Callable[[Image.Image, int], None]
_FRAMES = re.compile(rf"\d{{6,}}\.png|{re.escape(TIMES)}")


def remove_from_video(
    source: str | Path,
    destination: str | Path,
    engine: Engine,
    *,
    options: RenderOptions | None = None,
    smoothing: float = 0.0,
    compress_level: int = 1,
    batch_size: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> int:
    """Remove the background from the frames of a video.

    Frames are read, done and written one after the other, so that memory does not grow with their number; each keeps
    its time. What stands at the destination is replaced when all is written, not before.

    Args:
        source: The video.
        destination: A file that ends in .webm (VP9), .mov (ProRes) or .mp4 (H.264; no transparency), with the sound of
            `source`; or a folder, for frames as 000000.png, 000001.png ... and their times in milliseconds, in
            "timestamps.txt" (mkvtoolnix' format v2).
        engine: What predicts the soft maps, as from [`u2net_hf.engines.load_engine`].
        options: What to make of each frame; by default the cut-out.
        smoothing: See [`Smoother`]; with 0 a frame is what the command makes of it as a photo.
        compress_level: Of PNG files, 0 to 9.
        batch_size: How many frames go through the network at once.
        overwrite: Whether a folder that holds frames may be replaced.
        progress: Told after each frame how many are done, and how many there are, 0 if that is not known.

    Returns:
        The number of frames.

    Raises:
        ImageError: If the video cannot be read or the destination cannot be written, or not in that format.
        FileExistsError: If a folder that holds files stands there.
        ValueError: If `batch_size` or `smoothing` is outside its range, or the options crop.
    """
    options = options or RenderOptions()
    if options.crop is not None:
        raise ValueError("the frames of a video have one size: they cannot be cropped to the object")
    smoother, video = Smoother(smoothing), VideoReader(source)
    workers = usual_workers()
    count = 0
    with contextlib.ExitStack() as stack:
        if names_video(destination):
            file = stack.enter_context(_video_file(Path(destination), video, options))
            write: _WriteFrame = file.write
            frames = stack.enter_context(video.open(file.add_audio, file.write_audio))
        else:
            write = stack.enter_context(_frame_folder(Path(destination), video, overwrite, compress_level))
            frames = stack.enter_context(video.open())
        pool = stack.enter_context(worker_threads(workers))
        seen = map_ahead(pool, partial(_see, engine=engine, options=options), frames, workers)
        predicted = _predict(seen, engine, batch_size, smoother)
        for image, time in map_ahead(pool, partial(_finish, options=options), predicted, workers):
            write(image, time)
            count += 1
            progress(count, video.frame_count)
    return count


def names_video(path: str | Path) -> bool:
    """Whether a destination is a video file, or else a folder of frames.

    Raises:
        ImageError: If it is a file of another kind.
    """
    path = str(path)
    is_folder = path.endswith(("/", os.sep)) or os.path.isdir(path) or not os.path.splitext(path)[1]
    return not is_folder and bool(format_of(path, VIDEO_FORMATS))


def _see(frame: Frame, engine: Engine, options: RenderOptions) -> _Seen:
    return as_photo_seen(frame.image, engine, options), frame.time


def _predict(
    items: Iterable[_Seen], engine: Engine, batch_size: int, smoother: Smoother
) -> Iterator[tuple[_Seen, np.ndarray]]:
    def predict(batch: list[_Seen]) -> list[tuple[_Seen, np.ndarray]]:
        maps = engine([photo.reduced for photo, _ in batch], None, False)
        return list(zip(batch, maps, strict=True))

    for (photo, time), soft_map in chain.from_iterable(engine.map(predict, batches(items, batch_size))):
        yield (photo, time), smoother(soft_map, photo.reduced)


def _finish(item: tuple[_Seen, np.ndarray], options: RenderOptions) -> Frame:
    (photo, time), soft_map = item
    return Frame(finish_photo(photo, soft_map, options), time)


@contextlib.contextmanager
def _video_file(path: Path, video: VideoReader, options: RenderOptions) -> Iterator[VideoWriter]:
    has_alpha = not options.mask and options.background is None
    check_video_format(path, has_alpha, video.size)
    with new_file(path) as temporary, VideoWriter(temporary, video, format_of(path, VIDEO_FORMATS), has_alpha) as file:
        yield file


@contextlib.contextmanager
def _frame_folder(path: Path, video: VideoReader, overwrite: bool, compress_level: int) -> Iterator[_WriteFrame]:
    """A folder of PNG files, numbered; sound is left out."""
    if others := [file for file in (path.iterdir() if path.is_dir() else ()) if not _FRAMES.fullmatch(file.name)]:
        raise ImageError(f"{path}: holds other files than frames ({others[0].name}); name another folder")
    with new_folder(path, overwrite=overwrite) as folder:
        times: list[int] = []

        def write(image: Image.Image, time: int) -> None:
            save_image(image, folder / f"{len(times):06}.png", compress_level=compress_level)
            times.append(time)

        yield write
        lines = ["# timestamp format v2", *(f"{1000 * float(time * video.time_base):.3f}" for time in times)]
        (folder / TIMES).write_text("\n".join(lines) + "\n", encoding="utf-8")
