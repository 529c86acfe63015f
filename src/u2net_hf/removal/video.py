"""A video to a video or to a folder of frames, with the background removed: each frame as if it were a photo."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
            sink: _Sink = stack.enter_context(_video_file(Path(destination), video, options))
        else:
            sink = stack.enter_context(_frame_folder(Path(destination), video, overwrite, compress_level))
        frames = stack.enter_context(video.open(sink.add_audio, sink.write_audio))
        pool = stack.enter_context(worker_threads(workers))
        seen = map_ahead(pool, partial(_see, engine=engine, options=options), frames, workers)
        predicted = _predict(seen, engine, batch_size, smoother)
        for image, time in map_ahead(pool, partial(_finish, options=options), predicted, workers):
            sink.write(image, time)
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


class _Seen(NamedTuple):
    photo: Photo
    time: int


class _Predicted(NamedTuple):
    photo: Photo
    time: int
    soft_map: np.ndarray


def _see(frame: Frame, engine: Engine, options: RenderOptions) -> _Seen:
    return _Seen(as_photo_seen(frame.image, engine, options), frame.time)


def _predict(items: Iterable[_Seen], engine: Engine, batch_size: int, smoother: Smoother) -> Iterator[_Predicted]:
    def predict(batch: list[_Seen]) -> list[tuple[_Seen, np.ndarray]]:
        maps = engine([item.photo.reduced for item in batch], None, False)
        return list(zip(batch, maps, strict=True))

    for item, soft_map in chain.from_iterable(engine.map(predict, batches(items, batch_size))):
        yield _Predicted(item.photo, item.time, smoother(soft_map, item.photo.reduced))


def _finish(item: _Predicted, options: RenderOptions) -> Frame:
    return Frame(finish_photo(item.photo, item.soft_map, options), item.time)


class _Sink(Protocol):
    """Where frames go, and sound."""

    def write(self, image: Image.Image, time: int) -> None:
        """Take a frame, shown from `time` on."""

    def add_audio(self, streams: list[Any]) -> None:
        """Take notice of the streams of sound, before any frame."""

    def write_audio(self, packet: Any) -> None:
        """Take a packet of sound."""


@contextlib.contextmanager
def _video_file(path: Path, video: VideoReader, options: RenderOptions) -> Iterator[_Sink]:
    has_alpha = not options.mask and options.background is None
    check_video_format(path, has_alpha, video.size)
    with new_file(path) as temporary, VideoWriter(temporary, video, format_of(path, VIDEO_FORMATS), has_alpha) as file:
        yield file


@contextlib.contextmanager
def _frame_folder(path: Path, video: VideoReader, overwrite: bool, compress_level: int) -> Iterator[_Sink]:
    if others := [file for file in (path.iterdir() if path.is_dir() else ()) if not _FRAMES.fullmatch(file.name)]:
        raise ImageError(f"{path}: holds other files than frames ({others[0].name}); name another folder")
    with new_folder(path, overwrite=overwrite) as folder:
        frames = _Frames(folder, video, compress_level)
        yield frames
        lines = ["# timestamp format v2", *(f"{1000 * float(time * video.time_base):.3f}" for time in frames.times)]
        (folder / TIMES).write_text("\n".join(lines) + "\n", encoding="utf-8")


class _Frames:
    """A folder of PNG files, numbered; sound is left out."""

    def __init__(self, folder: Path, video: VideoReader, compress_level: int) -> None:
        self.folder, self.compress_level = folder, compress_level
        self.times: list[int] = []

    def write(self, image: Image.Image, time: int) -> None:
        save_image(image, self.folder / f"{len(self.times):06}.png", compress_level=self.compress_level)
        self.times.append(time)

    def add_audio(self, streams: list[Any]) -> None:
        pass

    def write_audio(self, packet: Any) -> None:
        pass
