"""Tests of u2net_hf.images.video and video_writer: videos drawn by PyAV, and read by PyAV alone."""

import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from drawn_videos import CLOCK, STEP, TONE, drawn_frames, read_frames, read_sound, turn_in_header, write_video
from PIL import Image

from u2net_hf.images.files import VIDEO_FORMATS, ImageError, PhotoWarning, format_of
from u2net_hf.images.video import Frame, VideoReader
from u2net_hf.images.video_writer import VideoWriter, check_video_format


def read(path: Path) -> list[Frame]:
    with VideoReader(path).open() as frames:
        return list(frames)


def difference(image: Image.Image | np.ndarray, expected: np.ndarray) -> float:
    found = np.asarray(image).astype(int)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).mean())


class TestReader:
    def test_frames_and_their_uneven_times(self, tmp_path: Path) -> None:
        drawn, times = drawn_frames(), [0, 512, 2000, 2100, 9000]
        path = write_video(tmp_path / "clip.mp4", drawn, times=times, audio="aac")
        video = VideoReader(path)
        assert video.size == (64, 48)
        frames = read(path)
        assert [frame.time * video.time_base * CLOCK for frame in frames] == times
        for frame, expected in zip(frames, drawn, strict=True):
            assert difference(frame.image, expected) < 3

    def test_a_picture_turned_in_the_header_stands_upright(self, tmp_path: Path) -> None:
        drawn = drawn_frames()
        path = write_video(tmp_path / "clip.mp4", drawn, sample_aspect_ratio=Fraction(4, 3))
        turn_in_header(path)
        video = VideoReader(path)
        assert video.size == (48, 64)
        assert video.sample_aspect_ratio == Fraction(3, 4)
        for frame, expected in zip(read(path), drawn, strict=True):
            assert difference(frame.image, np.rot90(expected, -1)) < 3  # clockwise

    @pytest.mark.parametrize(
        ("name", "codec", "pixel_format"),
        [
            ("clip.mkv", "ffv1", "yuv420p10le"),
            ("clip.mov", "prores_ks", "yuv422p10le"),
            ("clip.mp4", "libx264", "yuv420p10le"),
            ("clip.avi", "ffv1", "yuv444p"),
            ("clip.ts", "libx264", "yuv420p"),
        ],
    )
    def test_other_codings_and_depths(self, tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
        drawn = drawn_frames()
        path = write_video(tmp_path / name, drawn, codec=codec, pixel_format=pixel_format)
        frames, video = read(path), VideoReader(path)
        for index, (frame, expected) in enumerate(zip(frames, drawn, strict=True)):
            assert frame.image.mode == "RGB"
            assert difference(frame.image, expected) < 4
            assert float(frame.time * video.time_base) == pytest.approx(index / 25, abs=0.0011)

    @pytest.mark.parametrize(
        ("name", "codec", "pixel_format"),
        [("clip.webm", "libvpx-vp9", "yuva420p"), ("clip.mov", "prores_ks", "yuva444p10le")],
    )
    def test_transparency_is_read(self, tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
        drawn = drawn_frames(channels=4)
        path = write_video(tmp_path / name, drawn, codec=codec, pixel_format=pixel_format, options={})
        for frame, expected in zip(read(path), drawn, strict=True):
            assert frame.image.mode == "RGBA"
            assert difference(frame.image.getchannel("A"), expected[..., 3]) < 3

    def test_hdr_becomes_srgb(self, tmp_path: Path) -> None:
        """HDR's reference white, 203 cd/m2 (ITU-R BT.2408), is white: 0.5807 of the PQ signal (ITU-R BT.2100)."""
        level = round(255 * 0.5807)
        drawn = [np.full((48, 64, 3), level, np.uint8)]
        colors = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
        path = write_video(tmp_path / "clip.mkv", drawn, codec="ffv1", pixel_format="yuv420p10le", **colors)
        (frame,) = read(path)
        assert np.asarray(frame.image).min() > 250

    def test_a_broken_frame_is_left_out_and_told_of(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "clip.mkv", drawn_frames(), codec="mjpeg", pixel_format="yuvj420p")
        data = path.read_bytes()
        start = data.index(b"\xff\xd8\xff\xfe", data.index(b"\xff\xd8\xff\xfe") + 1)  # of the second JPEG
        path.write_bytes(data[:start] + bytes(800) + data[start + 800 :])
        with pytest.warns(PhotoWarning, match="clip.mkv: 1 frames cannot be read and are left out, from 0.04 s on"):
            frames = read(path)
        assert [round(float(frame.time * VideoReader(path).time_base), 2) for frame in frames] == [0, 0.08, 0.12, 0.16]

    @pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
    def test_a_file_cut_short_is_told_of(self, tmp_path: Path, name: str) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
        path = write_video(tmp_path / name, list(noise))
        if name.endswith("mp4"):  # with its index in front, as for the net
            with (
                av.open(str(path)) as old,
                av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "faststart"}) as new,
            ):
                stream = new.add_stream_from_template(old.streams.video[0])
                for packet in old.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        new.mux(packet)
            path = tmp_path / "f.mp4"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.warns(PhotoWarning, match=r"ends (0\.9|1\.0)\d s before its header says"):
            assert 20 < len(read(path)) < 30

    @pytest.mark.parametrize(("name", "audio"), [("clip.mp4", "aac"), ("clip.mkv", "libopus")])
    def test_nothing_is_said_of_sound_that_goes_on(self, tmp_path: Path, name: str, audio: str) -> None:
        path = write_video(tmp_path / name, drawn_frames(), audio=audio, seconds=2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(read(path)) == 5

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("clip.mp4", b"", "no video"),
            ("clip.mp4", b"no video at all" * 100, "no video"),
            ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///tmp/other.mp4\n", "no video"),
            ("list.avi", b"ffconcat version 1.0\nfile other.mp4\n", "no video"),
        ],
    )
    def test_what_is_no_video(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name}: .*{message}"):
            VideoReader(tmp_path / name)

    def test_no_file_no_pictures_too_many_pixels(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ImageError, match="no such file"):
            VideoReader(tmp_path / "none.mp4")
        with av.open(str(tmp_path / "sound.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with pytest.raises(ImageError, match="holds no pictures"):
            VideoReader(tmp_path / "sound.mp4")
        path = write_video(tmp_path / "clip.mp4", drawn_frames(1))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 // 2 - 1)
        with pytest.raises(ImageError, match="64 x 48 pixels"):
            VideoReader(path)


def copy(source: Path, target: Path, frames: list[np.ndarray]) -> None:
    """Write frames as a video like another, with its sound."""
    video = VideoReader(source)
    has_alpha = frames[0].shape[-1] == 4
    writer = VideoWriter(target, video, format_of(target, VIDEO_FORMATS), has_alpha)
    with writer, video.open(writer.add_audio, writer.write_audio) as drawn:
        for frame, pixels in zip(drawn, frames, strict=True):
            writer.write(Image.fromarray(pixels), frame.time)


class TestWriter:
    @pytest.mark.parametrize(("name", "decoder"), [("out.webm", "libvpx-vp9"), ("out.mov", None)])
    def test_transparency_and_times(self, tmp_path: Path, name: str, decoder: str | None) -> None:
        times = [0, 512, 2000, 2100, 9000]
        source = write_video(tmp_path / "clip.mp4", drawn_frames(), times=times)
        drawn = drawn_frames(channels=4)
        copy(source, tmp_path / name, drawn)
        found = read_frames(tmp_path / name, decoder)
        tolerance = 0.00051 if name == "out.webm" else 1e-9  # WebM counts in milliseconds
        assert [time for time, _ in found] == pytest.approx([time / CLOCK for time in times], abs=tolerance)
        for (_, pixels), expected in zip(found, drawn, strict=True):
            opaque = expected[..., 3] > 0
            assert difference(pixels[..., 3], expected[..., 3]) < 3
            assert np.abs(pixels[opaque][:, :3].astype(int) - expected[opaque][:, :3]).mean() < 6

    def test_black_does_not_run_into_the_object(self, tmp_path: Path) -> None:
        """What is removed is black, and colors are stored at half the size; yet the object has its own to its edge."""
        source = write_video(tmp_path / "clip.mp4", drawn_frames(1))
        (drawn,) = drawn_frames(1, channels=4)
        drawn[..., :3] = np.where(drawn[..., 3:] > 0, [230, 30, 30], 0)
        copy(source, tmp_path / "out.webm", [drawn])
        ((_, pixels),) = read_frames(tmp_path / "out.webm", "libvpx-vp9")
        inside = np.asarray(drawn[..., 3] > 0)
        assert np.abs(pixels[inside][:, :3].astype(int) - [230, 30, 30]).max() < 40
        assert pixels[:5, 50:].max() < 10  # far from it nothing is left

    @pytest.mark.parametrize("name", ["out.webm", "out.mov", "out.mp4"])
    def test_without_transparency(self, tmp_path: Path, name: str) -> None:
        drawn = drawn_frames()
        source = write_video(tmp_path / "clip.mp4", drawn, sample_aspect_ratio=Fraction(4, 3))
        copy(source, tmp_path / name, drawn)
        for (_, pixels), expected in zip(read_frames(tmp_path / name), drawn, strict=True):
            assert difference(pixels[..., :3], expected) < 5
            assert pixels[..., 3].min() == 255
        with av.open(str(tmp_path / name)) as container:
            if name != "out.webm":
                assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
            assert container.streams.video[0].codec_context.colorspace == 1

    @pytest.mark.parametrize(
        ("source", "audio", "name", "kept", "expected"),
        [
            ("clip.mp4", "aac", "out.mov", True, "aac"),
            ("clip.mp4", "aac", "out.mp4", True, "aac"),
            ("clip.mp4", "aac", "out.webm", False, "opus"),
            ("clip.webm", "libopus", "out.webm", True, "opus"),
            ("clip.webm", "libopus", "out.mov", False, "pcm_s16le"),
        ],
    )
    def test_sound_goes_along(
        self, tmp_path: Path, source: str, audio: str, name: str, kept: bool, expected: str
    ) -> None:
        drawn = drawn_frames(25)
        codec = "libvpx-vp9" if source.endswith("webm") else "libx264"
        clip = write_video(tmp_path / source, drawn, codec=codec, audio=audio, options={})
        copy(clip, tmp_path / name, drawn)
        encoding, samples = read_sound(tmp_path / name)
        assert encoding.removeprefix("lib") == expected
        assert len(samples) == pytest.approx(48000, abs=3000)
        spectrum = np.abs(np.fft.rfft(samples[4800:43200]))
        assert np.argmax(spectrum) * 48000 / 38400 == pytest.approx(TONE, abs=2)
        if kept:
            assert sound_packets(tmp_path / name) == sound_packets(clip)

    def test_what_a_format_cannot_hold(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"MP4 has no transparency; name a \.webm"):
            check_video_format("out.mp4", True, (64, 48))
        with pytest.raises(ImageError, match="even width and height, not 63 x 48"):
            check_video_format("out.mp4", False, (63, 48))
        with pytest.raises(ImageError, match=r"out\.gif: cannot be written"):
            check_video_format("out.gif", False, (64, 48))
        check_video_format("out.webm", True, (63, 47))

    @pytest.mark.parametrize("name", ["out.webm", "out.mov"])
    def test_odd_sizes(self, tmp_path: Path, name: str) -> None:
        drawn = drawn_frames(2, (63, 47), channels=4)
        source = write_video(tmp_path / "clip.mkv", drawn_frames(2, (63, 47)), codec="ffv1", pixel_format="yuv444p")
        copy(source, tmp_path / name, drawn)
        assert VideoReader(tmp_path / name).size == (63, 47)
        assert [time for time, _ in read_frames(tmp_path / name)] == [0, STEP / CLOCK]


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_frames_that_change_their_size(tmp_path: Path) -> None:
    """Two MPEG transport streams, one after the other."""
    sizes: list[Any] = [(64, 48), (32, 48)]
    for index, size in enumerate(sizes):
        times = [STEP * (3 * index + number) for number in range(3)]
        write_video(tmp_path / f"{index}.ts", drawn_frames(3, size), times=times)
    (tmp_path / "both.ts").write_bytes(b"".join((tmp_path / f"{index}.ts").read_bytes() for index in (0, 1)))
    with pytest.raises(ImageError, match=r"both.ts: its frames change their size, from \(64, 48\) to \(32, 48\)"):
        read(tmp_path / "both.ts")


def test_times_that_go_back(tmp_path: Path) -> None:
    """Two streams of which both begin at 0."""
    data = write_video(tmp_path / "one.ts", drawn_frames(3)).read_bytes()
    (tmp_path / "both.ts").write_bytes(data + data)
    with pytest.warns(PhotoWarning, match="3 frames are left out, since their times lie before those of others"):
        assert len(read(tmp_path / "both.ts")) == 3
