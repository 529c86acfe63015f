"""Tests of u2net_hf.corpus: `predict` makes what `remove --mask` and `segment` make, whole or not at all."""

import errno
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from cell_models import bright_finder
from corpus_helpers import make_model, read_rows, remove_masks, write_photos
from datasets import load_dataset
from PIL import Image

from u2net_hf.corpus import predict as predict_module
from u2net_hf.corpus.predict import Plan, predict_here, weights_digest
from u2net_hf.corpus.rows import Columns
from u2net_hf.corpus.target import Counts, TargetError
from u2net_hf.data.corpora import load_corpus
from u2net_hf.data.photos import load_photos
from u2net_hf.engines import load_engine, torch_engine
from u2net_hf.models.u2net.pixels_u2net import resize_map
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.removal.removal import remove_background
from u2net_hf.segmentation.segmentation import segment_image

PIECE = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 5)


def run(source: object, target: object, model: str, **options: Any) -> list[Counts]:
    photos = load_photos(str(source), piece_size=PIECE)
    return list(predict_here(Plan(photos, str(target), [model], **options)))


def decoded(cell: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(cell["bytes"])))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_maps_are_those_of_remove_to_the_bit(photos: Path, tmp_path: Path, model: str, batch_size: int) -> None:
    assert sum(run(photos, tmp_path / "maps", model, batch_size=batch_size), Counts()) == Counts(5, 0)
    rows = read_rows(tmp_path / "maps")
    assert {name: row["map"]["bytes"] for name, row in rows.items()} == remove_masks(photos, model, batch_size)
    assert all(row["error"] is None for row in rows.values())


def test_other_columns(photos: Path, tmp_path: Path, model: str) -> None:
    columns = Columns(bits=16, cut_out=True, image=True)
    run(photos, tmp_path / "maps", model, columns=columns)
    engine = load_engine(model, dtype="auto")
    for name, row in read_rows(tmp_path / "maps").items():
        path = photos / f"{name}.png"
        assert row["image"]["bytes"] == path.read_bytes()
        image = Image.open(path)
        soft_map = resize_map(engine([engine.reduce(image)], None, False)[0], image.height, image.width)
        assert np.abs(decoded(row["map"]) / 65535 - soft_map).max() <= 0.5 / 65535 + 1e-7
        np.testing.assert_array_equal(decoded(row["cut_out"]), np.asarray(remove_background(path, engine)))
    with pytest.raises(ValueError, match="bits must be 8 or 16"):
        Columns(bits=12)


def test_labels_are_those_of_segment(tmp_path: Path) -> None:
    finder = bright_finder(tmp_path / "finder")
    (tmp_path / "cells").mkdir()
    pixels = np.zeros((64, 80), np.uint8)
    pixels[10:30, 10:30] = pixels[40:60, 50:70] = 255
    Image.fromarray(pixels).save(tmp_path / "cells" / "a.png")
    Image.new("L", (64, 64)).save(tmp_path / "cells" / "b.png")
    run(tmp_path / "cells", tmp_path / "labels", str(finder))
    rows = read_rows(tmp_path / "labels")
    for name in ("a", "b"):
        expected = segment_image(tmp_path / "cells" / f"{name}.png", finder).labels
        np.testing.assert_array_equal(decoded(rows[name]["labels"]), expected)
    assert decoded(rows["a"]["labels"]).max() == 2
    with pytest.raises(ValueError, match="soft maps"):
        run(tmp_path / "cells", tmp_path / "x", str(finder), columns=Columns(cut_out=True))
    pytest.importorskip("onnxruntime")
    run(tmp_path / "cells", tmp_path / "onnx", str(finder), engine="onnxruntime")
    assert '"engine": "onnxruntime"' in (tmp_path / "onnx" / "variant.json").read_text()
    for name, row in read_rows(tmp_path / "onnx").items():
        np.testing.assert_array_equal(decoded(row["labels"]), decoded(rows[name]["labels"]))


