"""The page in headless Chromium, beside `@imgly/background-removal` from npm: from nothing, and with all loaded."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from u2net_hf.hub.browser import publish_browser

from .options import PAGE, WORK_DIR, Output, Rounds, WorkDir
from .photos import make_photos
from .report import save

MEGAPIXELS = (1.0, 12.0)
COLUMNS = ["", "photo, megapixels", "first, s", "next, s", "loaded, MB", "memory, MB"]
RIVAL = {"@imgly/background-removal": "1.4.5", "@imgly/background-removal-data": "1.4.5", "onnxruntime-web": "1.17.3"}
RIVAL_PAGE = '<!doctype html><body><input id="file" type="file"><script type="module" src="page.js"></script>'
RIVAL_SCRIPT = """
import removeBackground from "@imgly/background-removal";
document.querySelector("#file").onchange = async ({ target }) => {
  const config = { publicPath: new URL("data/", location.href).href, model: location.hash.slice(1) };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await removeBackground(target.files[0], config));
  link.download = "cut-out.png";
  link.click();
};
document.body.dataset.state = "ready";
"""


class Side(NamedTuple):
    """A page: its name for the table, the folder to serve, what goes behind its address, and its download button."""

    name: str
    folder: Path
    fragment: str
    button: str | None


def run(rounds: Rounds = 3, work_dir: WorkDir = WORK_DIR, output: Output = PAGE) -> None:
    """The page in headless Chromium, beside another from npm."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("the program chromium is missing")
    page = work_dir / "page"
    if not page.is_dir():
        publish_browser("me/page", dry_run=page)
    rival = _rival_page(work_dir / "imgly")
    sides = [
        Side("u2net-hf push browser, U²-Net† in int8", page, "", "#download"),
        Side("@imgly/background-removal, model 'small'", rival, "#small", None),
        Side("@imgly/background-removal, model 'medium'", rival, "#medium", None),
    ]
    lines = []
    for megapixels, photo in zip(MEGAPIXELS, make_photos(work_dir / "browser", list(MEGAPIXELS)), strict=True):
        measured: dict[str, list[list[float]]] = {side.name: [] for side in sides}
        for _ in range(rounds):
            for side in sides:
                measured[side.name].append(_measure(side, photo, chromium))
                print(side.name, megapixels, *measured[side.name][-1], file=sys.stderr)
        for name, values in measured.items():
            first, again, loaded, memory = (statistics.median(column) for column in zip(*values, strict=True))
            lines.append([name, f"{megapixels:g}", f"{first:.2f}", f"{again:.2f}", f"{loaded:.1f}", f"{memory:.0f}"])
    note = (
        f"Headless Chromium without a graphics card, {rounds} rounds in turns, medians. First: from address to "
        "PNG, nothing cached, all served on the same machine; next: the same photo again. Loaded: bytes served. "
        "Memory: the most of all processes of the browser together (proportional set size). The other's models are "
        "IS-Net at 1024x1024 in 8 bits (small) and in float16 (medium, its default)."
    )
    save(output, "browser", "In the browser", [{"work": "a photo to PNG", "columns": COLUMNS, "lines": lines}], [note])


def _rival_page(folder: Path) -> Path:
    """Install the rival and bundle its page, once."""
    page = folder / "page"
    if not page.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(
            json.dumps({"private": True, "dependencies": RIVAL | {"esbuild": "0.25.0"}})
        )
        (folder / "page.mjs").write_text(RIVAL_SCRIPT)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True)
        bundle = ["npx", "esbuild", "page.mjs", "--bundle", "--format=esm", "--outfile=built/page.js"]
        subprocess.run(bundle, cwd=folder, check=True)
        (folder / "built" / "index.html").write_text(RIVAL_PAGE)
        data = folder / "node_modules" / "@imgly" / "background-removal-data" / "dist"
        shutil.copytree(data, folder / "built" / "data")
        (folder / "built").rename(page)
    return page


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder so that WebAssembly may use threads, and counts the bytes."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        self.server.bytes_served += os.fstat(source.fileno()).st_size  # type: ignore[attr-defined]
        super().copyfile(source, outputfile)

    def log_message(self, *_: Any) -> None:
        pass


def _measure(side: Side, photo: Path, chromium: str) -> list[float]:
    """Seconds to the first and to the next PNG, and megabytes loaded and held."""
    from playwright.sync_api import sync_playwright

    with _served(side.folder) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(300_000)
        seconds = []
        with _memory_of_children() as most:
            start = time.perf_counter()
            page.goto(f"http://localhost:{server.server_port}/{side.fragment}")
            for _ in range(2):
                page.locator("body[data-state=ready], body[data-state=shown]").wait_for()
                with page.expect_download() as download:
                    page.locator("#file").set_input_files([])
                    page.locator("#file").set_input_files(photo)
                    if side.button:
                        page.locator("body[data-state=shown]").wait_for()
                        page.locator(side.button).click()
                download.value.path()
                seconds.append(time.perf_counter() - start)
                start = time.perf_counter()
        browser.close()
        return [*seconds, server.bytes_served / 1e6, most[0]]  # type: ignore[attr-defined]


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.bytes_served = 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextlib.contextmanager
def _memory_of_children() -> Iterator[list[float]]:
    """The most memory that the processes below this one hold together, in MB, looked at four times a second."""
    most, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            most[0] = max(most[0], sum(map(_proportional_megabytes, _descendants(os.getpid()))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def _descendants(process: int) -> list[int]:
    found = [process]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found[1:]


def _proportional_megabytes(process: int) -> float:
    with contextlib.suppress(OSError):
        if Path(f"/proc/{process}/exe").readlink().name.startswith("chrom"):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0
