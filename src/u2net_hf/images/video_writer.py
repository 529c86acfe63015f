"""Video files written frame by frame, with the sound of another: WebM, MOV and MP4. Needs PyAV."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from PIL import Image

from .files import VIDEO_FORMATS, ImageError, PhotoWarning, format_of
from .video import EXACT, VideoReader

_BT_709, _NARROW_RANGE = 1, 1  # numbers of ITU-T H.273 and of FFmpeg


@dataclass(frozen=True)
class _Coding:
    """How pictures and sound are written in a format.

    Attributes:
        with_alpha: Encoder, pixel format and options for pictures with transparency; `None` if there is none.
        opaque: The same for others.
        copied_audio: Encodings of sound that go along as they are.
        audio: Encoder, sample format and rate (`None`: as it was) for the rest.
    """

    with_alpha: tuple[str, str, dict[str, str]] | None
    opaque: tuple[str, str, dict[str, str]]
    copied_audio: tuple[str, ...]
    audio: tuple[str, str, int | None]


_VP9 = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "lag-in-frames": "12"}
_CODINGS = {
    "webm": _Coding(
        ("libvpx-vp9", "yuva420p", _VP9),
        ("libvpx-vp9", "yuv420p", _VP9),
        ("opus", "vorbis"),
        ("libopus", "flt", 48000),
    ),
    "mov": _Coding(
        ("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16"}),
        ("prores_ks", "yuv422p10le", {"profile": "hq"}),
        ("aac", "alac", "mp3", "pcm_s16le", "pcm_s24le"),
        ("pcm_s16le", "s16", None),
    ),
    "mp4": _Coding(None, ("libx264", "yuv420p", {"crf": "18"}), ("aac", "mp3"), ("aac", "fltp", None)),
}


def check_video_format(path: str | Path, has_alpha: bool, size: tuple[int, int]) -> None:
    """See that a video of this kind can be written to a file of this name, before any work is done.

    Raises:
        ImageError: If the format is unknown, has no transparency, or wants even sizes.
    """
    coding = _CODINGS[format_of(path, VIDEO_FORMATS)]
    if has_alpha and coding.with_alpha is None:
        raise ImageError(f"{path}: MP4 has no transparency; name a .webm or .mov, or give a --background")
    if coding.opaque[0] == "libx264" and (size[0] % 2 or size[1] % 2):
        raise ImageError(
            f"{path}: MP4 needs an even width and height, not {size[0]} x {size[1]}; name a .webm or .mov"
        )


class VideoWriter:
    """A video file being written: VP9 in WebM and ProRes in MOV with or without alpha, H.264 in MP4.

    Args:
        path: The file; it is half written until the block ends.
        like: The video whose size, rate, times and sound it has.
        video_format: One of the formats in `VIDEO_FORMATS`.
        has_alpha: Whether the pictures are RGBA.
    """

    def __init__(self, path: Path, like: VideoReader, video_format: str, has_alpha: bool) -> None:
        coding = _CODINGS[video_format]
        encoder, self._pixel_format, options = (coding.with_alpha if has_alpha else None) or coding.opaque
        self._coding, self._like = coding, like
        self._container = _create(path, video_format)
        self._stream = self._container.add_stream(encoder, rate=like.rate, options=options)
        self._stream.width, self._stream.height = like.size
        self._stream.pix_fmt = self._pixel_format
        codec = self._stream.codec_context
        codec.time_base, codec.sample_aspect_ratio = like.time_base, like.sample_aspect_ratio
        codec.colorspace, codec.color_range, codec.thread_type = _BT_709, _NARROW_RANGE, "AUTO"
        self._audio: dict[int, _CopiedSound | _EncodedSound] = {}

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode(None))
                for sound in self._audio.values():
                    sound.finish()
        finally:
            with contextlib.suppress(*[] if error is None else [av.FFmpegError]):
                self._container.close()

    def add_audio(self, streams: list[Any]) -> None:
        """Take sound along; before any frame is written."""
        for stream in streams:
            if stream.codec_context is None:
                warnings.warn(f"{self._like.path}: sound of an unknown kind is left out", PhotoWarning, stacklevel=2)
            elif stream.codec_context.name in self._coding.copied_audio:
                self._audio[stream.index] = _CopiedSound(self._container, stream)
            else:
                self._audio[stream.index] = _EncodedSound(self._container, stream, *self._coding.audio)

    def write_audio(self, packet: Any) -> None:
        """Write a packet of one of those streams."""
        if packet.stream_index in self._audio:
            self._audio[packet.stream_index].write(packet, self._like.start)

    def write(self, image: Image.Image, time: int) -> None:
        """Write a picture of mode "L", "RGB" or "RGBA", shown from `time` on, in the units of [`Frame`]."""
        has_alpha = image.mode == "RGBA"
        pixels = np.asarray(_spread_colors(image) if has_alpha else image.convert("RGB"))
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if has_alpha else "rgb24").reformat(
            format=self._pixel_format, interpolation=EXACT, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = time, self._like.time_base
        self._container.mux(self._stream.encode(frame))


def _create(path: Path, video_format: str) -> Any:
    return av.open(f"file:{path.absolute()}", "w", format=video_format)


def _spread_colors(image: Image.Image, block: int = 8) -> Image.Image:
    """Let fully transparent pixels near the object take its mean color there.

    Colors of a video are stored at half the size and lossily: along the edge, black would run into the object.
    """
    small = (-(-image.width // block), -(-image.height // block))
    # Pillow weighs by alpha.
    around = image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
    alpha = image.getchannel("A")
    around.putalpha(0)
    around.paste(image, mask=alpha.point([0] + [255] * 255))
    around.putalpha(alpha)
    return around


class _CopiedSound:
    """Sound that goes along as it is."""

    def __init__(self, container: Any, source: Any) -> None:
        self._container, self._stream = container, container.add_stream_from_template(source)

    def write(self, packet: Any, start: Fraction) -> None:
        if packet.dts is None:  # marks the end
            return
        offset = round(start / packet.time_base)
        packet.pts, packet.dts = (packet.pts or packet.dts) - offset, packet.dts - offset
        packet.stream = self._stream
        self._container.mux(packet)

    def finish(self) -> None:
        """Nothing is held back."""


class _EncodedSound:
    """Sound that is encoded anew, of one channel or two."""

    def __init__(self, container: Any, source: Any, encoder: str, sample_format: str, rate: int | None) -> None:
        self._container = container
        layout = "mono" if source.codec_context.channels == 1 else "stereo"
        rate = rate or source.codec_context.sample_rate
        self._stream = container.add_stream(encoder, rate=rate, layout=layout, format=sample_format)
        self._resampler = av.AudioResampler(sample_format, layout, rate)

    def write(self, packet: Any, start: Fraction) -> None:
        with contextlib.suppress(av.InvalidDataError):  # a damaged packet is a short silence
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts -= round(start / frame.time_base)
                self._encode(frame)

    def finish(self) -> None:
        self._encode(None)
        self._container.mux(self._stream.encode(None))

    def _encode(self, frame: Any) -> None:
        for part in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(part))
