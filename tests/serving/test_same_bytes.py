"""A request's result is the command's, byte for byte."""

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image
from served import Served, form, serving
from zoo_pictures import draw, encode, modes, pngs

from u2net_hf.cli.app import main
from u2net_hf.engines import load_engine

pytest_plugins = ["prediction_helpers"]


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with serving({"tiny": load_engine(folder, device="cpu")}) as served:
        yield served


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each format in each of its modes, of 1 to 16 bits; and one that is large enough for several threads."""
    photos = tmp_path_factory.mktemp("photos")
    for name, data in (*modes(), *pngs()):
        (photos / name).write_bytes(data)
    (photos / "large.png").write_bytes(encode(draw(size=(1400, 900)), "png"))
    return photos


def command(model: Path, inputs: Path, output: Path, *options: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["remove", str(inputs), "-o", str(output), "-m", str(model), "--dtype", "float32", *options]
        patch.setattr(sys, "argv", ["u2net-hf", *arguments])
        with pytest.raises(SystemExit):
            main()


def test_pictures_of_all_kinds(served: Served, folder: Path, photos: Path, tmp_path: Path) -> None:
    command(folder, photos, tmp_path)
    done = 0
    for photo in sorted(photos.iterdir()):
        results = [path for path in (tmp_path / f"{photo.stem}.png", tmp_path / f"{photo.name}.png") if path.exists()]
        answer = served.post(photo.read_bytes())
        assert (answer.status == 200) == bool(results), photo.name
        if results:
            assert answer.data == results[0].read_bytes(), photo.name
            done += 1
        else:
            assert answer.status == 422, photo.name
            assert answer.reason.startswith("photo: "), photo.name
    assert done > 70


@pytest.mark.parametrize(
    "options",
    [
        {"mask": "true", "threshold": "0.5"},
        {"background": "#ff8800", "format": "jpg"},
        {"mask": "true", "crop": "0.2", "format": "webp"},
        {"format": "webp"},
        {"matting": "true", "threshold": "0.4", "crop": "0"},
    ],
    ids=str,
)
def test_options(served: Served, folder: Path, photos: Path, tmp_path: Path, options: dict[str, str]) -> None:
    if "matting" in options:
        pytest.importorskip("pymatting")
    chosen = ["png-RGBA.png", "jpg-CMYK.jpg", "png-color6-depth16.png"] + ["large.png"] * ("matting" not in options)
    (tmp_path / "chosen").mkdir()
    for name in chosen:
        shutil.copy(photos / name, tmp_path / "chosen")
    flags = [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in options.items()]
    command(folder, tmp_path / "chosen", tmp_path / "results", *flags)
    for name in chosen:
        result = (tmp_path / "results" / name).with_suffix(f".{options.get('format', 'png')}")
        answer = served.post((photos / name).read_bytes(), urlencode(options))
        assert (answer.status, answer.data) == (200, result.read_bytes()), name
        assert answer.headers["content-type"] == Image.MIME[str(Image.open(result).format)]


def test_a_form_with_a_background(served: Served, folder: Path, photos: Path, tmp_path: Path) -> None:
    photo, background = photos / "png-RGB.png", photos / "png-RGBA.png"
    command(folder, photo, tmp_path / "result.png", f"--background={background}")
    pictures = {"photo": photo.read_bytes(), "background": background.read_bytes()}
    assert served.post(**form(pictures)).data == (tmp_path / "result.png").read_bytes()
    command(folder, photo, tmp_path / "plain.png")
    assert served.post(**form({"photo": photo.read_bytes()})).data == (tmp_path / "plain.png").read_bytes()


def test_what_is_said_beside_the_picture(served: Served, photos: Path) -> None:
    answer = served.post((photos / "large.png").read_bytes(), "mask=true")
    assert Image.open(io.BytesIO(answer.data)).size == (1400, 900)
    times = dict(one.split(";dur=") for one in answer.headers["server-timing"].split(", "))
    assert times.keys() <= {"wait", "read", "network", "write", "total"}
    assert all(float(value) >= 0 for value in times.values())
    assert answer.headers["content-length"] == str(len(answer.data))
