"""rembg, the usual background remover, in a virtual environment of its own, with the same published weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from u2net_hf.weights.published import pull_onnx

VERSION = "2.0.86"
NETWORK = "u2netp"


class Rembg(NamedTuple):
    """An installed rembg.

    Args:
        command: The executable `rembg`.
        python: The interpreter that can import rembg.
        variables: Environment variables with which it finds the weights, and fetches nothing.
    """

    command: str
    python: str
    variables: dict[str, str]


def install_rembg(folder: Path) -> Rembg:
    """Install rembg in a virtual environment, unless it is there, and give it the published weights.

    Raises:
        RuntimeError: If it cannot be installed.
    """
    programs, weights = folder.absolute() / "bin", folder.absolute() / "weights"
    variables = {"U2NET_HOME": str(weights), "MODEL_CHECKSUM_DISABLED": "1"}
    rembg = Rembg(str(programs / "rembg"), str(programs / "python"), variables)
    if not Path(rembg.command).exists():
        print(f"installing rembg {VERSION} into {folder}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [rembg.python, "-m", "pip", "install", "--quiet", f"rembg[cpu,cli]=={VERSION}"],
        ):
            if subprocess.run(command).returncode:
                raise RuntimeError(f"rembg cannot be installed: {' '.join(command)} failed")
    weights.mkdir(exist_ok=True)
    target = weights / f"{NETWORK}.onnx"
    if not target.exists():
        shutil.copy(pull_onnx(NETWORK), target)
    return rembg
