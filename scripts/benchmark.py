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
of this processor's class, and in no other: what was measured on other classes stays. `all` takes less than an hour on
two cores. Let nothing else run on the machine.

With ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 PyTorch does as on a processor with AVX2; that is a class too.
So do ONNX Runtime and OpenVINO, in rembg too, if PYTHONPATH names a folder made by

    python scripts/benchmark.py cap-engines outputs/capped
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import browser as browser_benchmark
from benchmarks import cells as cells_benchmark
from benchmarks import cuda as cuda_benchmark
from benchmarks import detail as detail_benchmark
from benchmarks import end_to_end as end_to_end_benchmark
from benchmarks import metrics as metrics_benchmark
from benchmarks import model as model_benchmark
from benchmarks import serving as serving_benchmark
from benchmarks import startup as startup_benchmark
from benchmarks import training as training_benchmark
from benchmarks.capped_engines import cap_engines as write_capped_engines
from benchmarks.rembg_rival import install_rembg
from benchmarks.report import describe_machine, is_cap_partial, processor_class
from u2net_hf.utils.console import EITHER_SPELLING, reported_errors

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=__doc__,
    context_settings=EITHER_SPELLING,
)

Output = Annotated[Path, typer.Option(help="The page; its data are in a JSON file beside it.")]
Rounds = Annotated[int, typer.Option(min=1, help="How many turns each side has.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of a network; by default one for each core.")]
Networks = Annotated[list[str], typer.Option(help="u2netp, u2net; can be given twice.")]
Data = Annotated[Path | None, typer.Option(help="Folder with images and masks.")]

WorkDir = Annotated[Path, typer.Option(help="Where rembg is installed, and photos and results are put.")]

WORK_DIR = Path("outputs/benchmark")
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
NETWORKS = list(model_benchmark.NAMES)
CUDA_NETWORKS = list(cuda_benchmark.TITLES)


@app.command()
def model(
    rounds: Rounds = 7,
    threads: Threads = CORES,
    network: Networks = NETWORKS,
    batch: Annotated[list[int], typer.Option(min=1, help="Images at once; can be given twice.")] = [1, 8],  # noqa: B006
    engines: Annotated[bool, typer.Option(help="Whether to measure the other engines too.")] = True,
    output: Output = PAGE,
) -> None:
    """The network alone, beside ONNX Runtime on the published file."""
    _check(network)
    model_benchmark.run(output, rounds, threads, network, batch, engines)


@app.command()
def detail(
    rounds: Rounds = 5,
    threads: Threads = CORES,
    output: Output = PAGE,
) -> None:
    """IS-Net at 1024x1024, beside ONNX Runtime on the published file."""
    detail_benchmark.run(output, rounds, threads)


@app.command()
def cuda(
    rounds: Rounds = 30,
    network: Annotated[list[str], typer.Option(help="Published names, or folders.")] = CUDA_NETWORKS,
    batch: Annotated[list[int], typer.Option(min=1, help="Images at once; can be given twice.")] = [1, 8],  # noqa: B006
    compiled: Annotated[bool, typer.Option(help="Whether to measure torch.compile too, which takes minutes.")] = True,
    output: Output = PAGE,
) -> None:
    """The networks on a GPU."""
    cuda_benchmark.run(output, rounds, network, batch, compiled)


@app.command()
def end_to_end(
    rounds: Rounds = 3,
    count: Annotated[int, typer.Option(min=2, help="Photos in the folder.")] = 50,
    work_dir: WorkDir = WORK_DIR,
    output: Output = PAGE,
) -> None:
    """A folder of photos, and one of 12 megapixels, to PNG, beside rembg."""
    _check_cap()
    engines = end_to_end_benchmark.usable_engines()
    rembg = install_rembg(work_dir / "rembg", end_to_end_benchmark.NETWORK)
    end_to_end_benchmark.run(output, work_dir, rembg, rounds, count, engines)


@app.command()
def cells(rounds: Rounds = 5, threads: Threads = CORES, output: Output = PAGE) -> None:
    """A microscope image of a megapixel to objects, beside scikit-image."""
    _check_cap()
    cells_benchmark.run(output, rounds, threads)


@app.command()
def startup(rounds: Rounds = 7, work_dir: WorkDir = WORK_DIR, output: Output = PAGE) -> None:
    """The command from cold, beside rembg."""
    _check_cap()
    engines = end_to_end_benchmark.usable_engines()
    rembg = install_rembg(work_dir / "rembg", end_to_end_benchmark.NETWORK)
    startup_benchmark.run(output, work_dir, rembg, rounds, engines)


@app.command()
def serve(
    clients: Annotated[list[int], typer.Option(min=1, help="At once; repeatable, fewest first.")] = [1, 8, 64],  # noqa: B006
    seconds: Annotated[float, typer.Option(min=0, help="How long each number of clients asks.")] = 30,
    only: Annotated[str, typer.Option(help="Only the server of this name; lines of others stay.")] = "",
    work_dir: WorkDir = WORK_DIR,
    output: Output = PAGE,
) -> None:
    """The HTTP server under load, beside `rembg s`."""
    _check_cap()
    rembg = install_rembg(work_dir / "rembg", serving_benchmark.NETWORK)
    serving_benchmark.run(output, work_dir, rembg, clients, seconds, only)


@app.command()
def browser(rounds: Rounds = 3, work_dir: WorkDir = WORK_DIR, output: Output = PAGE) -> None:
    """The page in headless Chromium, beside another from npm."""
    browser_benchmark.run(output, work_dir, rounds)


@app.command()
def training(
    rounds: Rounds = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps in one turn.")] = 1,
    threads: Threads = CORES,
    network: Networks = NETWORKS,
    batch: Annotated[int, typer.Option(min=1, help="Images in one step.")] = 12,
    data: Data = None,
    output: Output = PAGE,
) -> None:
    """A step of training, and with --data the loader, beside the authors' way."""
    _check(network)
    networks = [model_benchmark.NAMES[name] for name in network]
    training_benchmark.run(output, rounds, steps, threads, networks, batch, data)


@app.command()
def metrics(
    masks: Annotated[Path, typer.Option(help="Folder of ground-truth masks.")],
    maps: Annotated[Path, typer.Option(help="Folder of 8-bit maps with the names of the masks.")],
    rounds: Rounds = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images.")] = None,
    output: Output = PAGE,
) -> None:
    """SODMetrics beside PySODMetrics."""
    try:
        pairs = metrics_benchmark.find_pairs(masks, maps, limit)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    metrics_benchmark.run(output, rounds, pairs)


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
    """Everything, with the usual number of rounds."""
    model(output=output)
    detail(output=output)
    cuda(output=output)
    end_to_end(output=output)
    cells(output=output)
    startup(output=output)
    training(data=data, output=output)
    metrics(data / "masks", maps, output=output)


def _check_cap() -> None:
    if is_cap_partial():
        raise typer.BadParameter("PyTorch is held back and the other engines are not: see cap-engines in --help")


def _check(networks: list[str]) -> None:
    if unknown := set(networks) - set(NETWORKS):
        raise typer.BadParameter(f"--network must be of {', '.join(NETWORKS)}, got {', '.join(sorted(unknown))}")


if __name__ == "__main__":
    print(f"{describe_machine()}: class {processor_class()!r}", file=sys.stderr)
    with reported_errors():
        app()
