"""What an installed package holds."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix not in ("", ".pyc")}


def test_a_wheel_holds_every_module_and_template(tmp_path: Path) -> None:
    for name in ("src", "hub_cards"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    expected = files(ROOT / "src" / "u2net_hf") | {f"hub_cards/{name}" for name in files(ROOT / "hub_cards")}
    assert files(tmp_path / "built" / "u2net_hf") == expected
