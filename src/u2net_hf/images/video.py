"""Video files read frame by frame: upright pictures with their times, and the sound beside them. Needs PyAV."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation
from PIL import Image

from .files import ImageError, PhotoWarning, standard_mode

# Formats that may be read: none whose files name other files or addresses, as playlists do.
_READABLE = "mov,mp4,matroska,webm,avi,mpegts,mpeg,ogg,asf,flv,mjpeg,h264,hevc,ivf"
_LARGEST_LOSS = 0.5  # seconds by which a file may end before its header says
_WIDE_PRIMARIES, _HDR_TRANSFERS = (9, 11, 12), (16, 18)  # numbers of ITU-T H.273
# What is faster is dark by 2 of 255.
EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class Frame(NamedTuple):
    """A picture, RGB or RGBA, and its time, in units of [`VideoReader.time_base`] from the beginning."""

    image: Image.Image
    time: int


def _ignore(_: Any) -> None:
    """What becomes of sound that nobody asks for."""


class VideoReader:
    """A video file.

    Colors are converted to 8 bits a channel; those of HDR and of wide gamuts to sRGB, as [`open_image`] does. What is
    lost or odd is told by a [`PhotoWarning`]: frames that are damaged, a file that ends early, interlaced frames.

    Args:
        path: The file.

    Attributes:
        size: Width and height of the upright pictures.
        time_base: Seconds per unit of time.
        rate: Frames per second, on average.
        frame_count: About how many frames there are; 0 if the file does not say.
        sample_aspect_ratio: Width by height of a pixel.
        start: Seconds that the file's clock shows at the beginning.

    Raises:
        ImageError: If it is no video, or no frame of it can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with self._open() as container, contextlib.closing(self._frames_of(container, _ignore)) as frames:
            video = container.streams.video[0]
            if (first := next(frames, None)) is None:
                raise ImageError(f"{path}: no frame of it can be read; fetch or export it again")
            self.size = first.image.size
            self.time_base = video.time_base or Fraction(1, 90000)
            self.rate = video.average_rate or video.guessed_rate or Fraction(25)
            self.frame_count = video.frames or round((container.duration or 0) / av.time_base * self.rate)
            aspect = video.sample_aspect_ratio or Fraction(1)
            self.sample_aspect_ratio = 1 / aspect if self._is_sideways else aspect

    @contextlib.contextmanager
    def open(
        self, add_audio: Callable[[list[Any]], None] = _ignore, write_audio: Callable[[Any], None] = _ignore
    ) -> Iterator[Iterator[Frame]]:
        """Open the file for reading: its frames in order, which are decoded when they are drawn.

        Args:
            add_audio: Gets the streams of sound (PyAV's) beforehand.
            write_audio: Gets their packets, between the frames.
        """
        with self._open() as container:
            add_audio(list(container.streams.audio))
            yield self._told(self._frames_of(container, write_audio))

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        if not self.path.is_file():
            raise ImageError(f"{self.path}: no such file")
        options = {"format_whitelist": _READABLE, "protocol_whitelist": "file"}
        self._faults = _Faults()
        try:
            container = av.open(f"file:{self.path.absolute()}", container_options=options)
        except (av.FFmpegError, UnicodeError, ValueError) as error:
            reason = "is no video, of a format that is not read here, or damaged"
            raise ImageError(f"{self.path}: {reason} ({_first_line(error)})") from error
        with container:
            if not container.streams.video:
                raise ImageError(f"{self.path}: holds no pictures, only sound or data")
            self._check_size(container.streams.video[0].codec_context)
            yield container

    def _check_size(self, codec: Any) -> None:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 1 << 60)
        if codec is None:
            raise ImageError(f"{self.path}: its way of coding pictures is not known here; convert it first")
        if codec.width * codec.height > limit:
            raise ImageError(
                f"{self.path}: its frames have {codec.width} x {codec.height} pixels; make it smaller first"
            )

    def _frames_of(self, container: Any, on_audio: Callable[[Any], None]) -> Generator[Frame]:
        """Decode: damaged frames are left out, and those whose time does not follow on the last one's."""
        video = container.streams.video[0]
        video.thread_type = "SLICE"  # with threads for frames, errors come later than their frames, or never
        decoder = video.codec_context
        if video.metadata.get("alpha_mode") == "1" and decoder.name in ("vp8", "vp9"):  # FFmpeg's own leave it out
            decoder = av.CodecContext.create(f"libvpx{'-vp9' if decoder.name == 'vp9' else ''}", "r")
        self.start = Fraction(container.start_time or 0, av.time_base)
        first_time, last = round(self.start / (video.time_base or 1)), None
        for packet in self._packets(container):
            if packet.stream.type == "audio":
                on_audio(packet)
                continue
            for frame in self._decode(decoder, packet):
                if frame.pts is None:
                    step = round(1 / (video.average_rate or Fraction(25)) / video.time_base)
                    time = (last or 0) + max(1, step)
                else:
                    time = frame.pts - first_time
                if last is not None and time <= last:
                    self._faults.late += 1
                    continue
                last = time
                if frame.is_corrupt:
                    self._faults.mended.append(float(time * video.time_base))
                self._faults.interlaced |= frame.interlaced_frame
                yield Frame(self._picture(frame), time)

    def _packets(self, container: Any) -> Iterator[Any]:
        end = Fraction(0)
        try:
            for packet in container.demux(container.streams.video[0], *container.streams.audio):
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base - self.start)
                yield packet
        except av.FFmpegError as error:
            self._faults.end = _first_line(error)
        self._faults.missing = (container.duration or 0) / av.time_base - float(end)

    def _decode(self, decoder: Any, packet: Any) -> list[Any]:
        try:
            return list(decoder.decode(packet if packet.size else None))
        except av.FFmpegError:
            self._faults.broken.append(float((packet.pts or packet.dts or 0) * packet.time_base))
            return []

    def _picture(self, frame: Any) -> Image.Image:
        has_alpha = any(component.is_alpha for component in frame.format.components)
        pixels = frame.reformat(format="rgba" if has_alpha else "rgb24", interpolation=EXACT).to_ndarray()
        self._is_sideways = frame.rotation % 180 == 90
        if frame.rotation % 90 == 0:  # it is counterclockwise, as NumPy's is
            pixels = np.rot90(pixels, frame.rotation // 90)
        image = Image.fromarray(pixels)
        if frame.color_primaries in _WIDE_PRIMARIES or frame.color_trc in _HDR_TRANSFERS:
            image.info["cicp"] = bytes((frame.color_primaries, frame.color_trc, 0, 1))
            image = standard_mode(image)
        if getattr(self, "size", image.size) != image.size:
            sizes = f"from {self.size} to {image.size}"
            raise ImageError(f"{self.path}: its frames change their size, {sizes}; cut it there first")
        return image

    def _told(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames, and at their end what was wrong with them."""
        yield from frames
        for text in self._faults.describe():
            warnings.warn(f"{self.path}: {text}", PhotoWarning, stacklevel=2)


@dataclass
class _Faults:
    """What was wrong with the frames of a video; times are in seconds."""

    broken: list[float] = field(default_factory=list)
    mended: list[float] = field(default_factory=list)
    late: int = 0
    interlaced: bool = False
    missing: float = 0.0
    end: str = ""

    def describe(self) -> Iterator[str]:
        if self.broken:
            yield f"{len(self.broken)} frames cannot be read and are left out, from {self.broken[0]:.2f} s on"
        if self.mended:
            yield f"{len(self.mended)} frames are damaged and done as they are, from {self.mended[0]:.2f} s on"
        if self.late:
            yield f"{self.late} frames are left out, since their times lie before those of others"
        if self.end or self.missing > _LARGEST_LOSS:
            reason = f" ({self.end})" if self.end else ""
            yield f"ends {max(self.missing, 0):.2f} s before its header says{reason}: it is cut short or damaged"
        if self.interlaced:
            yield "is interlaced: edges in motion are combs; deinterlace it first"


def _first_line(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).split("\n")[0]
