"""Photos of a corpus, with or without masks, from wherever they lie: in pieces that can be read without each other.

Local folders and files, the Hub, and whatever else fsspec opens (s3://, gs://, https://, memory://).
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import fsspec
import pyarrow.parquet as pq
from datasets import Dataset, Features, IterableDataset, Value

from ..images.files import READ_SUFFIXES
from .corpora import CorpusImage
from .pairing import find_folders, pair_files
from .sources import (
    check_inside,
    choose_split,
    find_photo_columns,
    is_source,
    open_saved,
    rows_of_part,
    split_names,
    stem_of,
    take_part,
    with_datasets,
)

PHOTO_FEATURES = Features({"image": CorpusImage(mode="RGB"), "name": Value("string")})
ROWS_AT_ONCE = 16


class StoredPhoto(NamedTuple):
    """A photo as it is stored: its key, the bytes of its file, and the file's name if it has one.

    `error` says why there are no bytes.
    """

    name: str
    data: bytes | None
    path: str | None = None
    error: str | None = None

    def stream(self) -> io.BytesIO:
        """The file, named for messages and for formats that are known by it.

        Raises:
            OSError: If there are no bytes.
        """
        if self.data is None:
            raise OSError(self.error or f"{self.name}: there is no picture")
        stream = io.BytesIO(self.data)
        stream.name = self.path or self.name
        return stream


class Photos(ABC):
    """Photos in pieces, each of which any process can read alone, as often as it must.

    Args:
        spec: What the user called them.
        pieces: What [`Photos.read`] knows each piece by.
        num_photos: How many there are, if that is known beforehand.
    """

    def __init__(self, spec: str, pieces: Sequence[Any], num_photos: int | None = None) -> None:
        self.spec, self.pieces, self.num_photos = spec, pieces, num_photos

    def __len__(self) -> int:
        return len(self.pieces)

    @abstractmethod
    def read(self, piece: int) -> Iterator[StoredPhoto]:
        """The photos of a piece, lazily, always the same in the same order."""

    @property
    def digest(self) -> str:
        """A short name for what lies in which piece, without the contents of pictures and the place of a folder."""
        return hashlib.sha256(repr((len(self), self.num_photos, *self._names())).encode()).hexdigest()[:16]

    def _names(self) -> Sequence[Any]:
        return ()


class FilePhotos(Photos):
    """Image files.

    Args:
        spec: See [`Photos`].
        files: Name and address of each.
        piece_size: Photos per piece.
    """

    def __init__(self, spec: str, files: Sequence[tuple[str, str]], piece_size: int) -> None:
        super().__init__(spec, range(0, len(files), piece_size), len(files))
        self.files, self.piece_size = files, piece_size

    def _names(self) -> Sequence[Any]:
        return [self.piece_size, *(name for name, _ in self.files)]

    def read(self, piece: int) -> Iterator[StoredPhoto]:
        """See [`Photos`]."""
        first = self.pieces[piece]
        for name, address in self.files[first : first + self.piece_size]:
            try:
                with fsspec.open(address, "rb") as file:
                    data = file.read()
            except Exception as error:  # every protocol has errors of its own
                yield StoredPhoto(name, None, address, f"{address}: cannot be read ({_reason(error)})")
            else:
                yield StoredPhoto(name, data, address)


class RowPhotos(Photos):
    """Rows of tables; `columns` are that of the photos and, if there is one, that of their names."""

    columns: list[str]

    def _photo(self, row: dict[str, Any], number: str) -> StoredPhoto:
        """The photo of a row, stored as bytes or as bytes and a path; `number` is its name if it has no other."""
        image, *names = self.columns
        cell = row[image] if isinstance(row[image], dict) else {"bytes": row[image]}
        data, path = cell.get("bytes"), cell.get("path")
        name = (row[names[0]] if names else None) or stem_of(path) or number
        if data is not None or not path:
            return StoredPhoto(name, data, path)
        try:
            if "://" not in path:
                check_inside(path, self.spec)
            elif not path.startswith("hf://") or "://" in self.spec:
                raise ValueError(f"{self.spec} names {path!r}, which is outside it")
            with fsspec.open(path, "rb") as file:
                return StoredPhoto(name, file.read(), path)
        except (OSError, ValueError) as error:
            return StoredPhoto(name, None, path, f"{path}: {error}")


class ParquetPhotos(RowPhotos):
    """Rows of parquet files, in pieces of at most `piece_size`."""

    def __init__(self, spec: str, files: Sequence[str], piece_size: int) -> None:
        self.num_files, num_photos = len(files), 0
        pieces: list[tuple[str, int, int]] = []
        for address in files:
            with fsspec.open(address, "rb") as file:
                metadata = pq.read_metadata(file)
            features = Features.from_arrow_schema(metadata.schema.to_arrow_schema())
            self.columns = find_photo_columns(features, spec)
            num_photos += metadata.num_rows
            starts = range(0, metadata.num_rows, piece_size)
            pieces += [(address, start, min(start + piece_size, metadata.num_rows)) for start in starts]
        super().__init__(spec, pieces, num_photos)

    def _names(self) -> Sequence[Any]:
        return [(posixpath.basename(address), *rows) for address, *rows in self.pieces]

    def read(self, piece: int) -> Iterator[StoredPhoto]:
        """See [`Photos`]."""
        address, start, stop = self.pieces[piece]
        numbered = "" if self.num_files == 1 else f"{posixpath.basename(address).rsplit('.', 1)[0]}-"
        with fsspec.open(address, "rb") as file:
            table = pq.ParquetFile(file)
            groups, row = _row_groups(table.metadata, start, stop)
            for batch in table.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=self.columns):
                before = min(max(0, start - row), len(batch))
                wanted = batch.slice(before, stop - row - before)
                for number, record in enumerate(wanted.to_pylist(), start=row + before):
                    yield self._photo(record, f"{numbered}{number:06d}")
                row += len(batch)
                if row >= stop:
                    return


def _row_groups(metadata: Any, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold some rows, and the number of the first row of the first of them."""
    counts = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    borders = list(accumulate(counts, initial=0))
    groups = [group for group, (first, end) in enumerate(pairwise(borders)) if first < stop and end > start]
    return groups, borders[min(groups, default=0)]


