"""Videos with their background removed: frames against the command on photos, and what happens when it goes wrong."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("av")

from drawn_videos import CLOCK, drawn_frames, read_frames, write_video
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.cli.app import main
from u2net_hf.images.files import ImageError
from u2net_hf.images.video import VideoReader
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.removal.removal import remove_background
from u2net_hf.removal.video import remove_from_video


class LeftHalfEngine:
    """Each map is the left half; `before` is told of the number of each frame."""

    variant: dict[str, Any] = {}
    map = staticmethod(map)
    input_size = None

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.before, self.count = before, 0

    def reduce(self, image: Image.Image) -> Image.Image:
        return image.convert("RGB").resize((8, 8))

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        for _ in images:
            self.before(self.count)
            self.count += 1
        return [np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 8, axis=0).astype(np.float32) for _ in images]


class BrightnessEngine(LeftHalfEngine):
    """Each map is the brightness of what the network would see."""

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        return [np.asarray(image.convert("L"), np.float32) / 255 for image in images]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("model")
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 24, "width": 20}).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", drawn_frames(8), audio="aac")


def lossless(path: Path, frames: list[np.ndarray]) -> Path:
    kind = "rgba" if frames[0].shape[-1] == 4 else "rgb24"
    return write_video(path, frames, codec="png", pixel_format=kind, options={}, colorspace=0, color_range=2)


@pytest.mark.parametrize(
    ("options", "channels"), [({}, 3), ({}, 4), ({"background": "#ff8800"}, 4), ({"mask": True}, 3)], ids=str
)
def test_frames_are_what_the_command_makes_of_them(tmp_path: Path, options: dict, channels: int) -> None:
    drawn = drawn_frames(3, channels=channels)
    path = lossless(tmp_path / "clip.mov", drawn)
    engine, rendered = BrightnessEngine(), RenderOptions(**options)
    assert remove_from_video(path, tmp_path / "frames", engine, options=rendered, batch_size=2) == 3
    for number, pixels in enumerate(drawn):
        Image.fromarray(pixels).save(tmp_path / "photo.png")
        expected = remove_background(tmp_path / "photo.png", engine, rendered)
        found = Image.open(tmp_path / "frames" / f"{number:06}.png")
        assert (found.mode, found.size) == (expected.mode, expected.size)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
        assert np.asarray(found).std() > 10
    assert (tmp_path / "frames" / "timestamps.txt").read_text() == "# timestamp format v2\n0.000\n40.000\n80.000\n"


def test_a_video_with_transparency_and_sound(clip: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "o" / "out.webm"
    count = remove_from_video(clip, path, LeftHalfEngine(), progress=lambda *one: seen.append(one))
    assert count == 8
    assert seen == [(number, 8) for number in range(1, 9)]
    frames = read_frames(path, "libvpx-vp9")
    assert [time for time, _ in frames] == pytest.approx([number * 0.04 for number in range(8)])
    for (_, pixels), expected in zip(frames, drawn_frames(8), strict=True):
        assert pixels[:, :24, 3].min() > 250
        assert pixels[:, 40:, 3].max() < 5
        assert np.abs(pixels[:, :24, :3].astype(int) - expected[:, :24]).mean() < 6
    import av

    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1


def test_a_background(clip: Path, tmp_path: Path) -> None:
    remove_from_video(clip, tmp_path / "out.mp4", LeftHalfEngine(), options=RenderOptions(background="#0000ff"))
    for (_, pixels), expected in zip(read_frames(tmp_path / "out.mp4"), drawn_frames(8), strict=True):
        assert np.abs(pixels[:, 48:, :3].astype(int) - [0, 0, 255]).max() < 12
        assert np.abs(pixels[:, :24, :3].astype(int) - expected[:, :24]).mean() < 6


def test_frames_are_read_only_as_they_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the video: memory holds a few frames a thread."""
    clip = write_video(tmp_path / "clip.mp4", drawn_frames(60))
    read, most = 0, 0
    picture = VideoReader._picture

    def counted(reader: VideoReader, frame: Any) -> Image.Image:
        nonlocal read
        read += 1
        return picture(reader, frame)

    def compare(number: int) -> None:
        nonlocal most
        most = max(most, read - number)

    monkeypatch.setattr(VideoReader, "_picture", counted)
    monkeypatch.setattr("u2net_hf.utils.threads.usable_cores", lambda: 2)
    assert remove_from_video(clip, tmp_path / "out.mov", LeftHalfEngine(compare)) == 60
    assert most <= 6


