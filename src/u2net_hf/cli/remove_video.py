"""Videos in the verb `remove`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import report

if TYPE_CHECKING:
    from ..engines.interface import Engine
    from ..images.outputs import Job, Result
    from ..models.u2net.render_u2net import RenderOptions


def names_videos(inputs: Sequence[str]) -> bool:
    """Whether the inputs are videos, by their suffixes.

    Raises:
        ValueError: If there are others among them.
    """
    from ..images.files import VIDEO_SUFFIXES

    others = [name for name in inputs if Path(name).suffix.lower() not in VIDEO_SUFFIXES or Path(name).is_dir()]
    if others and len(others) < len(inputs):
        raise ValueError(f"{others[0]}: no video, among videos; do them apart")
    return not others


def remove_videos(
    inputs: Sequence[str],
    output: str | None,
    options: RenderOptions,
    load: Callable[[int], Engine],
    smoothing: float,
    compress_level: int,
    batch_size: int,
    overwrite: bool,
) -> None:
    """Videos to videos, or one to a folder of frames; the arguments are those of the verb."""
    from ..images.outputs import Result
    from ..utils.files import remove_abandoned
    from ..utils.progress import progress_bar

    try:
        from ..removal.video import remove_from_video
    except ModuleNotFoundError as error:
        raise RuntimeError("videos need another package: pip install 'u2net-hf[video]'") from error

    jobs = _plan(inputs, output, "mask" if options.mask else "cut-out")
    remove_abandoned({job.destination.parent for job in jobs})
    engine = load(sys.maxsize)  # frames are many

    def run(job: Job) -> Result:
        if job.destination.exists() and not overwrite:
            return Result(job, "skipped")
        with progress_bar(unit="frame") as bar:

            def progress(_: int, count: int) -> None:
                bar.total = count or None
                bar.update()

            try:
                remove_from_video(
                    job.source,
                    job.destination,
                    engine,
                    options=options,
                    smoothing=smoothing,
                    compress_level=compress_level,
                    batch_size=batch_size,
                    overwrite=overwrite,
                    progress=progress,
                )
            except Exception as error:
                return Result.failed(job, error)
        return Result(job, "done")

    results: Iterator[Result] = map(run, jobs)
    report(results, progress_bar(hidden=True), jobs)


def _plan(inputs: Sequence[str], output: str | None, tag: str) -> list[Job]:
    """Where the result of each video goes: beside it as WebM, or the one file or folder that is named."""
    from ..images.files import VIDEO_FORMATS
    from ..images.outputs import Job, plan_outputs
    from ..removal.video import names_video

    if output is not None and len(inputs) > 1:
        raise ValueError("--output takes one video; without it each result lies beside its video")
    if output is None or names_video(output):
        return plan_outputs(inputs, output, suffix=".webm", tag=tag, formats=VIDEO_FORMATS)
    return [Job(Path(inputs[0]), Path(output))]
