"""Where rows go: a folder of parquet files, here or at an address, each of which is there whole or not at all."""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from fsspec.implementations.local import LocalFileSystem

from ..utils.files import new_file, remove_abandoned, write_atomically

VARIANT = "variant.json"
NOT_COMPARED = {"source", "version"}
# A row group of pictures is unpacked as a whole by some readers; so many rows are held until they are written.
ROWS_PER_GROUP = 64


class TargetError(OSError):
    """The target cannot be used, or not with this variant; what it holds is as it was."""


@dataclass(frozen=True)
class Counts:
    """How many photos were done, and how many could not be."""

    done: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.done + other.done, self.failed + other.failed)


class Target:
    """A folder of shards.

    Args:
        address: A folder, or the address of one ("s3://bucket/maps").
        num_pieces: Pieces of the source, each of which becomes a shard.
    """

    def __init__(self, address: str, num_pieces: int) -> None:
        self.address, self.num_pieces = address, num_pieces
        with self._told("opened"):
            self.system, self.folder = fsspec.core.url_to_fs(os.path.expanduser(address))
        self.is_local = isinstance(self.system, LocalFileSystem)

    def shard(self, piece: int) -> str:
        """The path of a shard."""
        return f"{self.folder}/data/part-{piece:06d}-of-{self.num_pieces:06d}.parquet"

    def prepare(self, variant: Mapping[str, Any]) -> list[int]:
        """Check that the target holds nothing else, and note how its rows are made.

        Returns:
            The pieces that are missing.

        Raises:
            TargetError: If it holds rows made in another way or other files, or cannot be written.
        """
        with self._told("written"):
            names = self._names(self.folder)
            if VARIANT in names:
                self._compare(json.loads(self.system.cat_file(f"{self.folder}/{VARIANT}")), variant)
            elif names:
                raise TargetError(f"{self.address} is not empty and holds no {VARIANT}: choose another folder")
            else:
                self._put(json.dumps(variant, indent=2).encode() + b"\n", f"{self.folder}/{VARIANT}")
            there = self._names(f"{self.folder}/data")
            if self.is_local:
                os.makedirs(f"{self.folder}/data", exist_ok=True)
                remove_abandoned([f"{self.folder}/data"])
        return [piece for piece in range(self.num_pieces) if posixpath.basename(self.shard(piece)) not in there]

    def _compare(self, there: Mapping[str, Any], variant: Mapping[str, Any]) -> None:
        for name in ({**there, **variant}).keys() - NOT_COMPARED:
            if there.get(name) != variant.get(name):
                raise TargetError(
                    f"{self.address} was made with {name} {there.get(name)}, not {variant.get(name)}: choose another "
                    "folder, or the same options and source"
                )

    def counts(self, piece: int) -> Counts:
        """What a finished shard holds."""
        with self._told("read"), self.system.open(self.shard(piece), "rb") as file:
            errors = pq.read_table(file, columns=["error"])["error"]
        return Counts(errors.null_count, len(errors) - errors.null_count)

    def has(self, piece: int) -> bool:
        """Whether a shard is finished."""
        return bool(self.system.exists(self.shard(piece)))

    def write(self, piece: int, rows: Iterable[Mapping[str, Any]], features: Features) -> Counts:
        """Write a shard: it appears when its last row is there.

        Raises:
            TargetError: If it cannot be written.
        """
        with self._told("written"):
            if self.is_local:
                with new_file(self.shard(piece)) as path:
                    return _write_parquet(path, rows, features)
            with tempfile.TemporaryDirectory(prefix="u2net-hf-") as folder:
                path = Path(folder, "shard.parquet")
                counts = _write_parquet(path, rows, features)
                self.system.put_file(str(path), self.shard(piece))
                return counts

    def _put(self, data: bytes, path: str) -> None:
        if self.is_local:
            write_atomically(path, data)
        else:
            self.system.pipe_file(path, data)

    def _names(self, folder: str) -> set[str]:
        try:
            paths = self.system.ls(folder, detail=False)
        except FileNotFoundError:
            return set()
        names = {posixpath.basename(path.rstrip("/")) for path in paths}
        return {name for name in names if name and not name.startswith(".")}

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """Say of every protocol's errors which target it is and what could not be done."""
        try:
            yield
        except TargetError:
            raise
        except (OSError, ImportError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise TargetError(f"{self.address} cannot be {done}: {reason}") from error


def _write_parquet(path: Path, rows: Iterable[Mapping[str, Any]], features: Features) -> Counts:
    schema, counts, iterator = features.arrow_schema, Counts(), iter(rows)
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        while group := list(islice(iterator, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            failed = sum(row["error"] is not None for row in group)
            counts += Counts(len(group) - failed, failed)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return counts
