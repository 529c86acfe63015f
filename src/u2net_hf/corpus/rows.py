"""Photos to rows of a data set: the work on a batch, the same in this process and in an actor of a cluster."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import datasets
import numpy as np
from datasets import Features, Value
from PIL import Image

from ..data.photos import StoredPhoto
from ..images.files import encode_image
from ..models.u2net.pixels_u2net import resize_map
from ..models.u2net.render_u2net import RenderOptions, render, render_mask
from ..removal.overlap import Steps, run_overlapped
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


class MakeRows(Protocol):
    """A loaded network, and what it makes of photos."""

    @property
    def variant(self) -> dict[str, Any]:
        """How the rows are made, for the record."""

    @property
    def features(self) -> Features:
        """The columns of the rows."""

    def __call__(self, photos: Iterable[StoredPhoto]) -> Iterator[Row]:
        """A row for each photo, in order; of one that cannot be done, with its `error`."""


class MakeMaps:
    """Soft maps of a U²-Net or IS-Net, as PNG.

    Args:
        engine: As from [`u2net_hf.engines.load_engine`].
        columns: What a row holds.
        batch_size: How many photos go through the network at once.
        workers: Threads that decode and encode.
    """

    def __init__(self, engine: Engine, columns: Columns, batch_size: int, workers: int | None = None) -> None:
        self.engine, self.columns, self.batch_size, self.workers = engine, columns, batch_size, workers
        self.options = RenderOptions(mask=not columns.cut_out)

    @property
    def variant(self) -> dict[str, Any]:
        """See [`MakeRows`]."""
        return {**self.engine.variant, "bits": self.columns.bits}

    @property
    def features(self) -> Features:
        """See [`MakeRows`]."""
        return _features(self.columns, "map", "cut_out" if self.columns.cut_out else None)

    def __call__(self, photos: Iterable[StoredPhoto]) -> Iterator[Row]:
        """See [`MakeRows`]."""
        steps = Steps(self._read, self._write, self._failed)
        yield from run_overlapped(photos, self.engine, steps, batch_size=self.batch_size, workers=self.workers)

    def _read(self, photo: StoredPhoto) -> Photo | Row:
        return read_photo(photo.stream(), self.engine, self.options)

    def _write(self, photo: StoredPhoto, read: Photo, soft_map: np.ndarray) -> Row:
        row = _row(photo, self.columns)
        if self.columns.bits == 16:
            large = resize_map(soft_map, *read.size[::-1])
            levels = np.rint(np.clip(large, 0, 1) * np.float32(65535)).astype(np.uint16)
            row["map"] = _stored(_png(Image.fromarray(levels)), photo)
        else:
            row["map"] = _stored(encode_image(render_mask(soft_map, read.size)), photo)
        if self.columns.cut_out and read.pixels is not None:
            row["cut_out"] = _stored(encode_image(render(read.pixels, soft_map, self.options, in_place=True)), photo)
        return row

    def _failed(self, photo: StoredPhoto, error: Exception) -> Row:
        return _failed(photo, error, self.columns)


class MakeLabels:
    """Label images of a U-Net that finds objects, as PNG of 16 bits; 0 is background.

    Args:
        network: As from [`u2net_hf.segmentation.network.load_network`].
        columns: What a row holds.
        name: What the network was called.
    """

    def __init__(self, network: CellNetwork, columns: Columns) -> None:
        if columns.cut_out or columns.bits != 8:
            raise ValueError("--cut-out and --bits are for soft maps; a U-Net for objects gives label images")
        self.network, self.columns = network, columns

    @property
    def variant(self) -> dict[str, Any]:
        """See [`MakeRows`]."""
        tile = self.network.processor.tile_size
        size = "any" if tile is None else f"{tile['height']}x{tile['width']}"
        model = self.network.model
        return {"engine": str(model.engine), "dtype": str(model.dtype).removeprefix("torch."), "size": size}

    @property
    def features(self) -> Features:
        """See [`MakeRows`]."""
        return _features(self.columns, "labels")

    def __call__(self, photos: Iterable[StoredPhoto]) -> Iterator[Row]:
        """See [`MakeRows`]."""
        for photo in photos:
            try:
                yield self._row(photo)
            except Exception as error:
                yield _failed(photo, error, self.columns)

    def _row(self, photo: StoredPhoto) -> Row:
        from ..segmentation.segmentation import segment_image
        from ..segmentation.writing import write_labels

        data = photo.stream().getvalue()
        with tempfile.TemporaryDirectory() as folder:
            file, labels = Path(folder, "image" + Path(photo.path or "").suffix), Path(folder, "labels.png")
            file.write_bytes(data)
            found = segment_image(file, self.network).labels
            if found.ndim != 2:
                raise ValueError(f"has {len(found)} pages, a row holds one: cut the stack into its pages")
            write_labels([found], labels, "YX", None)
            return _row(photo, self.columns) | {"labels": _stored(labels.read_bytes(), photo)}


def _features(columns: Columns, *pictures: str | None) -> Features:
    names = [*(["image"] if columns.image else []), *filter(None, pictures)]
    return Features({"name": Value("string"), **{name: datasets.Image() for name in names}, "error": Value("string")})


def _row(photo: StoredPhoto, columns: Columns) -> Row:
    image = {"image": {"bytes": photo.data, "path": _text(Path(photo.path).name) if photo.path else None}}
    return {"name": _text(photo.name), "error": None} | (image if columns.image else {})


def _failed(photo: StoredPhoto, error: Exception, columns: Columns) -> Row:
    told = " ".join(str(error).split()) or type(error).__name__
    return _row(photo, columns) | {"error": _text(told)}


def _stored(data: bytes, photo: StoredPhoto) -> dict[str, Any]:
    return {"bytes": data, "path": f"{_text(Path(photo.name).name)}.png"}


def _text(name: str) -> str:
    r"""A text as a parquet file can hold it: of a file's name what is no UTF-8 becomes "\udcff" or so."""
    return name.encode("utf-8", "backslashreplace").decode()


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
