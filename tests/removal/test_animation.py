"""Animations: every frame is the cut-out of that frame alone; timing and loops are kept."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prediction_helpers import noise
from served import serving

from u2net_hf.cli.app import main
from u2net_hf.engines import load_engine
from u2net_hf.engines.interface import Engine
from u2net_hf.images.animations import Animation, count_frames, encode_animation, read_animation
from u2net_hf.images.files import ImageError
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.removal.animation import remove_animation
from u2net_hf.removal.removal import remove_background

pytest_plugins = ["prediction_helpers"]
DURATIONS = [40, 120, 80]
FORMATS = ["GIF", "WEBP", "PNG"]
# How each format writes that all frames are shown three times, once, and without end.
LOOPS = {"GIF": {3: {"loop": 2}, 1: {}, 0: {"loop": 0}}, "WEBP": {}, "PNG": {}}


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return load_engine(folder, device="cpu")


def frames() -> list[Image.Image]:
    return [noise(width, 30).resize((40, 30)) for width in (7, 8, 9)]


def animation(path: Path, plays: int = 3) -> Path:
    """Three frames, as Pillow itself writes them."""
    image_format = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[path.suffix]
    first, *others = frames()
    loop: dict[str, Any] = LOOPS[image_format].get(plays, {"loop": plays})
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    first.save(path, image_format, save_all=True, append_images=others, duration=DURATIONS, **loop, **lossless)
    return path


def command(model: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    chosen = ["-m", str(model), "--device", "cpu", "--dtype", "float32"]
    monkeypatch.setattr(sys, "argv", ["u2net-hf", "remove", *arguments, *chosen])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def shown(file: Path | io.BytesIO) -> list[tuple[float, np.ndarray]]:
    """How long each picture is shown, by Pillow alone."""
    with Image.open(file) as image:
        pictures = []
        for number in range(image.n_frames):
            image.seek(number)
            pixels = np.asarray(image.convert("RGBA"))
            pictures.append((image.info["duration"], pixels))
        return pictures


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_what_is_read(suffix: str, plays: int, tmp_path: Path) -> None:
    path = animation(tmp_path / f"a{suffix}", plays)
    found = read_animation(path)
    assert (count_frames(path), found.durations, found.plays) == (3, DURATIONS, plays)
    for frame, (_, expected) in zip(found.frames, shown(path), strict=True):
        assert np.array_equal(np.asarray(frame.convert("RGBA")), expected)


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_what_is_written(image_format: str, plays: int, tmp_path: Path) -> None:
    """And read again, by the same count of loops as in files that others wrote."""
    path = tmp_path / f"a.{image_format.lower()}"
    path.write_bytes(encode_animation(Animation(frames(), DURATIONS, plays), image_format))
    found = read_animation(path)
    assert (len(found.frames), found.durations, found.plays) == (3, DURATIONS, plays)


def test_each_frame_is_a_photo(engine: Engine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's APNG has the cut-out of each frame, as that frame alone has it; and so has Python's."""
    source = animation(tmp_path / "a.webp")
    assert command(folder, monkeypatch, str(source), "-o", str(tmp_path / "result.png")) == 0
    results = shown(tmp_path / "result.png")
    assert [duration for duration, _ in results] == DURATIONS
    assert read_animation(tmp_path / "result.png").plays == 3
    in_python = remove_animation(source, engine)
    for number, (_, result) in enumerate(results):
        frames()[number].save(tmp_path / "frame.png")
        expected = np.asarray(remove_background(tmp_path / "frame.png", engine))
        assert np.array_equal(result, expected)
        assert np.array_equal(np.asarray(in_python.frames[number]), expected)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("options", [{}, {"background": "white"}, {"mask": True}], ids=str)
def test_all_formats(
    suffix: str,
    options: dict[str, Any],
    engine: Engine,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In, out, in a folder, and over HTTP."""
    (tmp_path / "in").mkdir()
    source = animation(tmp_path / "in" / f"a{suffix}", plays=0)
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
    flags += ["--format", suffix[1:]]
    assert command(folder, monkeypatch, str(tmp_path / "in"), "-o", str(tmp_path / "out"), *flags) == 0
    data = (tmp_path / "out" / f"a{suffix}").read_bytes()
    assert [duration for duration, _ in shown(io.BytesIO(data))] == DURATIONS
    with serving({"tiny": engine}) as served:
        query = "&".join(f"{name}={str(value).lower()}" for name, value in options.items())
        assert served.post(source.read_bytes(), f"{query}&format={suffix[1:]}").data == data


def test_a_picture_before_the_frames_is_none_of_them(tmp_path: Path) -> None:
    first, *others = frames()
    options: dict[str, Any] = {"save_all": True, "append_images": others, "default_image": True, "duration": [40, 120]}
    first.save(tmp_path / "a.png", **options)
    found = read_animation(tmp_path / "a.png")
    assert (count_frames(tmp_path / "a.png"), found.durations) == (2, [40, 120])
    assert np.array_equal(np.asarray(found.frames[0]), np.asarray(others[0]))


def test_jpeg_takes_the_first_frame(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = animation(tmp_path / "a.gif")
    assert command(folder, monkeypatch, str(source), "-o", str(tmp_path / "result.jpg"), "--crop", "0") == 0
    assert Image.open(tmp_path / "result.jpg").format == "JPEG"


def test_damage_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    data = animation(tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"a\.gif: frame \d is damaged"):
        read_animation(tmp_path / "a.gif")
    assert command(folder, monkeypatch, str(tmp_path / "a.gif"), "-o", str(tmp_path / "b.gif")) in (0, 1)


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1700)
    with pytest.raises(ImageError, match=r"its 3 frames have more than 0\.0034 megapixels"):
        read_animation(animation(tmp_path / "a.gif"))


def test_no_crop(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="which cannot be cropped"):
        remove_animation(animation(tmp_path / "a.gif"), engine, RenderOptions(crop=0))


def test_no_animation(tmp_path: Path) -> None:
    noise(4, 3).save(tmp_path / "still.gif")
    (tmp_path / "bad.gif").write_bytes(b"GIF89a")
    stream = io.BytesIO(animation(tmp_path / "a.gif").read_bytes())
    counts = [count_frames(source) for source in (tmp_path / "still.gif", tmp_path / "bad.gif", tmp_path, stream)]
    assert (counts, stream.tell()) == ([1, 1, 1, 3], 0)
    with pytest.raises(ImageError, match="has no animations"):
        encode_animation(Animation(frames(), DURATIONS, 0), "JPEG")