def raise_at_five(number: int) -> None:
    if number == 5:
        raise RuntimeError("out of memory")


def die_at_five(number: int) -> None:
    if number == 5:
        os.kill(os.getpid(), 9)


@pytest.mark.parametrize("name", ["out.webm", "frames"])
def test_an_error_leaves_what_there_was(clip: Path, tmp_path: Path, name: str) -> None:
    remove_from_video(clip, tmp_path / name, LeftHalfEngine())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError, match="out of memory"):
        remove_from_video(clip, tmp_path / name, LeftHalfEngine(raise_at_five), overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("name", ["out.webm", "frames"])
def test_a_killed_run_leaves_what_there_was(clip: Path, tmp_path: Path, name: str) -> None:
    destination = tmp_path / name
    for before in (False, True):
        if before:
            remove_from_video(clip, destination, LeftHalfEngine())
        kept = {path: path.read_bytes() for path in [destination, *destination.glob("*")] if path.is_file()}
        if (child := os.fork()) == 0:
            remove_from_video(clip, destination, LeftHalfEngine(die_at_five), overwrite=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
        assert destination.exists() == before
        assert {path: path.read_bytes() for path in [destination, *destination.glob("*")] if path.is_file()} == kept


def test_nothing_is_cropped(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be cropped"):
        remove_from_video(clip, tmp_path / "out.webm", LeftHalfEngine(), options=RenderOptions(crop=0.1))


def test_other_files_are_never_replaced(clip: Path, tmp_path: Path) -> None:
    """The folder of the video itself, for example."""
    with pytest.raises(ImageError, match=r"holds other files than frames \(clip.mp4\); name another folder"):
        remove_from_video(clip, tmp_path, LeftHalfEngine(), overwrite=True)
    remove_from_video(clip, tmp_path / "frames", LeftHalfEngine())
    with pytest.raises(FileExistsError, match="--overwrite"):
        remove_from_video(clip, tmp_path / "frames", LeftHalfEngine())


class TestCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
        monkeypatch.setattr(sys, "argv", ["u2net-hf", "remove", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    def test_beside_the_video(
        self, model: str, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert not self.run(monkeypatch, str(clip), "-m", model, "--mask", "--smoothing", "0.8")
        assert capsys.readouterr().out == f"{clip.with_name('clip.mask.webm')}\n"
        frames = read_frames(clip.with_name("clip.mask.webm"))
        assert len(frames) == 8
        assert not self.run(monkeypatch, str(clip), "-m", model, "--mask")
        assert "exists already" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["clip.mp4", "photo.jpg"], "photo.jpg: no video, among videos"),
            (["clip.mp4", "two.mp4", "-o", "out.webm"], "--output takes one video"),
            (["clip.mp4", "-o", "out.gif"], "out.gif: cannot be written; use a name that ends in .webm, .mov, .mp4"),
            (["clip.mp4", "-o", "clip.mp4"], "would replace an input"),
            (["clip.mp4", "-o", "out.mp4"], "MP4 has no transparency"),
            (["none.mp4"], "none.mp4: no such file"),
        ],
    )
    def test_mistakes_are_one_line(
        self,
        model: str,
        clip: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        message: str,
    ) -> None:
        monkeypatch.chdir(clip.parent)
        assert self.run(monkeypatch, *arguments, "-m", model) == 1
        error = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert message in error[-1]
        assert error[-1].startswith("Error: ")
        assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]

    def test_without_pyav_the_error_says_how_to_get_it(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "av", None)
        for name in ("removal.video", "images.video", "images.video_writer"):
            monkeypatch.delitem(sys.modules, f"u2net_hf.{name}", raising=False)
        assert self.run(monkeypatch, "clip.mp4") == 1
        assert "pip install 'u2net-hf[video]'" in capsys.readouterr().err


def test_uneven_times_stay(tmp_path: Path) -> None:
    times = [0, 512, 2000, 2100, 9000]
    clip = write_video(tmp_path / "clip.mp4", drawn_frames(), times=times)
    remove_from_video(clip, tmp_path / "out.mov", LeftHalfEngine())
    found = [time for time, _ in read_frames(tmp_path / "out.mov")]
    assert found == pytest.approx([time / CLOCK for time in times])
