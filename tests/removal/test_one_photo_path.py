"""One photo, one result: the command, Python, the demo, and the pipeline with the package and without it."""

import importlib
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fresh_process import run_fresh
from pictures import linear_gray_profile, stored, strange_cmyk_profile, swapped_rgb_profile, with_chunk
from PIL import ExifTags, Image
from tiny_models import tiny_u2net_config
from transformers import pipeline
from without_package import NO_PACKAGE

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.cli.app import main
from u2net_hf.engines import load_engine
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.removal.removal import remove_background

PROGRAM = (
    NO_PACKAGE
    + """
import ast
from pathlib import Path
import torch
from transformers import pipeline

torch.set_num_threads(1)
model, source, target, options = sys.argv[1:]
remover = pipeline("background-removal", model=model, trust_remote_code=True)
for photo in sorted(Path(source).iterdir()):
    result = remover(str(photo), **ast.literal_eval(options))
    info = {key: result.info.get(key, b"") for key in ("icc_profile", "exif")}
    result.save(Path(target, photo.stem + ".png"), **info)
"""
)
Way = Callable[[Path, Path, dict], None]


def write_photos(folder: Path) -> None:
    """A file of each kind that has its own way to go wrong."""
    y, x = np.mgrid[:30, :40]
    photo = Image.fromarray(np.stack([x * 6, y * 8, 255 - x * 3], axis=-1).astype(np.uint8))
    ellipse = Image.fromarray(np.uint8(255 * (((x - 20) / 15) ** 2 + ((y - 15) / 10) ** 2 < 1)))
    soft = Image.linear_gradient("L").resize((40, 30))
    rgba, logo = photo.copy(), Image.new("RGB", (40, 30), "white")
    for picture in (rgba, logo):
        picture.putalpha(ellipse)
    gray_alpha = Image.merge("LA", [photo.convert("L"), soft])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = "Ada"
    files = {
        "rgb.png": stored(photo, "PNG"),
        "rgba.png": stored(rgba, "PNG"),
        "rgba_profile.webp": stored(rgba, "WEBP", lossless=True, exact=True, icc_profile=swapped_rgb_profile()),
        "logo.png": stored(logo, "PNG"),
        "gray_alpha.png": stored(gray_alpha, "PNG", icc_profile=linear_gray_profile()),
        "palette.png": stored(photo.quantize(16), "PNG", transparency=3),
        "palette_alphas.png": stored(photo.quantize(4), "PNG", transparency=b"\x00\x80"),
        "gray_16.png": stored(Image.fromarray((y * 2000).astype(np.uint16)), "PNG"),
        "float.tif": stored(Image.fromarray((y / 29).astype(np.float32)), "TIFF"),
        "cmyk.jpg": stored(photo.convert("CMYK"), "JPEG", quality=95),
        "cmyk_profile.tif": stored(photo.convert("CMYK"), "TIFF", icc_profile=strange_cmyk_profile()),
        "profile.jpg": stored(photo, "JPEG", icc_profile=swapped_rgb_profile()),
        "exif.jpg": stored(photo, "JPEG", exif=exif.tobytes()),
        "linear.png": with_chunk(stored(photo, "PNG").getvalue(), b"gAMA", (100000).to_bytes(4)),
    }
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data.getvalue())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_path") / "photos"
    write_photos(folder)
    return folder


@pytest.fixture(scope="module")
def few_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what costs more, or goes the same way for all kinds."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("rgba.png", "profile.jpg", "exif.jpg"):
        shutil.copy(photos / name, folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("model")
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 24, "width": 20}).save_pretrained(folder)
    return str(folder)


