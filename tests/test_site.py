"""The documentation site: it builds without a warning, links lead somewhere, every public name has its place."""

import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

import u2net_hf
from u2net_hf import cell_metrics, sod_metrics

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; notebooks are executed, warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class References(HTMLParser):
    """What a page names: links, scripts, styles, pictures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe"):
            self.loaded.add(values.get("src") or "")
        elif tag == "link" and values.get("rel") in ("stylesheet", "preload", "preconnect"):
            self.loaded.add(values.get("href") or "")


def test_every_public_name_has_its_place(site: Path) -> None:
    """The inventory lists what the reference documents, by the place where it is defined or under a public name."""
    content = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    names = {line.split(" ", 1)[0] for line in zlib.decompress(content).decode().splitlines()}
    for package in (u2net_hf, sod_metrics, cell_metrics):
        for name in package.__all__:
            if name != "__version__":
                assert any(known.startswith(package.__name__) and known.endswith(f".{name}") for known in names), name


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = References(page.read_text(encoding="utf-8")).loaded
        elsewhere = [url for url in loaded if re.match(r"(https?:)?//", url)]
        assert not elsewhere, f"{page.relative_to(site)} loads {elsewhere}"


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs" / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_notebooks_ran_and_have_pictures(site: Path, notebook: Path) -> None:
    page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") + page.count('src="data:image') >= 1
    assert "Traceback" not in page