def test_a_bad_record_is_a_row_with_its_error(photos: Path, tmp_path: Path, model: str) -> None:
    (photos / "2.png").write_bytes(b"no picture")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:200])
    assert sum(run(photos, tmp_path / "maps", model), Counts()) == Counts(3, 2)
    rows = read_rows(tmp_path / "maps")
    assert [name for name, row in rows.items() if row["error"]] == ["2", "3"]
    assert all((row["map"] is None) == bool(row["error"]) for row in rows.values())
    assert "2.png" in rows["2"]["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_written_as_one(photos: Path, tmp_path: Path, model: str) -> None:
    (photos / "1.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    assert sum(run(photos, tmp_path / "maps", model, columns=Columns(image=True)), Counts()) == Counts(5, 0)
    assert r"caf\udce9" in read_rows(tmp_path / "maps")


def test_datasets_reads_the_target_and_a_training_its_maps(photos: Path, tmp_path: Path, model: str) -> None:
    (photos / "2.png").write_bytes(b"no picture")
    run(photos, tmp_path / "maps", model, columns=Columns(image=True, bits=16))
    table = load_dataset(str(tmp_path / "maps"), split="train", cache_dir=str(tmp_path / "cache"))
    assert table.column_names == ["name", "image", "map", "error"]
    assert table[0]["map"].size == table[0]["image"].size
    corpus = load_corpus(tmp_path / "maps", mask_column="map")
    assert corpus["name"][:] == ["0", "1", "3", "4"]  # the bad one is left out
    expected = decoded(read_rows(tmp_path / "maps")["1"]["map"]) / 257
    np.testing.assert_allclose(np.asarray(corpus[1]["mask"]), expected, rtol=1e-6)


def test_a_second_run_makes_only_what_is_missing(photos: Path, tmp_path: Path, model: str) -> None:
    target = tmp_path / "maps"
    assert len(run(photos, target, model)) == 3
    before = read_rows(target)
    kept, *lost = sorted((target / "data").iterdir())
    kept_state = kept.stat().st_mtime_ns
    for shard in lost:
        shard.unlink()
    assert run(photos, target, model) == [Counts(2, 0), Counts(1, 0)]
    assert run(photos, target, model) == []
    assert read_rows(target) == before
    assert kept.stat().st_mtime_ns == kept_state


def test_stopped_anywhere_there_are_whole_files_only(
    photos: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predict_module.MakeMaps.__call__

    def breaks(self: Any, records: Any) -> Any:
        for row in whole(self, records):
            if row["name"] == "3":
                raise KeyboardInterrupt
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(predict_module.MakeMaps, "__call__", breaks)
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path / "maps", model)
    assert [path.name for path in (tmp_path / "maps" / "data").iterdir()] == ["part-000000-of-000003.parquet"]
    run(photos, tmp_path / "maps", model)
    assert sorted(read_rows(tmp_path / "maps")) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda photos, options: options.update(dtype="bfloat16"), "dtype float32, not bfloat16"),
        (lambda photos, options: options.update(engine="onnxruntime"), "engine torch, not onnxruntime"),
        (lambda photos, options: options.update(columns=Columns(bits=16)), "bits 8, not 16"),
        (lambda photos, options: (photos / "x.png").write_bytes(b"more"), "pieces"),
    ],
    ids=["dtype", "engine", "bits", "source"],
)
def test_another_variant_is_refused(
    photos: Path,
    tmp_path: Path,
    model: str,
    change: Callable[[Path, dict], None],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda dtype: True)  # also where it is emulated
    options: dict[str, Any] = {"dtype": "float32"}
    run(photos, tmp_path / "maps", model, **options)
    before = read_rows(tmp_path / "maps")
    change(photos, options)
    with pytest.raises(TargetError, match=rf"maps was made with {message}.*another folder"):
        run(photos, tmp_path / "maps", model, **options)
    assert read_rows(tmp_path / "maps") == before


