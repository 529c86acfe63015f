"""Style, types, the floors of the house and the declared dependencies are part of the tests."""

import ast
import configparser
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the tests run as programs, and what is imported by name or through transformers.
NOT_IMPORTED = (
    "DEP002=hypothesis|import-linter|deptry|isal|mypy|opencv-python-headless|playwright|pytest|pytest-cov|pytest-xdist|"
    "mkdocs-jupyter|mkdocs-material|mkdocstrings|python-multipart|pyyaml|ruff|setuptools|torchvision"
)


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_style(command: str) -> None:
    run("-m", *command.split())


def test_imports_go_down_only() -> None:
    """The contracts of setup.cfg."""
    run("-c", "import sys\nfrom importlinter.cli import lint_imports\nsys.exit(lint_imports(no_cache=True))")


def test_what_is_imported_is_declared(tmp_path: Path) -> None:
    """And what is declared is used. deptry reads no setup.cfg, so it gets the same lines as a requirements file."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    blocks = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
    lines = {line for block in blocks for line in block.split("\n") if line and not line.startswith("u2net-hf[")}
    (tmp_path / "requirements.txt").write_text("\n".join(sorted(lines)))
    options = ("--requirements-files", str(tmp_path / "requirements.txt"), "--known-first-party", "u2net_hf")
    run("-m", "deptry", "src", "scripts", *options, "--per-rule-ignores", NOT_IMPORTED)


def test_no_two_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []
