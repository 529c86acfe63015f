"""The page that cuts out in the browser: networks exported, the page built by npm, the card of a static Space."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..utils.resources import find_template
from .cards import fill_template
from .publish import publish_folder

DTYPES = ("int8", "float16")  # for processors, for graphics cards
INSTALL = ("npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")


def publish_browser(
    repo_id: str,
    models: Sequence[str | Path] = ("u2netp",),
    *,
    private: bool = False,
    token: str | None = None,
    dry_run: str | Path | None = None,
) -> str:
    """Publish the page as a static Space; what `dry_run` writes works on any static server.

    Args:
        repo_id: The Space, "user/name".
        models: Published names or folders of U²-Nets to choose from; the smallest is the page's default.
        private: As in [`publish_model`], as are the others, the result and the errors.
        token: See there.
        dry_run: See there.

    Raises:
        RuntimeError: If Node.js or npm is missing or fails.
    """
    write = partial(write_browser, models=models, repo_id=repo_id)
    replaced = ("models/*", "runtime/*")
    return publish_folder(write, repo_id, "space", replaced, private, token, dry_run, space_sdk="static")


def write_browser(folder: Path, models: Sequence[str | Path], repo_id: str) -> None:
    """Write the page and its card."""
    from ..onnx_export.export import export_onnx

    with tempfile.TemporaryDirectory(prefix="u2net-hf-") as temporary:
        exports = Path(temporary, "models")
        for model in models:
            export_onnx(model, exports / Path(model).name, dtypes=DTYPES)
        build_page(exports, Path(temporary, "page"), Path(temporary, "source"))
        shutil.copytree(Path(temporary, "page"), folder, dirs_exist_ok=True)
    names = ", ".join(Path(model).name for model in models)
    card = fill_template("browser/README.md", repo_id=repo_id, models=names)
    (folder / "README.md").write_text(card, encoding="utf-8")


def build_page(exports: Path, page: Path, source: Path) -> None:
    """Build the page in a copy of its sources.

    Args:
        exports: A folder with an export of each network.
        page: The folder to make.
        source: A folder for the copy and npm's packages; those that are there already are used again.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise RuntimeError("the page is built by Node.js and npm, which are missing here")
    unwanted = shutil.ignore_patterns("node_modules", "__pycache__", ".*")
    shutil.copytree(find_template("browser/build.mjs").parent, source, dirs_exist_ok=True, ignore=unwanted)
    if not (source / "node_modules" / ".package-lock.json").exists():
        _run(INSTALL, source)
    _run(("node", "build.mjs", str(exports.absolute()), str(page.absolute())), source)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        reason = next(iter(done.stderr.strip().splitlines()[::-1]), "")
        raise RuntimeError(f"{' '.join(command[:2])} failed: {reason}")