class TablePhotos(RowPhotos):
    """Rows of a `datasets.Dataset`, which is on this machine."""

    def __init__(self, spec: str, table: Dataset, piece_size: int) -> None:
        super().__init__(spec, range(0, len(table), piece_size), len(table))
        self.columns = find_photo_columns(table.features, spec)
        self.table = table.select_columns(self.columns).cast_column(self.columns[0], datasets.Image(decode=False))
        self.piece_size = piece_size

    def read(self, piece: int) -> Iterator[StoredPhoto]:
        """See [`Photos`]."""
        first = self.pieces[piece]
        for row in range(first, min(first + self.piece_size, len(self.table))):
            yield self._photo(self.table[row], f"{row:06d}")


class StreamPhotos(RowPhotos):
    """What `datasets` streams, a piece for each of its shards: a tar, a file on the Hub."""

    def __init__(self, spec: str, stream: IterableDataset) -> None:
        super().__init__(spec, range(stream.num_shards))
        self.columns = find_photo_columns(stream.features, spec)
        self.stream = stream.select_columns(self.columns).cast_column(self.columns[0], datasets.Image(decode=False))

    def read(self, piece: int) -> Iterator[StoredPhoto]:
        """See [`Photos`]."""
        numbered = "" if len(self) == 1 else f"{piece:05d}-"
        for index, record in enumerate(self.stream.shard(num_shards=len(self), index=piece)):
            yield self._photo(record, f"{numbered}{index:06d}")


def load_photos(spec: str | os.PathLike, split: str | None = None, piece_size: int = 256) -> Photos:
    """Find the photos of a corpus.

    Args:
        spec: What [`u2net_hf.data.corpora.load_corpus`] takes, with or without masks; besides an image, a folder of
            images, and the address of one of these, of a parquet file or a tar, or of a folder of them ("s3://...").
        split: As there.
        piece_size: Photos per piece; a tar is a piece, whatever it holds.

    Raises:
        FileNotFoundError: If there is no such folder, file, address or data set.
        ValueError: If it holds no photos, has no column of them, or the split is wrong.
        OSError: If it cannot be read.
    """
    name = os.fspath(spec)
    root = Path(name).expanduser()
    if "://" in name:
        return _load_address(name, split, piece_size)
    if root.is_dir() and not is_source(root) and (files := _local_files(root, split)):
        return FilePhotos(name, files, piece_size)
    if root.is_file() and root.suffix.lower() in READ_SUFFIXES:
        return FilePhotos(name, [(root.stem, str(root.absolute()))], piece_size)
    wanted, part = choose_split(spec, split_names(spec), split)
    if saved := open_saved(spec, wanted):
        return TablePhotos(name, take_part(saved, part), piece_size)
    builder = with_datasets(datasets.load_dataset_builder, spec)
    if builder.name == "parquet" and not part:
        return ParquetPhotos(name, [str(file) for file in builder.config.data_files[wanted]], piece_size)
    if part or (root.exists() and builder.name != "webdataset"):
        builder.download_and_prepare()
        return TablePhotos(name, builder.as_dataset(split=wanted + part), piece_size)
    return StreamPhotos(name, builder.as_streaming_dataset(split=wanted))


