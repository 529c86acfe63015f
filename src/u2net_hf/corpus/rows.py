"""Photos to rows of a data set: the work on a batch, the same in this process and in an actor of a cluster."""

from __future__ import annotations

import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
from datasets import Features, Value
from PIL import Image

from ..data.photos import StoredPhoto
from ..images.files import encode_image
from ..models.u2net.pixels_u2net import resize_map
from ..models.u2net.render_u2net import RenderOptions, render, render_mask
from ..removal.overlap import run_overlapped
from ..removal.photo import Photo, read_photo

if TYPE_CHECKING:
    from ..engines.interface import Engine
    from ..segmentation.network import CellNetwork

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What a row holds beside its name and its map or labels.

    Args:
        bits: Of the soft maps, 8 or 16.
        cut_out: Whether to add the cut-out, a PNG with transparency.
        image: Whether to add the photo's own file: then the rows are a corpus to train on.
    """

    bits: int = 8
    cut_out: bool = False
    image: bool = False

    def __post_init__(self) -> None:
        """Check the bits.

        Raises:
            ValueError: If they are neither 8 nor 16.
        """
        if self.bits not in (8, 16):
            raise ValueError(f"bits must be 8 or 16, got {self.bits}")


class MakeRows(ABC):
    """A loaded network, and what it makes of photos.

    Args:
        columns: What a row holds.
        variant: How the rows are made, for the record.
        pictures: The columns that are made.
    """

    def __init__(self, columns: Columns, variant: dict[str, Any], *pictures: str) -> None:
        self.columns, self.variant = columns, variant
        names = ("image", *pictures) if columns.image else pictures
        images = {name: datasets.Image() for name in names}
        self.features = Features({"name": Value("string"), **images, "error": Value("string")})

    @abstractmethod
    def __call__(self, photos: Iterable[StoredPhoto]) -> Iterator[Row]:
        """A row for each photo, in order; of one that cannot be done, with its `error`."""

    def _row(self, photo: StoredPhoto, **pictures: bytes) -> Row:
        row: Row = {"name": _text(photo.name), "error": None}
        if self.columns.image:
            row["image"] = {"bytes": photo.data, "path": _text(Path(photo.path).name) if photo.path else None}
        path = f"{_text(Path(photo.name).name)}.png"
        return row | {name: {"bytes": data, "path": path} for name, data in pictures.items()}

    def _failed(self, photo: StoredPhoto, error: Exception) -> Row:
        told = " ".join(str(error).split()) or type(error).__name__
        return self._row(photo) | {"error": _text(told)}


class MakeMaps(MakeRows):
    """Soft maps of a U²-Net or IS-Net, as PNG.

    Args:
        engine: As from [`u2net_hf.engines.load_engine`].
        columns: What a row holds.
        batch_size: How many photos go through the network at once.
        workers: Threads that decode and encode.
    """

    def __init__(self, engine: Engine, columns: Columns, batch_size: int, workers: int | None = None) -> None:
        variant = {**engine.variant, "bits": columns.bits}
        super().__init__(columns, variant, "map", *(["cut_out"] if columns.cut_out else []))
        self.engine, self.batch_size, self.workers = engine, batch_size, workers
        self.options = RenderOptions(mask=not columns.cut_out)

    def __call__(self, photos: Iterable[StoredPhoto]) -> Iterator[Row]:
        """See [`MakeRows`]."""
        steps = self._read, self._write, self._failed
        yield from run_overlapped(photos, self.engine, *steps, batch_size=self.batch_size, workers=self.workers)

    def _read(self, photo: StoredPhoto) -> Photo | Row:
        return read_photo(photo.stream(), self.engine, self.options)

    def _write(self, photo: StoredPhoto, read: Photo, soft_map: np.ndarray) -> Row:
        if self.columns.bits == 16:
            large = resize_map(soft_map, *read.size[::-1])
            levels = np.rint(np.clip(large, 0, 1) * np.float32(65535)).astype(np.uint16)
            stream = io.BytesIO()
            Image.fromarray(levels).save(stream, "PNG", compress_level=1)
            pictures = {"map": stream.getvalue()}
        else:
            pictures = {"map": encode_image(render_mask(soft_map, read.size))}
        if read.pixels is not None:
            pictures["cut_out"] = encode_image(render(read.pixels, soft_map, self.options, in_place=True))
        return self._row(photo, **pictures)


class MakeLabels(MakeRows):
    """Label images of a U-Net that finds objects, as PNG of 16 bits; 0 is background.

    Args:
        network: As from [`u2net_hf.segmentation.network.load_network`].
        columns: What a row holds.
    """

    def __init__(self, network: CellNetwork, columns: Columns) -> None:
        if columns.cut_out or columns.bits != 8:
            raise ValueError("--cut-out and --bits are for soft maps; a U-Net for objects gives label images")
        tile, model = network.processor.tile_size, network.model
        size = "any" if tile is None else f"{tile['height']}x{tile['width']}"
        dtype = str(model.dtype).removeprefix("torch.")
        super().__init__(columns, {"engine": str(model.engine), "dtype": dtype, "size": size}, "labels")
        self.network = network

    def __call__(self, photos: Iterable[StoredPhoto]) -> Iterator[Row]:
        """See [`MakeRows`]."""
        for photo in photos:
            try:
                yield self._segment(photo)
            except Exception as error:
                yield self._failed(photo, error)

    def _segment(self, photo: StoredPhoto) -> Row:
        from ..segmentation.segmentation import segment_image
        from ..segmentation.writing import write_labels

        with tempfile.TemporaryDirectory() as folder:
            file, labels = Path(folder, "image" + Path(photo.path or "").suffix), Path(folder, "labels.png")
            file.write_bytes(photo.stream().getvalue())
            found = segment_image(file, self.network).labels
            if found.ndim != 2:
                raise ValueError(f"has {len(found)} pages, a row holds one: cut the stack into its pages")
            write_labels([found], labels, "YX", None)
            return self._row(photo, labels=labels.read_bytes())


def _text(name: str) -> str:
    r"""A text as a parquet file can hold it: of a file's name what is no UTF-8 becomes "\udcff" or so."""
    return name.encode("utf-8", "backslashreplace").decode()
