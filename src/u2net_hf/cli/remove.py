"""The verb `remove`: photos to cut-outs, from files, folders or standard input."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..engines.names import EngineName
from ..utils.console import printable, say
from .options import STREAM, Device, Dtype, Inputs, Output, TrustRemoteCode, check_destination, names_stream, report
from .remove_video import names_videos, remove_videos

if TYPE_CHECKING:
    from ..engines.interface import Engine
    from ..images.outputs import Job, Result
    from ..models.u2net.render_u2net import RenderOptions

Suffix = StrEnum("Suffix", ["png", "webp", "jpg", "gif"])  # formats that can be written


def remove(
    inputs: Inputs,
    output: Output = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A published name (see `pull`), a folder, or a Hub id; by default u2netp. Several give the mean of "
            "their maps.",
        ),
    ] = None,
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
    crop: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MARGIN",
            help="Cut the result to the object, with so much around it, as a share of its longer side: 0, 0.05 ...",
        ),
    ] = None,
    suffix: Annotated[Suffix, typer.Option("--format", help="Format if --output names no file.")] = Suffix.png,
    compress_level: Annotated[
        int,
        typer.Option(min=0, max=9, help="Of PNG files: 1 is fast; higher is smaller and slower."),
    ] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: do what comes into the folders, until Ctrl-C.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do images again whose result exists.")] = False,
    max_megapixels: Annotated[
        float | None, typer.Option(min=0.001, help="Larger photos are refused, by default those above 179 megapixels.")
    ] = None,
    smoothing: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="Of videos: the share of earlier frames in a map; 0.8 flickers less."),
    ] = 0.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the network at once.")] = 1,
    device: Device = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="auto: openvino for int8, onnxruntime for few photos where it is installed and has run the network "
            "before, else torch. In float32 their maps are equal within 1e-4."
        ),
    ] = EngineName.auto,
    dtype: Annotated[
        Dtype,
        typer.Option(
            help="auto: for torch bfloat16 where the processor has it (equal to 0.001 in max F-beta), else float32. "
            "What the processor only emulates is refused. int8, for onnxruntime and openvino: as good on average, but "
            "edges and faint parts differ."
        ),
    ] = Dtype.auto,
    trust_remote_code: TrustRemoteCode = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say which engine runs, and why.")] = False,
) -> None:
    """Cut the salient object out of photos.

    The result has the photo's full size, its EXIF orientation applied and its color profile kept. Without
    `--output` it lies beside the photo, as photo.cut-out.png. Of a folder all images are done, sub-folders too;
    those whose result exists are skipped. A file that cannot be read is named, the others are done, and the exit
    status is 1. Of animations (GIF, WebP, APNG) all frames are done, where the result can be one; of files of several
    pages the first is done, with a warning.

    Videos become WebM or MOV with transparency, or with `--background` MP4 too, with their sound; or, if `--output`
    is a folder, frames.

    Many processes and machines share the photos of `u2net-hf predict`, which makes a data set of its results.

    **Examples**

        u2net-hf remove photo.jpg

        u2net-hf remove photo.jpg -o cut-out.webp --model u2net

        u2net-hf remove photo.jpg --model isnet --model u2net

        u2net-hf remove photos/ -o cut-outs/ --background white --format jpg

        u2net-hf remove inbox/ -o cut-outs/ --watch

        u2net-hf remove photo.jpg --mask -o mask.png

        u2net-hf remove photo.jpg --crop 0.05 --background white -o shop.jpg

        u2net-hf remove dancing.gif -o dancing.webp

        u2net-hf remove clip.mp4 -o clip.webm --smoothing 0.8

        curl -s https://example.org/photo.jpg | u2net-hf remove - > cut-out.png
    """
    from ..images.files import allow_megapixels, open_background
    from ..images.outputs import plan_outputs
    from ..models.u2net.render_u2net import RenderOptions
    from ..removal.removal import remove_backgrounds

    if max_megapixels is not None:
        allow_megapixels(max_megapixels)
    picture = None if background is None else open_background(background)
    options = RenderOptions(mask=mask, background=picture, threshold=threshold, matting=matting, crop=crop)
    names = models or ["u2netp"]

    def load(num_photos: int) -> Engine:
        from ..engines import load_engine
        from ..engines.choice import choose_engine
        from ..engines.model_files import find_model
        from ..utils.process import keep_freed_memory

        keep_freed_memory()
        for one in names:
            if find_model(one).numbers_objects:
                raise ValueError(f"{one} numbers objects in microscope images (u2net-hf segment): take one for photos")
        chosen, reason = engine, "as asked"
        if engine == EngineName.auto:
            chosen, reason = choose_engine(names, dtype, device, num_photos)
        loaded = load_engine(names, chosen, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        if verbose:
            say(f"Engine: {loaded.variant['engine']}, {loaded.variant['dtype']} ({reason})")
        return loaded

    carry_out = partial(remove_backgrounds, options=options, compress_level=compress_level, batch_size=batch_size)
    if names_videos(inputs):
        remove_videos(inputs, output, options, load, smoothing, compress_level, batch_size, overwrite)
    elif names_stream(inputs, output):
        _remove_one(inputs[0], output or STREAM, suffix, options, compress_level, load)
    elif watch:
        if output is None or not all(map(os.path.isdir, inputs)):
            raise ValueError("--watch needs folders, and --output with another one for the results")
        plan = partial(plan_outputs, inputs, output, suffix=f".{suffix}", allow_empty=True)
        _watch(plan, carry_out, load, overwrite)
    else:
        jobs = plan_outputs(inputs, output, suffix=f".{suffix}", tag="mask" if mask else "cut-out")
        _remove_many(jobs, carry_out, load, overwrite)


def _remove_one(
    source: str,
    destination: str,
    suffix: Suffix,
    options: RenderOptions,
    compress_level: int,
    load: Callable[[int], Engine],
) -> None:
    """One image from a file or standard input to a file or standard output."""
    from ..images.files import WRITE_FORMATS, format_of
    from ..removal.animation import buffered, encode_results, predict_maps, read_photos
    from ..utils.files import write_atomically
    from ..utils.process import usable_cores

    check_destination(destination, "cut-out.png", WRITE_FORMATS)
    image_format = format_of(f"*.{suffix}" if destination == STREAM else destination)
    engine = load(1)
    photos = read_photos(buffered(sys.stdin.buffer) if source == STREAM else source, engine, options, image_format)
    soft_maps = predict_maps(photos, engine)
    data = encode_results(
        photos, soft_maps, options, image_format, compress_level=compress_level, threads=usable_cores()
    )
    if destination == STREAM:
        sys.stdout.buffer.write(data)
    else:
        write_atomically(destination, data)


def _remove_many(
    jobs: list[Job], carry_out: Callable[..., Iterator[Result]], load: Callable[[int], Engine], overwrite: bool
) -> None:
    """Files to files, with a progress bar, and a count of what was done."""
    from ..utils.files import remove_abandoned
    from ..utils.process import refuse_ranks, set_passive_wait_policy
    from ..utils.progress import progress_bar

    refuse_ranks("remove")
    if len(jobs) > 1:  # one photo's network has the cores for itself, and waits faster awake
        set_passive_wait_policy()
    remove_abandoned({job.destination.parent for job in jobs})
    results = carry_out(jobs, load(len(jobs)), overwrite=overwrite)
    with progress_bar(total=len(jobs), unit="image") as progress:
        report(results, progress, jobs)


def _watch(
    plan: Callable[[], list[Job]],
    carry_out: Callable[..., Iterator[Result]],
    load: Callable[[int], Engine],
    overwrite: bool,
) -> None:
    """Do what comes into folders, until Ctrl-C, which ends when what is being written is written."""
    from ..images.watching import watch
    from ..utils.process import set_passive_wait_policy

    plan()  # wrong arguments are told at once
    set_passive_wait_policy()
    with contextlib.suppress(KeyboardInterrupt):
        engine = load(sys.maxsize)
        say("Watching; Ctrl-C ends.")
        for jobs in watch(plan, overwrite=overwrite):
            for result in carry_out(jobs, engine, overwrite=True):
                if result.error is None:
                    typer.echo(printable(result.job.destination))
                else:
                    say(f"Error: {result.error}")