def command(model: str, photos: Path, results: Path, options: dict) -> None:
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["remove", str(photos), "-o", str(results), "-m", model, "--dtype", "float32", *flags]
        patch.setattr(sys, "argv", ["u2net-hf", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code


def save(result: Image.Image, path: Path) -> None:
    result.save(path, **{key: result.info.get(key, b"") for key in ("icc_profile", "exif")})


def in_python(model: str, photos: Path, results: Path, options: dict) -> None:
    engine = load_engine(model, device="cpu", dtype="float32")
    for photo in photos.iterdir():
        save(remove_background(photo, engine, RenderOptions(**options)), results / f"{photo.stem}.png")


def with_the_package(model: str, photos: Path, results: Path, options: dict) -> None:
    remover = pipeline("background-removal", model=model)
    for photo in photos.iterdir():
        save(remover(str(photo), **options), results / f"{photo.stem}.png")


def without_the_package(model: str, photos: Path, results: Path, options: dict) -> None:
    done = run_fresh(PROGRAM, model, photos, results, repr(options))
    assert done.returncode == 0, done.stderr


def demo(model: str, photos: Path, results: Path, options: dict) -> None:
    try:
        from u2net_hf.removal import demo
    except ModuleNotFoundError:  # without gradio: what the page calls needs two names of it
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "gradio", SimpleNamespace(update=lambda **values: values, Error=RuntimeError))
            demo = importlib.import_module("u2net_hf.removal.demo")
            patch.delitem(sys.modules, "u2net_hf.removal.demo")  # other tests skip without the real one

    chosen = [options.get("matting", False), options.get("threshold", 0)]
    background = [demo.COLOR, options["background"]] if "background" in options else [demo.TRANSPARENT, ""]
    for photo in photos.iterdir():
        update = demo._remove(str(photo), model, *chosen, *background, None, folder=str(results))[-1]
        Path(update["value"]).rename(results / f"{photo.stem}.png")


WAYS = [in_python, demo, with_the_package, without_the_package]


@pytest.fixture(scope="module")
def by_command(
    model: str, photos: Path, few_photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict], Path]:
    """The results of the command, made once for all that is compared with them."""
    made: dict[str, Path] = {}

    def make(options: dict) -> Path:
        if repr(options) not in made:
            made[repr(options)] = tmp_path_factory.mktemp("command")
            command(model, few_photos if options else photos, made[repr(options)], options)
        return made[repr(options)]

    return make


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    "options", [{}, {"background": "#ff8800"}, {"mask": True, "crop": 0.1}, {"matting": True}], ids=str
)
def test_all_ways_give_the_same_pixels(
    way: Way,
    options: dict,
    model: str,
    photos: Path,
    few_photos: Path,
    by_command: Callable[[dict], Path],
    tmp_path: Path,
) -> None:
    if way is demo and "mask" in options:
        pytest.skip("the page offers no mask alone")
    if "matting" in options:
        pytest.importorskip("pymatting")
    photos = photos if not options else few_photos
    way(model, photos, tmp_path, options)
    for expected_path in sorted(by_command(options).iterdir()):
        expected, result = Image.open(expected_path), Image.open(tmp_path / expected_path.name)
        assert (result.mode, result.size) == (expected.mode, expected.size), expected_path.name
        for key in ("icc_profile", "exif"):
            assert result.info.get(key) == expected.info.get(key), (expected_path.name, key)
        difference = np.abs(np.asarray(result).astype(int) - np.asarray(expected))
        if expected.mode == "RGBA":  # the network's last digits may decide whether a pixel is there at all
            visible = (np.asarray(result)[..., 3] > 0) & (np.asarray(expected)[..., 3] > 0)
            assert (visible == (np.asarray(expected)[..., 3] > 1)).mean() > 0.99
            difference[..., :3][~visible] = 0
        assert difference.max() <= 1, expected_path.name
    assert len(list(tmp_path.glob("*.png"))) == len(list(photos.iterdir()))


def test_what_the_results_are(photos: Path, by_command: Callable[[dict], Path]) -> None:
    """What is common is right, too: sizes, erased colors, own alpha, profile and EXIF."""
    results = {path.stem: Image.open(path) for path in by_command({}).iterdir()}
    assert {path.stem for path in photos.iterdir()} == results.keys()
    for name, result in results.items():
        values = np.asarray(result)
        assert (result.mode, result.size) == ("RGBA", (30, 40) if name == "exif" else (40, 30))
        assert not values[values[..., 3] == 0].any(), name
        assert values[..., 3].max() > 60, name
    for name in ("rgba", "rgba_profile", "logo"):
        opaque = np.asarray(Image.open(photos / "rgba.png"))[..., 3] > 0
        assert not np.asarray(results[name])[~opaque].any()
    assert {name for name, result in results.items() if "icc_profile" in result.info} == {"profile", "rgba_profile"}
    assert results["profile"].info["icc_profile"] == swapped_rgb_profile()
    assert dict(results["exif"].getexif()) == {ExifTags.Base.Artist: "Ada"}


def test_standard_input_too(model: str, photos: Path, by_command: Callable[[dict], Path]) -> None:
    command = [sys.executable, "-m", "u2net_hf", "remove", "-", "-m", model, "--dtype", "float32"]
    done = subprocess.run(command, input=(photos / "rgba.png").read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    expected = np.asarray(Image.open(by_command({}) / "rgba.png"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(done.stdout))), expected)
