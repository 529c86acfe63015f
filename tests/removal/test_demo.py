"""The demo in a real browser (headless Chromium), with a tiny model; and as a Space."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.cli import app as cli
from u2net_hf.engines import load_engine
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.hub.publish import publish_space
from u2net_hf.images.files import cut_out, open_image

CHROMIUM = shutil.which("chromium")


def test_without_gradio_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "u2net_hf.removal.demo", raising=False)
    monkeypatch.setattr(sys, "argv", ["u2net-hf", "demo"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "pip install 'u2net-hf[demo]'" in capsys.readouterr().err


def test_the_space_is_complete(tmp_path: Path) -> None:
    """Its app starts from its own folder and with its own copy of the package."""
    pytest.importorskip("gradio")
    publish_space("me/demo", dry_run=tmp_path / "space")
    script = "import app, u2net_hf; print(u2net_hf.__file__); print(len(app.demo.fns) > 0)"
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONPATH": str(tmp_path / "space")}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "space", env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(tmp_path / "space" / "u2net_hf" / "__init__.py"), "True"]


def test_without_models_there_is_no_demo() -> None:
    pytest.importorskip("gradio")
    from u2net_hf.removal.demo import build_app

    with pytest.raises(ValueError, match="at least one model"):
        build_app([])


def test_colors_of_the_picker() -> None:
    pytest.importorskip("gradio")
    from u2net_hf.removal.demo import _parse_color

    assert _parse_color("#00ff88") == (0, 255, 136)
    assert _parse_color("rgba(0, 255, 136.2, 1)") == (0, 255, 136)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    for name in ("first", "second"):
        U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(folder / name)
        U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / name)
    return [str(folder / "first"), str(folder / "second")]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "cat.png"
    Image.effect_noise((90, 60), 60).convert("RGB").save(path)
    return path


@pytest.fixture(scope="module")
def address(models: list[str], photo: Path) -> Iterator[str]:
    pytest.importorskip("gradio")
    from u2net_hf.removal.demo import build_app

    app = build_app(models, examples=[photo])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        _, url, _ = app.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, share=False, max_file_size="1mb"
        )
        yield url
        app.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs the program chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(30_000)
    page.goto(address, wait_until="domcontentloaded")
    page.get_by_role("button", name="Cut out").wait_for()
    yield page
    page.close()


def upload(page: Any, file: Path, tab: int = 0) -> None:
    with page.expect_response(lambda response: "/upload" in response.url and response.request.method == "POST"):
        page.locator("input[type=file]").nth(tab).set_input_files(file)
    page.locator("button[aria-label='Clear'], button[aria-label='Remove Image']").first.wait_for()


def download(page: Any, path: Path) -> Image.Image:
    button = page.locator("a[download]", has_text="Download PNG").or_(
        page.locator("button:enabled", has_text="Download PNG")
    )
    with page.expect_download() as download:
        button.first.click()
    assert download.value.suggested_filename == "cat.cut-out.png"
    download.value.save_as(path)
    return open_image(path)


def expected(photo: Path, model: str, **options: Any) -> np.ndarray:
    image = open_image(photo)
    (soft_map,) = saliency_maps([image], load_engine(model, device="cpu"))
    return np.asarray(cut_out(image, soft_map, **options))


def test_a_photo_becomes_a_cut_out(page: Any, models: list[str], photo: Path, tmp_path: Path) -> None:
    upload(page, photo)
    page.get_by_role("button", name="Cut out").click()
    result = download(page, tmp_path / "result.png")
    assert np.abs(np.asarray(result).astype(int) - expected(photo, models[0])).max() <= 1


def test_an_example_before_a_color(page: Any, models: list[str], photo: Path, tmp_path: Path) -> None:
    page.locator(".gallery-item, .gallery button").first.click()
    page.locator("button[aria-label='Clear'], button[aria-label='Remove Image']").first.wait_for()
    page.get_by_label("Color", exact=True).check()
    page.get_by_text("Background color").wait_for()
    page.get_by_role("button", name="Cut out").click()
    result = download(page, tmp_path / "result.png")
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result).astype(int) - expected(photo, models[0], background="white")).max() <= 1


def test_two_models_side_by_side(page: Any, photo: Path) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name="Compare").wait_for()
    upload(page, photo, tab=-1)
    page.get_by_role("button", name="Compare").click()
    page.locator("img[src*='/file=']:visible").nth(4).wait_for()  # the photo, two of the slider, two maps
    maps = {image.get_attribute("src") for image in page.locator("img[src*='/file=']:visible").all()}
    assert len(maps) >= 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not an image"),
        (b"", "is empty"),
    ],
    ids=["SVG", "empty"],
)
def test_a_bad_file_is_named(page: Any, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    upload(page, tmp_path / "bad.png")
    page.get_by_role("button", name="Cut out").click()
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "bad.png" in toast.inner_text()
    assert message in toast.inner_text()
    assert str(tmp_path.parent) not in toast.inner_text()


def test_no_photo(page: Any) -> None:
    page.get_by_role("button", name="Cut out").click()
    page.get_by_text("Choose a photo first.").wait_for()


def test_a_file_over_the_limit_is_refused(page: Any, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(bytes(1_100_000))
    page.locator("input[type=file]").first.set_input_files(tmp_path / "large.png")
    page.get_by_text("maximum").first.wait_for()


def test_too_many_pixels_are_refused(page: Any, tmp_path: Path) -> None:
    Image.new("1", (8000, 6000)).save(tmp_path / "huge.png")
    upload(page, tmp_path / "huge.png")
    page.get_by_role("button", name="Cut out").click()
    page.get_by_text("The photo has 8000 x 6000 pixels").wait_for()


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Any, photo: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    upload(page, photo)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.get_by_role("button", name="Cut out").is_visible()
