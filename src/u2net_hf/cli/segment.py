"""The verb `segment`: microscope images to counted objects, from files, folders or standard input."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engines.names import EngineName
from ..utils.console import printable
from .options import STREAM, Device, Inputs, Output, TorchDtype, check_destination, names_stream, report

if TYPE_CHECKING:
    from ..images.outputs import Job
    from ..segmentation.jobs import Outputs
    from ..segmentation.network import CellNetwork
    from ..segmentation.segmentation import PageOptions

LabelSuffix = StrEnum("LabelSuffix", ["tif", "png"])  # formats of label images


def segment(
    inputs: Inputs,
    output: Output = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A published name (see `pull`), a folder, or a Hub id.")
    ] = "nuclei",
    suffix: Annotated[
        LabelSuffix, typer.Option("--format", help="Format if --output names no file.")
    ] = LabelSuffix.tif,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also a picture with contours and numbers.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Also a CSV with a line for each object.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also the probability of each pixel to be of an object, as TIFF.")
    ] = False,
    channel: Annotated[
        int | None, typer.Option(min=1, help="The channel that holds the objects, of images with several.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(min=1e-6, help="Side of a pixel in µm, instead of what the file says.")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Leave out objects whose mean probability is no higher. Default: the model's.")
    ] = None,
    mask_threshold: Annotated[
        float | None, typer.Option(help="Pixels are part of an object above this probability. Default: the model's.")
    ] = None,
    min_prominence: Annotated[
        float | None,
        typer.Option(
            help="Lower it where touching objects stay together, raise it where objects break apart (0 to 1)."
        ),
    ] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="Standard deviation in pixels of the blur before objects are told apart.")
    ] = None,
    min_area: Annotated[int | None, typer.Option(help="Leave out objects of fewer pixels.")] = None,
    max_hole_area: Annotated[int | None, typer.Option(help="Fill holes of up to so many pixels.")] = None,
    border: Annotated[
        int | None, typer.Option(help="Leave out objects nearer to the image's border than so many pixels.")
    ] = None,
    average_rotations: Annotated[
        bool, typer.Option("--average-rotations", help="Average the image in eight positions: better, 8 times slower.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do images again whose results exist.")] = False,
    device: Device = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the network.")] = EngineName.torch,
    dtype: Annotated[
        TorchDtype, typer.Option(help="auto: for torch bfloat16 where the processor has it, else float32.")
    ] = TorchDtype.auto,
) -> None:
    """Find the objects (nuclei, cells) in microscope images and number them.

    Reads TIFF (ImageJ, OME, stacks page by page; 8, 16 and 32 bits, floating point), PNG and JPEG. Writes label
    images, 0 = background, of 16 bits (32 where there are more than 65,535 objects), which ImageJ, napari and
    CellProfiler open. Without `--output` they lie beside the images, as cells.labels.tif. Of a folder all images are
    done, sub-folders too; those whose results exist are skipped. A file that cannot be done is named, with the page
    if it is a stack; the others are done, and the exit status is 1.

    **Examples**

        u2net-hf segment cells.tif --overlay --table

        u2net-hf segment plate/ -o labels/ --table --channel 1

        u2net-hf segment stack.ome.tif --model my-model/ --min-area 40 --border 1

        cat cells.png | u2net-hf segment - > labels.tif
    """
    from ..segmentation.jobs import Outputs, plan_segmentations
    from ..segmentation.segmentation import PageOptions

    given = {
        "min_score": min_score,
        "mask_threshold": mask_threshold,
        "min_prominence": min_prominence,
        "smoothing": smoothing,
        "min_area": min_area,
        "max_hole_area": max_hole_area,
        "border": border,
    }
    instances = {name: value for name, value in given.items() if value is not None}
    size = None if pixel_size is None else (pixel_size, pixel_size)
    options, outputs = PageOptions(channel, size), Outputs(overlay, table, probabilities)

    def load() -> CellNetwork:
        from ..segmentation.network import load_network
        from ..utils.process import keep_freed_memory

        keep_freed_memory()
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it tells of damage that is then raised as an error
        return load_network(
            model, engine=engine, device=device, dtype=dtype, average_rotations=average_rotations, instances=instances
        )

    if names_stream(inputs, output):
        if output in (None, STREAM) and outputs.names:
            raise ValueError("standard output carries the labels alone: name a file with --output for the rest")
        _segment_one(inputs[0], output or STREAM, suffix, options, outputs, load)
    else:
        jobs = plan_segmentations(inputs, output, f".{suffix}", outputs)
        _segment_many(jobs, options, outputs, load, overwrite)


def _segment_one(
    source: str,
    destination: str,
    suffix: LabelSuffix,
    options: PageOptions,
    outputs: Outputs,
    load: Callable[[], CellNetwork],
) -> None:
    """One image from a file or standard input to a file or standard output."""
    from ..images.outputs import Job
    from ..segmentation.jobs import LABEL_FORMATS, segment_file

    check_destination(destination, "labels.tif", LABEL_FORMATS)
    with tempfile.TemporaryDirectory() as folder:
        path, name = Path(source), source
        if source == STREAM:
            path, name = Path(folder, "input"), "standard input"
            path.write_bytes(sys.stdin.buffer.read())
        target = Path(folder, f"labels.{suffix}") if destination == STREAM else Path(destination)
        segment_file(Job(path, target), load(), options=options, outputs=outputs, name=name)
        if destination == STREAM:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _segment_many(
    jobs: list[Job],
    options: PageOptions,
    outputs: Outputs,
    load: Callable[[], CellNetwork],
    overwrite: bool,
) -> None:
    """Files to files, with a progress bar, and a count of what was done."""
    from ..segmentation.jobs import segment_images
    from ..utils.files import remove_abandoned
    from ..utils.process import refuse_ranks
    from ..utils.progress import progress_bar

    refuse_ranks("segment")
    remove_abandoned({job.destination.parent for job in jobs})
    with progress_bar(total=len(jobs), unit="image") as bar:
        results = segment_images(
            jobs,
            load(),
            options=options,
            outputs=outputs,
            overwrite=overwrite,
            progress=lambda page: bar.set_postfix_str(printable(page)),
        )
        report(results, bar, jobs)