def test_other_weights_are_another_variant(photos: Path, tmp_path: Path, model: str) -> None:
    run(photos, tmp_path / "maps", model)
    other = make_model(tmp_path / "other" / Path(model).name, seed=1)
    assert weights_digest(other) != weights_digest(model)
    with pytest.raises(TargetError, match="digest"):
        run(photos, tmp_path / "maps", other)


def test_a_target_with_other_files_is_left_alone(photos: Path, tmp_path: Path, model: str) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "thesis.txt").write_text("mine")
    with pytest.raises(TargetError, match="not empty"):
        run(photos, tmp_path / "maps", model)
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["thesis.txt"]


def test_a_full_disk_is_said_and_nothing_is_lost(
    photos: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(pq.ParquetWriter):
        def write_table(self, table: Any, *arguments: Any, **options: Any) -> None:
            if table["name"][0].as_py() == "2":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write_table(table, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetWriter", FullDisk)
        with pytest.raises(TargetError, match="maps cannot be written: No space left on device"):
            run(photos, tmp_path / "maps", model)
    assert len(list((tmp_path / "maps" / "data").iterdir())) == 1
    run(photos, tmp_path / "maps", model)
    assert len(read_rows(tmp_path / "maps")) == 5


def test_a_bucket_as_source_and_target(photos: Path, tmp_path: Path, model: str) -> None:
    system, place = fsspec.filesystem("memory"), f"/{tmp_path.name}"
    for path in photos.iterdir():
        system.pipe_file(f"{place}/photos/{path.name}", path.read_bytes())
    run(f"memory:/{place}/photos", f"memory:/{place}/maps", model)
    assert run(f"memory:/{place}/photos", f"memory:/{place}/maps", model) == []
    run(photos, tmp_path / "maps", model)
    for shard in (tmp_path / "maps" / "data").iterdir():
        assert pq.read_table(io.BytesIO(system.cat_file(f"{place}/maps/data/{shard.name}"))).equals(
            pq.read_table(shard)
        )


def test_a_bucket_without_rights_is_said(
    photos: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    with pytest.raises(TargetError, match="memory://denied cannot be written: Access Denied"):
        run(photos, "memory://denied", model)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", refuse)
    with pytest.raises(OSError, match="memory://denied cannot be listed: Access Denied"):
        load_photos("memory://denied")


def test_the_variant_says_how_the_maps_were_made(photos: Path, tmp_path: Path, model: str) -> None:
    run(photos, tmp_path / "maps", model, dtype="float32")
    variant = json.loads((tmp_path / "maps" / "variant.json").read_text())
    told = {name: variant[name] for name in ("model", "digest", "engine", "dtype", "size", "bits")}
    expected = {"model": Path(model).name, "digest": weights_digest(model), "engine": "torch", "dtype": "float32"}
    assert told == {**expected, "size": "32x32", "bits": "8"}


def test_the_mean_of_models_and_another_engine(photos: Path, tmp_path: Path, model: str) -> None:
    pytest.importorskip("onnxruntime")
    other = make_model(tmp_path / "other", seed=1)
    records = load_photos(photos, piece_size=PIECE)
    for engine in ("torch", "onnxruntime"):
        target = tmp_path / engine
        list(predict_here(Plan(records, str(target), [model, other], engine=engine, dtype="float32")))
        network = load_engine([model, other], engine, dtype="float32")
        for name, row in read_rows(target).items():
            expected = remove_background(photos / f"{name}.png", network, RenderOptions(mask=True))
            np.testing.assert_array_equal(decoded(row["map"]), np.asarray(expected))


def test_a_cluster_that_is_not_there_is_said_at_once(photos: Path, tmp_path: Path, model: str) -> None:
    pytest.importorskip("ray")
    from u2net_hf.corpus.on_ray import predict_on_ray

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plan = Plan(load_photos(photos), str(tmp_path / "maps"), [model])
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:port"):
        with pytest.raises(ConnectionError, match=f"cluster {address} cannot be reached"):
            next(predict_on_ray(plan, address=address))
    assert not (tmp_path / "maps").exists()
