"""The page in headless Chromium, with a small network: its pixels, what it asks of the net, and without any net."""

import base64
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_helpers import drawn_photo
from PIL import Image

from u2net_hf.engines import load_engine
from u2net_hf.hub.browser import build_page, publish_browser
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.onnx_export.export import export_onnx
from u2net_hf.removal.removal import remove_background
from u2net_hf.utils.resources import find_template

pytest.importorskip("onnxruntime")

pytest_plugins = ["export_fixtures"]
pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
SECONDS = 120_000


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, u2net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with a float32 export, built by packages that pytest's cache keeps."""
    place = tmp_path_factory.mktemp("page")
    export_onnx(u2net, place / "models" / "small", dtypes=["float32"])
    cache = getattr(request.config, "cache", None)
    source = Path(cache.mkdir("browser_page")) if cache else place / "source"
    try:
        build_page(place / "models", place / "page", source)
    except RuntimeError as error:
        pytest.skip(str(error))
    return place / "page"


@pytest.fixture
def server(folder: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    ) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs the program chromium")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, server: http.server.ThreadingHTTPServer) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(f"http://localhost:{server.server_port}/")
    page.locator("body[data-state=ready]").wait_for()
    yield page
    context.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    drawn_photo(150, 110).save(path)
    return path


def cut_out(page: Any, photo: Path) -> None:
    page.locator("#file").set_input_files(photo)
    page.locator("body[data-state=shown]").wait_for()


def download(page: Any, path: Path) -> np.ndarray:
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "photo.cut-out.png"
    waiting.value.save_as(path)
    return np.asarray(Image.open(path)).astype(int)


def test_its_pixels_are_those_of_the_command(page: Any, u2net: Path, photo: Path, tmp_path: Path) -> None:
    """Alpha to the last of its 8 bits, by the resizing of Pillow on both ways, and the very colors."""
    cut_out(page, photo)
    found = download(page, tmp_path / "found.png")
    expected = np.asarray(remove_background(photo, load_engine(str(u2net), device="cpu", dtype="float32"))).astype(int)
    assert expected[..., 3].std() > 20
    assert np.abs(found[..., 3] - expected[..., 3]).max() <= 1
    both = (found[..., 3] > 0) & (expected[..., 3] > 0)
    assert both.mean() > 0.5
    np.testing.assert_array_equal(found[both], np.dstack([expected[..., :3], found[..., 3]])[both])

    page.locator("#kind").select_option("color")
    page.locator("#color").evaluate("field => { field.value = '#ff8800'; field.dispatchEvent(new Event('change')); }")
    found = download(page, tmp_path / "found.png")
    options = RenderOptions(background="#ff8800")
    engine = load_engine(str(u2net), device="cpu", dtype="float32")
    expected = np.asarray(remove_background(photo, engine, options)).astype(int)
    assert found[..., 3].min() == 255
    assert np.abs(found[..., :3] - expected).max() <= 1


def test_nothing_leaves_the_machine(page: Any, server: http.server.ThreadingHTTPServer, photo: Path) -> None:
    """No request after the page is ready; and none to others is possible."""
    requests: list[str] = []
    page.context.on("request", lambda request: requests.append(request.url))
    cut_out(page, photo)
    assert [url for url in requests if not url.startswith("blob:")] == []
    elsewhere = f"http://127.0.0.1:{server.server_port}/index.html"
    blocked = "url => fetch(url, {mode: 'no-cors'}).then(() => 'sent', () => 'blocked')"
    assert page.evaluate(blocked, elsewhere) == "blocked"


def test_after_the_first_visit_it_works_offline(
    page: Any, server: http.server.ThreadingHTTPServer, photo: Path
) -> None:
    assert page.evaluate("window.crossOriginIsolated")  # so that WebAssembly may use threads
    server.shutdown()
    server.server_close()
    page.reload()
    page.locator("body[data-state=ready]").wait_for()
    cut_out(page, photo)


def test_a_bad_file_is_told_of_and_the_next_is_done(page: Any, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    page.locator("#file").set_input_files(tmp_path / "bad.png")
    page.locator("body[data-state=failed]").wait_for()
    assert "cannot be read" in page.locator("#status").inner_text()
    cut_out(page, photo)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_that_is_dropped_or_pasted(page: Any, photo: Path, tmp_path: Path, way: str) -> None:
    give = """([way, base64]) => {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const carried = new DataTransfer();
        carried.items.add(new File([bytes], "photo.png", { type: "image/png" }));
        document.dispatchEvent(
            way === "drop" ? new DragEvent("drop", { dataTransfer: carried, cancelable: true })
                           : new ClipboardEvent("paste", { clipboardData: carried }));
    }"""
    page.evaluate(give, [way, base64.b64encode(photo.read_bytes()).decode()])
    page.locator("body[data-state=shown]").wait_for()
    given = download(page, tmp_path / "given.png")
    cut_out(page, photo)
    np.testing.assert_array_equal(given, download(page, tmp_path / "chosen.png"))


def test_the_camera_and_a_narrow_screen(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.locator("#camera").click()
    while not page.evaluate("document.querySelector('#video').videoWidth > 0"):  # wait_for_function needs eval
        page.wait_for_timeout(50)
    page.locator("#shoot").click()
    page.locator("body[data-state=shown]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize(
    ("shape", "size"), [((110, 150, 3), (64, 80)), ((64, 64, 1), (211, 97)), ((5, 7, 3), (32, 32))]
)
def test_it_resizes_to_the_very_bytes_of_pillow(
    shape: tuple[int, int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    height, width, channels = shape
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels.tofile(tmp_path / "pixels")
    program = f"""import {{ readFileSync, writeFileSync }} from "node:fs";
import {{ resize }} from {str(find_template("browser/pixels.js"))!r};
const pixels = new Uint8Array(readFileSync("pixels"));
writeFileSync("resized", resize(pixels, {width}, {height}, {channels}, {size[0]}, {size[1]}));"""
    (tmp_path / "program.mjs").write_text(program)
    subprocess.run(["node", "program.mjs"], cwd=tmp_path, check=True)
    expected = np.asarray(Image.fromarray(pixels.squeeze()).resize(size, Image.Resampling.BILINEAR))
    assert np.fromfile(tmp_path / "resized", np.uint8).tolist() == expected.ravel().tolist()


def test_without_npm_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"built by Node\.js and npm, which are missing"):
        build_page(tmp_path, tmp_path / "page", tmp_path / "source")


def test_the_folder_is_that_of_a_static_space(u2net: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def build(exports: Path, page: Path, source: Path) -> None:
        assert {path.name for path in (exports / u2net.name / "onnx").iterdir()} == {
            "model_quantized.onnx",
            "model_fp16.onnx",
        }
        page.mkdir()
        (page / "index.html").write_text("")

    monkeypatch.setattr("u2net_hf.hub.browser.build_page", build)
    publish_browser("me/page", [u2net], dry_run=tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "sdk: static\n" in card
    assert f"by {u2net.name}," in card
    assert (tmp_path / "out" / "index.html").exists()
