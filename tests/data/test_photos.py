"""Tests of u2net_hf.data.photos: the photos of every kind of corpus, in pieces that are read apart from each other."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from u2net_hf.data.photos import StoredPhoto, load_photo_table, load_photos

NAMES = [f"photo {number}" for number in range(5)]


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 10 * number, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


PHOTOS = dict(zip(NAMES, map(png, range(5)), strict=True))


def folder(root: Path) -> str:
    for name, data in PHOTOS.items():
        (root / f"{name}.png").write_bytes(data)
    (root / "notes.txt").write_text("no photo")
    (root / ".hidden.png").write_bytes(png(9))
    return str(root)


def pairs(root: Path) -> str:
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
        for name, data in PHOTOS.items():
            (root / "val" / kind / f"{name}.png").write_bytes(data if kind == "images" else png(0))
    return str(root)


def parquet(root: Path, row_group_size: int = 2) -> str:
    rows = [{"image": {"bytes": data, "path": "x.png"}, "name": name} for name, data in PHOTOS.items()]
    pq.write_table(pa.Table.from_pylist(rows), root / "photos.parquet", row_group_size=row_group_size)
    return str(root)


def tar(root: Path) -> str:
    with tarfile.open(root / "photos.tar", "w") as file:
        for name, data in PHOTOS.items():
            member = tarfile.TarInfo(f"{name}.png")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return str(root / "photos.tar")


def metadata(root: Path) -> str:
    folder(root)
    (root / ".hidden.png").unlink()
    lines = [f'{{"file_name": "{name}.png", "name": "{name}"}}\n' for name in NAMES]
    (root / "metadata.jsonl").write_text("".join(lines))
    return str(root)


def saved(root: Path) -> str:
    columns = {"image": [{"bytes": data, "path": None} for data in PHOTOS.values()], "name": NAMES}
    features = datasets.Features({"image": datasets.Image(), "name": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(root / "saved"))
    return str(root / "saved")


def address(root: Path) -> str:
    system, place = fsspec.filesystem("memory"), f"/{root.name}"
    for name, data in PHOTOS.items():
        system.pipe_file(f"{place}/{name}.png", data)
    return f"memory:/{place}"


def address_of_parquet(root: Path) -> str:
    parquet(root)
    place = f"/{root.name}-parquet/photos.parquet"
    fsspec.filesystem("memory").pipe_file(place, (root / "photos.parquet").read_bytes())
    return f"memory:/{place}"


KINDS: list[Callable[[Path], str]] = [
    folder,
    pairs,
    parquet,
    tar,
    metadata,
    saved,
    address,
    address_of_parquet,
]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_photos_of_every_kind_come_as_they_are_stored(tmp_path: Path, make: Callable[[Path], str]) -> None:
    photos = load_photos(make(tmp_path), piece_size=2)
    pieces = [list(photos.read(piece)) for piece in range(len(photos))]
    found = {photo.name: photo.data for piece in pieces for photo in piece}
    assert found == PHOTOS
    assert [len(piece) for piece in pieces] == ([5] if make is tar else [2, 2, 1])
    assert photos.num_photos == (None if make is tar else 5)
    assert list(photos.read(0)) == pieces[0]  # a piece can be read again


@pytest.mark.parametrize("row_group_size", [1, 2, 3, 5])
@pytest.mark.parametrize("piece_size", [1, 2, 4])
def test_pieces_of_parquet_cut_row_groups_anywhere(tmp_path: Path, row_group_size: int, piece_size: int) -> None:
    photos = load_photos(parquet(tmp_path, row_group_size), piece_size=piece_size)
    found = [photo.name for piece in range(len(photos)) for photo in photos.read(piece)]
    assert found == NAMES


def test_a_part_of_a_split(tmp_path: Path) -> None:
    photos = load_photos(pairs(tmp_path), "validation[1:3]")
    assert [photo.name for photo in photos.read(0)] == NAMES[1:3]


def test_without_names_they_are_those_of_files_or_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": list(PHOTOS.values())}), tmp_path / "photos.parquet")
    photos = load_photos(tmp_path / "photos.parquet", piece_size=2)
    assert [photo.name for photo in photos.read(1)] == ["000002", "000003"]
    (tmp_path / "two").mkdir()
    for suffix in ("webp", "gif"):
        (tmp_path / "two" / f"cat.{suffix}").write_bytes(png(1))
    assert [photo.name for photo in load_photos(tmp_path / "two").read(0)] == ["cat.gif", "cat.webp"]


def test_rows_of_a_saved_data_set_whose_names_are_empty_are_counted(tmp_path: Path) -> None:
    columns = {"image": [{"bytes": png(1), "path": None}] * 3, "name": ["a", None, ""]}
    features = datasets.Features({"image": datasets.Image(), "name": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path))
    assert [photo.name for photo in load_photos(tmp_path).read(0)] == ["a", "000001", "000002"]


def test_another_content_has_another_digest(tmp_path: Path) -> None:
    before = load_photos(folder(tmp_path), piece_size=2).digest
    assert load_photos(tmp_path, piece_size=2).digest == before
    assert load_photos(tmp_path, piece_size=3).digest != before
    (tmp_path / "aaa.png").write_bytes(png(1))
    assert load_photos(tmp_path, piece_size=2).digest != before


def test_a_path_outside_the_corpus_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "corpus").mkdir()
    rows = [{"image": {"bytes": None, "path": str(tmp_path / "secret.png")}, "name": "a"}]
    rows += [{"image": {"bytes": None, "path": "http://127.0.0.1/x.png"}, "name": "b"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "corpus" / "photos.parquet")
    for photo in load_photos(tmp_path / "corpus").read(0):
        assert photo.data is None
        assert "outside it" in str(photo.error)
        with pytest.raises(OSError, match="outside it"):
            photo.stream()


def test_a_stream_is_named_as_the_file() -> None:
    assert StoredPhoto("a", b"x", "folder/a.heic").stream().name == "folder/a.heic"
    assert StoredPhoto("a", b"x").stream().name == "a"


def test_a_table_of_photos_decodes_them(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for spec in (folder(tmp_path / "a"), parquet(tmp_path / "b")):
        table = load_photo_table(spec)
        assert table["name"][:] == NAMES
        assert np.asarray(table[3]["image"]).max() == 30
        assert table[3]["image"].mode == "RGB"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("memory://nothing/here", "nothing is there"),
        ("nosuch://bucket/photos", "cannot be opened"),
        ("nowhere/at/all", "no such folder or file"),
    ],
)
def test_what_is_not_there_is_said(spec: str, message: str) -> None:
    with pytest.raises((OSError, ValueError), match=message):
        load_photos(spec)


def test_a_table_without_photos_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "texts.parquet")
    with pytest.raises(ValueError, match=r"needs a column of images .* its columns are text"):
        load_photos(tmp_path / "texts.parquet")
