"""Where the result of each image goes: decided, and checked for losses, before any work is done. What became of it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .files import WRITE_FORMATS, ImageError, find_images, format_of


@dataclass(frozen=True)
class Job:
    """An image file and the file that its result goes to."""

    source: Path
    destination: Path


@dataclass(frozen=True)
class Result:
    """What became of a job; `error` says why it failed, and names the file."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    error: Exception | None = None

    @classmethod
    def failed(cls, job: Job, error: Exception) -> Result:
        """The result of a job that raised this error."""
        if not isinstance(error, ImageError):
            error = ImageError(f"{job.source}: {type(error).__name__}: {error}")
        return cls(job, "failed", error)


def plan_outputs(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    suffix: str = ".png",
    tag: str = "cut-out",
    formats: Mapping[str, str] = WRITE_FORMATS,
    allow_empty: bool = False,
) -> list[Job]:
    """Decide where the result of each image goes, before any work is done.

    Without `output`, results lie beside the images: photo.jpg gives photo.cut-out.png, and results of an earlier run
    among the inputs are left out. One image and an `output` with a suffix: that file. Else `output` is a folder;
    images go straight into it, a folder's images keep their sub-folders (under the folder's own name if there are
    several inputs). An output folder inside an input folder is not read as input.

    Images whose results would have one name keep more of their own: photo.jpg and photo.webp give photo.jpg.png and
    photo.webp.png; a/photo.jpg and b/photo.jpg give a/photo.jpg.png and b/photo.jpg.png.

    Args:
        inputs: Image files and folders (searched with [`find_images`]).
        output: A file, or a folder that need not exist; a name without suffix or with a final slash is a folder.
        suffix: Format of the results, where `output` does not name a file.
        tag: What the names of results beside the images get before their suffix.
        formats: Suffixes that a result may have, see [`format_of`].
        allow_empty: Whether input folders may be without images, for now.

    Raises:
        ValueError: If there is nothing to do, a result would replace an input, a format cannot be written, or two
            images would be written to one file even so; all such images are named.
    """
    sources = [Path(source) for source in inputs]
    format_of(f"*{suffix}", formats)
    if not sources:
        raise ValueError("no input: name an image or a folder of images")
    if output is None:
        jobs = _beside(sources, f".{tag}{suffix}")
    elif len(sources) == 1 and not sources[0].is_dir() and _names_a_file(output):
        format_of(output, formats)
        jobs = [Job(sources[0], Path(output))]
    else:
        jobs = _keep_apart(_into_folder(sources, output, suffix, formats, allow_empty), suffix)
    _refuse_losses(jobs)
    return jobs


def _names_a_file(output: str | Path) -> bool:
    return bool(Path(output).suffix) and not str(output).endswith(("/", os.sep)) and not os.path.isdir(output)


def _beside(sources: list[Path], ending: str) -> list[Job]:
    for source in sources:
        if source.is_dir():
            raise ValueError(f"{source}: is a folder; name a folder for its results too")
    jobs = _keep_apart([Job(source, source.with_name(source.stem + ending)) for source in sources], ending)
    earlier_results = {job.destination for job in jobs}
    return [job for job in jobs if job.source not in earlier_results]


def _into_folder(
    sources: list[Path], output: str | Path, suffix: str, formats: Mapping[str, str], allow_empty: bool
) -> list[Job]:
    folder = Path(output)
    if folder.is_file() or (folder.suffix.lower() in formats and _names_a_file(output)):
        raise ValueError(f"{output}: names a file, where a folder is needed for the results")
    jobs = []
    for source in sources:
        if source.is_dir():
            target = folder / _real(source).name if len(sources) > 1 else folder
            images = _images_outside(source, folder, allow_empty)
            jobs += [Job(image, target / image.relative_to(source).with_suffix(suffix)) for image in images]
        else:
            jobs.append(Job(source, folder / f"{source.stem}{suffix}"))
    return jobs


def _images_outside(source: Path, output: Path, allow_empty: bool) -> list[Path]:
    """The images of an input folder without those in the output folder."""
    source_root, output_root = _real(source), _real(output)
    if output_root == source_root:
        raise ValueError(f"{output}: results would mix with the images there; name another folder for them")
    images = find_images(source)
    if output_root.is_relative_to(source_root):
        images = [image for image in images if not _real(image).is_relative_to(output_root)]
    if not images and not allow_empty:
        raise ValueError(f"{source}: no images there (known by their suffixes, such as .jpg, .png, .webp)")
    return images


def _keep_apart(jobs: list[Job], ending: str) -> list[Job]:
    """Leave out what is named twice, and give results of one name others, which tell their images apart."""
    kept = []
    for group in _by_destination(jobs):
        alike = {Path(os.path.abspath(job.source)): job for job in group}
        if len(alike) == 1:
            kept.append(group[0])
            continue
        parent = os.path.commonpath([path.parent for path in alike])
        same_name = len({path.name for path in alike}) < len(alike)
        for path, job in alike.items():
            name = path.relative_to(parent) if same_name else path.name
            kept.append(replace(job, destination=job.destination.parent / f"{name}{ending}"))
    return kept


def _by_destination(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that write to one file, together."""
    groups = defaultdict(list)
    for job in jobs:
        groups[os.path.normcase(_real(job.destination))].append(job)
    return list(groups.values())


def _refuse_losses(jobs: list[Job]) -> None:
    """Raise if a result would replace an input or another result."""
    sources = {_real(job.source) for job in jobs}
    for job in jobs:
        if _real(job.destination) in sources:
            raise ValueError(f"{job.destination}: the result of {job.source} would replace an input")
    clashes = [group for group in _by_destination(jobs) if len(group) > 1]
    if clashes:
        told = (f"{' and '.join(str(job.source) for job in group)} to {group[0].destination}" for group in clashes)
        raise ValueError(f"several images would be written to one file: {'; '.join(told)}; rename some of them")


def _real(path: Path) -> Path:
    """Where links lead; `Path.resolve` stops at a link to itself, which is one file's fault and not the run's."""
    return Path(os.path.realpath(path))
