"""Microscope images to labels, tables and pictures, page by page."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..images.files import ImageError
from .blocks import separate_in_blocks
from .intensities import Intensities, choose_channels
from .network import CellNetwork, load_network
from .planes import Plane
from .sources import ImageSource, open_source, source_of_array
from .tables import Table, join, measure_objects

DEFAULT_MODEL = "nuclei"


@dataclass(frozen=True)
class PageOptions:
    """What is done with a page.

    Args:
        channel: The channel that holds the objects, counted from 1, of an image with several.
        pixel_size: Height and width of a pixel in µm, instead of what the file says.
    """

    channel: int | None = None
    pixel_size: tuple[float, float] | None = None


class Page(NamedTuple):
    """A page and what was found on it."""

    number: int
    plane: Plane
    seen: Plane  # the channels that the network saw
    labels: Plane
    foreground: Plane
    table: Table


@dataclass(frozen=True)
class Segmentation:
    """The objects of an image.

    Args:
        labels: uint32 `(height, width)`, of a stack `(pages, height, width)`: 0 = background; the objects of each page
            are 1, 2, ...
        probabilities: Of not being background, float32 of the same shape.
        table: Columns with a value per object, see [`measure_objects`]; `pandas.DataFrame` takes it.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    table: Table

    @property
    def scores(self) -> np.ndarray:
        """The mean probability of each object, in the order of the table."""
        return self.table["score"]


def segment_image(
    image: str | Path | np.ndarray | Image.Image,
    network: CellNetwork | str | Path = DEFAULT_MODEL,
    *,
    channel: int | None = None,
    pixel_size: tuple[float, float] | None = None,
) -> Segmentation:
    """Find the objects in a microscope image.

    Args:
        image: A file (TIFF stacks too); an array `(height, width)`, or `(height, width, 3)` for a color picture; or a
            Pillow image.
        network: What finds them: as from [`load_network`], or what that takes.
        channel: The channel that holds the objects, counted from 1, of a file with several.
        pixel_size: Height and width of a pixel in µm, instead of what the file says.

    Raises:
        ImageError: If the image cannot be read, or is not one that the network takes.
        ValueError: If the model is not a U-Net for objects.
        ImportError: If scikit-image, or for a TIFF tifffile, is not installed.
    """
    if not isinstance(network, CellNetwork):
        network = load_network(network)
    options = PageOptions(channel, pixel_size)
    opened: AbstractContextManager[ImageSource]
    if isinstance(image, str | Path):
        opened = open_source(Path(image))
    else:
        opened = nullcontext(source_of_array(np.asarray(image)))
    labels, probabilities, tables = [], [], []
    with tempfile.TemporaryDirectory() as folder, opened as source:
        for page in segment_pages(source, network, options, Path(folder)):
            labels.append(np.array(page.labels.open()))
            probabilities.append(np.array(page.foreground.open()))
            tables.append(page.table)
    stack = np.stack if len(source.axes) > 2 else itemgetter(0)
    return Segmentation(stack(labels), stack(probabilities), join(tables))


def segment_pages(
    source: ImageSource,
    network: CellNetwork,
    options: PageOptions,
    folder: Path,
    progress: Callable[[str], None] = lambda page: None,
) -> Iterator[Page]:
    """Find the objects of an image, page by page.

    What a page needs beside its tiles and the label image lies in files; they last until the next page is asked for.

    Args:
        source: The image.
        network: What finds them.
        options: See there.
        folder: An existing, empty folder with room for about 12 bytes per pixel, twice that of an unpacked page.
        progress: Told the name of each page before it is done.

    Raises:
        ImageError: If a page cannot be done; names it.
    """
    channel = choose_channels(source, options.channel, network.processor.num_channels)
    for number in range(source.num_pages):
        progress(source.page_name(number))
        work = folder / f"page-{number}"
        work.mkdir()
        plane = source.page(number, work)
        seen = plane if channel is None else plane.channel(channel)
        try:
            foreground = Plane.new(work / "foreground.npy", plane.size, np.float32)
            depth = Plane.new(work / "depth.npy", plane.size, np.float32)
            labels = Plane.new(work / "labels.npy", plane.size, np.uint32)
            network.maps(Intensities(seen, network.processor), foreground, depth)
            scores = separate_in_blocks(foreground, depth, labels, network.options)
            table = measure_objects(labels, plane, scores, number + 1, options.pixel_size or source.pixel_size)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ImageError(f"{source.page_name(number)}: {error or type(error).__name__}") from error
        yield Page(number, plane, seen, labels, foreground, table)
        shutil.rmtree(work)