def load_photo_table(spec: str | os.PathLike, split: str | None = None) -> Dataset:
    """The photos of a corpus on this machine, as a `datasets.Dataset` with the columns `image` (RGB) and `name`.

    Args:
        spec: As for [`load_photos`].
        split: As there.

    Raises:
        ValueError: As there; or if they are not on this machine, or in tars.
    """
    photos = load_photos(spec, split)
    if isinstance(photos, FilePhotos):
        columns: dict[str, list[Any]] = {"image": [path for _, path in photos.files]}
        return Dataset.from_dict(columns | {"name": [name for name, _ in photos.files]}, features=PHOTO_FEATURES)
    if isinstance(photos, StreamPhotos):
        raise ValueError(f"{spec} can only be read in its own order: unpack it, or make parquet files of it.")
    cells = [photo for piece in range(len(photos)) for photo in photos.read(piece) if photo.data is not None]
    columns = {"image": [{"bytes": photo.data, "path": photo.path} for photo in cells]}
    return Dataset.from_dict(columns | {"name": [photo.name for photo in cells]}, features=PHOTO_FEATURES)


def _local_files(root: Path, split: str | None) -> list[tuple[str, str]]:
    """The images of a folder by name: those of pairs, of one of its splits, or simply all."""
    folders = find_folders(root)
    part = ""
    if folders:
        wanted, part = choose_split(root, list(folders), split)
        images, masks = folders[wanted]
        if images == masks:  # photos and masks in one folder
            pairs, _ = pair_files(images.absolute(), masks.absolute())
            return [(pairs[row].name, pairs[row].image) for row in rows_of_part(part, len(pairs))]
        root = images
    elif split:
        wanted, part = choose_split(root, ["train"], split)
    found = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in READ_SUFFIXES and path.is_file()]
    visible = [path for path in found if not any(name.startswith(".") for name in path.relative_to(root).parts)]
    named = _named({str(path.absolute()): path.relative_to(root).as_posix() for path in visible})
    return [named[row] for row in rows_of_part(part, len(named))]


def _named(files: dict[str, str]) -> list[tuple[str, str]]:
    """Names of files, given by address: their paths without suffix, or with it where these would be the same."""
    stems = Counter(os.path.splitext(path)[0] for path in files.values())
    return [
        (stem if stems[stem := os.path.splitext(path)[0]] == 1 else path, address) for address, path in files.items()
    ]


def _load_address(spec: str, split: str | None, piece_size: int) -> Photos:
    """The photos below an address of fsspec."""
    if split not in (None, "train"):
        raise ValueError(f"{spec}: an address has no splits; give that of the files that are wanted, not {split!r}")
    try:
        system, path = fsspec.core.url_to_fs(spec)
        paths = [path] if system.isfile(path) else sorted(system.find(path))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{spec} cannot be opened: {error}") from error
    except Exception as error:  # every protocol has errors of its own
        raise OSError(f"{spec} cannot be listed: {_reason(error)}") from error
    address = system.unstrip_protocol
    tables, tars = ([address(one) for one in paths if one.lower().endswith(end)] for end in (".parquet", ".tar"))
    if tables:
        return ParquetPhotos(spec, tables, piece_size)
    if tars:
        return StreamPhotos(spec, datasets.load_dataset("webdataset", data_files=tars, split="train", streaming=True))
    images = {
        address(one): posixpath.relpath(one, path) if one != path else posixpath.basename(one)
        for one in paths
        if one.lower().endswith(READ_SUFFIXES)
    }
    if not images:
        what = "no photos, parquet files or tars are" if paths else "nothing is"
        raise FileNotFoundError(f"{spec}: {what} there.")
    return FilePhotos(spec, _named(images), piece_size)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
