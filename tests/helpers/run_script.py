"""Run a script of `scripts/` in this process: importing torch and transformers anew would take seconds each time."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run_script(name: str, *arguments: object) -> int:
    """Run `scripts/<name>` as `python scripts/<name> arguments...` would; return its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0
