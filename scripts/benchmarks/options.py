"""Options that the verbs of `scripts/benchmark.py` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from u2net_hf.utils.process import usable_cores

from .report import is_cap_partial

Output = Annotated[Path, typer.Option(help="The page; its data are in a JSON file beside it.")]
Rounds = Annotated[int, typer.Option(min=1, help="How many turns each side has.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of a network; by default one for each core.")]
Networks = Annotated[list[str], typer.Option("--network", help="u2netp, u2net; can be given twice.")]
Batches = Annotated[list[int], typer.Option("--batch", min=1, help="Images at once; can be given twice.")]
WorkDir = Annotated[Path, typer.Option(help="Where rembg is installed, and photos and results are put.")]

NETWORKS = {"u2netp": "U²-Net†", "u2net": "U²-Net"}
BATCHES = [1, 8]
WORK_DIR = Path("outputs/benchmark")
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
CORES = usable_cores()


def check_networks(networks: list[str]) -> None:
    """Refuse networks that are not measured."""
    if unknown := set(networks) - set(NETWORKS):
        raise typer.BadParameter(f"--network must be of {', '.join(NETWORKS)}, got {', '.join(sorted(unknown))}")


def check_cap() -> None:
    """Refuse to compare PyTorch that is held back with engines that are not."""
    if is_cap_partial():
        raise typer.BadParameter("PyTorch is held back and the other engines are not: see cap-engines in --help")
