"""Image files to files with what was found in them; a file that cannot be done is reported, the others are done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..images.files import ImageError, save_image
from ..images.outputs import Job, Result, plan_outputs
from ..utils.files import temporary_folder
from .network import CellNetwork
from .overlays import draw_overlay, overlay_scale
from .segmentation import Page, PageOptions, segment_pages
from .sources import ImageSource, open_source
from .tables import Table, join, to_csv
from .writing import write_labels, write_tiff

LABEL_FORMATS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}
TAG = "labels"
# What else may be written, and the suffixes that it may have (the second one for stacks).
COMPANIONS = {"overlay": (".png", ".tif"), "table": (".csv",), "probabilities": (".tif",)}


@dataclass(frozen=True)
class Outputs:
    """What is written beside the label image: cells.overlay.png (.tif for a stack), cells.table.csv and
    cells.probabilities.tif beside cells.labels.tif or cells.tif.
    """

    overlay: bool = False
    table: bool = False
    probabilities: bool = False

    @property
    def names(self) -> list[str]:
        """Those that are wanted."""
        return [name for name in COMPANIONS if getattr(self, name)]

    def exist(self, labels: Path) -> bool:
        """Whether all that is wanted is there already."""
        wanted = (any(path.exists() for path in _companions(labels, [name])) for name in self.names)
        return labels.exists() and all(wanted)


def companion(labels: Path, name: str, suffix: str) -> Path:
    """What lies beside a label image: cells.overlay.png beside cells.labels.tif or cells.tif."""
    return labels.with_name(f"{labels.stem.removesuffix(f'.{TAG}')}.{name}{suffix}")


def _companions(labels: Path, names: Sequence[str]) -> list[Path]:
    return [companion(labels, name, suffix) for name in names for suffix in COMPANIONS[name]]


def plan_segmentations(
    inputs: Sequence[str | Path], output: str | Path | None, suffix: str, outputs: Outputs
) -> list[Job]:
    """Decide where the labels of each image go, as [`plan_outputs`] does; results of an earlier run are left out.

    Raises:
        ValueError: As there; or if two results would be written to one file.
    """
    if output is None:
        earlier_results = {path for one in inputs for path in _companions(Path(one), list(COMPANIONS))}
        inputs = [one for one in inputs if Path(one) not in earlier_results]
    jobs = plan_outputs(inputs, output, suffix=suffix, tag=TAG, formats=LABEL_FORMATS)
    beside = {path: job.destination for job in jobs for path in _companions(job.destination, outputs.names)}
    for job in jobs:
        if job.destination in beside:
            raise ValueError(f"{job.destination}: is named like what is written beside {beside[job.destination]}")
    return jobs


def segment_images(
    jobs: Iterable[Job],
    network: CellNetwork,
    *,
    options: PageOptions,
    outputs: Outputs,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda page: None,
) -> Iterator[Result]:
    """Carry out jobs and yield a result for each, in order; one that fails does not stop the others.

    Args:
        jobs: As from [`plan_segmentations`].
        network: As from [`load_network`].
        options: What is done with a page.
        outputs: What is written beside the labels.
        overwrite: Whether to do images again whose results exist; else they are skipped.
        progress: Told the name of each page before it is done.
    """
    for job in jobs:
        if not overwrite and outputs.exist(job.destination):
            yield Result(job, "skipped")
            continue
        try:
            segment_file(job, network, options=options, outputs=outputs, progress=progress)
        except Exception as error:
            yield Result.failed(job, error)
        else:
            yield Result(job, "done")


def segment_file(
    job: Job,
    network: CellNetwork,
    *,
    options: PageOptions,
    outputs: Outputs,
    name: str | None = None,
    progress: Callable[[str], None] = lambda page: None,
) -> None:
    """Segment one file; what is written appears at the end, the labels last.

    Args:
        job: The file, and where its labels go.
        network: As from [`load_network`].
        options: What is done with a page.
        outputs: What is written beside the labels.
        name: What to call the file in messages.
        progress: Told the name of each page before it is done.

    Raises:
        ImageError: If it cannot be read, done or written.
    """
    with open_source(job.source, name) as source:
        if len(source.axes) > 2 and LABEL_FORMATS[job.destination.suffix.lower()] == "PNG":
            raise ImageError(f"{source.name}: has {source.num_pages} pages, a PNG holds one: use TIFF (--format tif)")
        try:
            with temporary_folder(job.destination) as folder:
                written = _Written(job.destination, source, outputs, options.pixel_size or source.pixel_size, folder)
                for page in segment_pages(source, network, options, folder, progress):
                    written.add(page)
                written.finish()
        except OSError as error:
            raise ImageError(f"{job.destination}: cannot be written ({error.strerror or error})") from error


@dataclass
class _Written:
    """The results of a file, kept in a folder until all of them are there."""

    destination: Path
    source: ImageSource
    outputs: Outputs
    pixel_size: tuple[float, float] | None
    folder: Path
    tables: list[Table] = field(default_factory=list)

    def add(self, page: Page) -> None:
        """Keep what a page gives."""
        self.tables.append(page.table)
        labels = page.labels.open()
        kind = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
        np.save(self._kept("labels", page.number), labels.astype(kind))
        if self.outputs.probabilities:
            np.save(self._kept("probabilities", page.number), page.foreground.open())
        if self.outputs.overlay:
            shown = page.seen if page.seen.shape[0] == 1 or self.source.is_rgb else page.seen.channel(0)
            path = self._kept("overlay", page.number)
            scale = overlay_scale(page.plane.size)
            height, width = page.plane.size
            out = np.lib.format.open_memmap(path, "w+", np.uint8, (scale * height, scale * width, 3))
            draw_overlay(shown, self.source.is_rgb, page.labels, page.table, out, scale)

    def finish(self) -> None:
        """Write the files and move them to their places, the labels last."""
        made: dict[Path, Path] = {}
        axes = self.source.axes
        for name in self.outputs.names:
            suffix = COMPANIONS[name][-1 if len(axes) > 2 else 0]
            path = self.folder / f"{name}{suffix}"
            if name == "table":
                path.write_text(to_csv(join(self.tables)), encoding="utf-8")
            elif suffix == ".png":
                save_image(Image.fromarray(self._pages(name)[0]), path)
            else:
                self._write_maps(name, path)
            made[companion(self.destination, name, suffix)] = path
        path = self.folder / f"labels{self.destination.suffix}"
        write_labels(self._pages("labels"), path, axes, self.pixel_size)
        made[self.destination] = path
        for place, path in made.items():
            os.replace(path, place)

    def _write_maps(self, name: str, path: Path) -> None:
        pages = self._pages(name)
        scale = len(pages[0]) // len(self._pages("labels")[0])  # an overlay may be enlarged
        pixel_size = self.pixel_size and (self.pixel_size[0] / scale, self.pixel_size[1] / scale)
        write_tiff(pages, path, self.source.axes, pages[0].dtype, pixel_size)

    def _kept(self, name: str, number: int) -> Path:
        return self.folder / f"{name}-{number}.npy"

    def _pages(self, name: str) -> Sequence[np.ndarray]:
        return [np.load(self._kept(name, number), mmap_mode="r") for number in range(self.source.num_pages)]
