"""Small videos, drawn and encoded by PyAV, whose frames and times are known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CLOCK = 12800  # units of time per second
STEP = 512  # 25 frames per second
SIZE = (64, 48)  # width, height
TONE = 440


def drawn_frames(count: int = 5, size: tuple[int, int] = SIZE, channels: int = 3) -> list[np.ndarray]:
    """A bright disc that moves to the right before a dark ramp; red above, so that turning it is seen."""
    y, x = np.mgrid[: size[1], : size[0]]
    frames = []
    for index in range(count):
        disc = (x - 20 - 4 * index) ** 2 + (y - 24) ** 2 < 150
        frame = np.stack([40 + 80 * (y < 12), 40 + y, 30 + x // 2], axis=-1).astype(np.uint8)
        frame[disc] = (220, 200, 60)
        if channels == 4:
            frame = np.dstack([frame, np.where(disc, 255, 0).astype(np.uint8)])
        frames.append(frame)
    return frames


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    audio: str | None = None,
    seconds: float | None = None,
    options: dict[str, str] | None = None,
    **settings: Any,
) -> Path:
    """Encode frames (H, W, 3 or 4) with times in 1/12800 s, by default 25 a second; `audio` is the codec of a tone
    of as many `seconds` as the video.

    `settings` are attributes of the encoder.
    """
    if codec == "libx264" and options is None:
        options = {"crf": "1", "g": "1"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, CLOCK)
        settings = {"colorspace": 1, "color_range": 1} | settings
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        sound: Any = container.add_stream(audio, rate=48000, layout="stereo") if audio else None
        for index, pixels in enumerate(frames):
            kind = "rgba" if pixels.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind)
            frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts = times[index] if times else index * STEP
            frame.time_base = Fraction(1, CLOCK)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            _write_tone(container, sound, seconds or len(frames) * STEP / CLOCK)
    return path


def _write_tone(container: Any, sound: Any, seconds: float) -> None:
    samples = np.sin(2 * np.pi * TONE * np.arange(int(48000 * seconds)) / 48000) * 20000
    both = np.repeat(samples.astype(np.int16), 2)[None]
    frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    resampler = av.AudioResampler(
        sound.codec_context.format.name, "stereo", 48000, sound.codec_context.frame_size or None
    )
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(sound.encode(part))
    container.mux(sound.encode(None))


def turn_in_header(path: Path) -> None:
    """Let an MP4 say that its picture is to be turned by 90 degrees clockwise (ISO/IEC 14496-12, the matrix of tkhd).

    With (x', y') = (-y, x), what points to the right points down.
    """
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    for place, value in enumerate((0, one, 0, -one, 0, 0)):
        data[matrix + 4 * place : matrix + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)


def read_frames(path: Path, decoder: str | None = None) -> list[tuple[float, np.ndarray]]:
    """Time in seconds and pixels (H, W, 4) of each frame, by PyAV alone."""
    found = []
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        codec: Any = av.CodecContext.create(decoder, "r") if decoder else video.codec_context
        for packet in container.demux(video):
            for frame in codec.decode(packet if packet.size else None):
                found.append((float(frame.pts * video.time_base), frame.reformat(format="rgba").to_ndarray()))
    return found


def read_sound(path: Path) -> tuple[str, np.ndarray]:
    """The encoding of the first stream of sound, and its samples, mono, 48000 a second."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", 48000)
        parts = [part.to_ndarray()[0] for frame in container.decode(stream) for part in resampler.resample(frame)]
    return stream.codec_context.name, np.concatenate(parts)
