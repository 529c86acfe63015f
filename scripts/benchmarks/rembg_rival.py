"""rembg, the usual background remover, in a virtual environment of its own, with the same published weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from u2net_hf.weights.published import pull_onnx

VERSION = "2.0.86"


@dataclass(frozen=True)
class Rembg:
    """An installed rembg.

    Args:
        folder: Its virtual environment.
        weights: The folder that it looks for weights in.
    """

    folder: Path
    weights: Path

    @property
    def command(self) -> str:
        """The executable `rembg`."""
        return str(self.folder / "bin" / "rembg")

    @property
    def python(self) -> str:
        """The interpreter that can import rembg."""
        return str(self.folder / "bin" / "python")

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which it finds the weights, and fetches nothing."""
        return {"U2NET_HOME": str(self.weights), "MODEL_CHECKSUM_DISABLED": "1"}


def install_rembg(folder: Path, model: str) -> Rembg:
    """Install rembg in a virtual environment, unless it is there, and give it the published weights.

    Raises:
        RuntimeError: If it cannot be installed.
    """
    rembg = Rembg(folder.absolute(), folder.absolute() / "weights")
    if not Path(rembg.command).exists():
        print(f"installing rembg {VERSION} into {folder}", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [rembg.python, "-m", "pip", "install", "--quiet", f"rembg[cpu,cli]=={VERSION}"],
        ):
            if subprocess.run(command).returncode:
                raise RuntimeError(f"rembg cannot be installed: {' '.join(command)} failed")
    rembg.weights.mkdir(exist_ok=True)
    target = rembg.weights / f"{model}.onnx"
    if not target.exists():
        shutil.copy(pull_onnx(model), target)
    return rembg
