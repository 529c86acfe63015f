"""Speed of this project beside the usual alternatives: in turns, medians of several rounds.

    python scripts/benchmark.py model
    python scripts/benchmark.py detail
    python scripts/benchmark.py cuda
    python scripts/benchmark.py end-to-end
    python scripts/benchmark.py cells
    python scripts/benchmark.py startup
    python scripts/benchmark.py serve
    python scripts/benchmark.py browser
    python scripts/benchmark.py training --data sod
    python scripts/benchmark.py metrics --masks sod/masks --maps sod/maps/DSS
    python scripts/benchmark.py all --data sod --maps sod/maps/DSS

Each verb prints its tables and updates its sections of docs/benchmarks.md and of the JSON file beside it, in the part
of this processor's class, and in no other: what was measured on other classes stays. `all`, which leaves `serve` and
`browser` out, takes less than an hour on two cores. Let nothing else run on the machine.

With ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 PyTorch does as on a processor with AVX2; that is a class too.
So do ONNX Runtime and OpenVINO, in rembg too, if PYTHONPATH names a folder made by

    python scripts/benchmark.py cap-engines outputs/capped
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import browser, cells, cuda, detail, end_to_end, metrics, model, serving, training
from benchmarks.capped_engines import cap_engines as write_capped_engines
from benchmarks.options import PAGE, Output
from benchmarks.report import describe_machine, processor_class
from u2net_hf.utils.console import EITHER_SPELLING, reported_errors

VERBS: dict[str, Callable[..., None]] = {
    "model": model.run,
    "detail": detail.run,
    "cuda": cuda.run,
    "end-to-end": end_to_end.run,
    "cells": cells.run,
    "startup": end_to_end.run_from_cold,
    "serve": serving.run,
    "browser": browser.run,
    "training": training.run,
    "metrics": metrics.run,
}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=__doc__,
    context_settings=EITHER_SPELLING,
)
for name, verb in VERBS.items():
    app.command(name)(verb)


@app.command()
def cap_engines(folder: Annotated[Path, typer.Argument(help="To be made, for PYTHONPATH.")]) -> None:
    """Write copies of ONNX Runtime and OpenVINO that find no AVX-512."""
    write_capped_engines(folder)
    print(f"PYTHONPATH={folder} ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python scripts/benchmark.py model")


@app.command(name="all")
def every(
    data: Annotated[Path, typer.Option(help="Folder with images and masks.")],
    maps: Annotated[Path, typer.Option(help="Folder of 8-bit maps of these images.")],
    output: Output = PAGE,
) -> None:
    """All but `serve` and `browser`, with the usual number of rounds."""
    for name in ("model", "detail", "cuda", "end-to-end", "cells", "startup"):
        VERBS[name](output=output)
    training.run(data=data, output=output)
    metrics.run(data / "masks", maps, output=output)


if __name__ == "__main__":
    print(f"{describe_machine()}: class {processor_class()!r}", file=sys.stderr)
    with reported_errors():
        app()
