import io
import json
import logging
import os
import pickle
import tarfile
from contextlib import nullcontext
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Value
from datasets.exceptions import DatasetNotFoundError
from drawn_corpora import Draw, draw_image, draw_mask, number_of_image, number_of_mask
from PIL import Image
from torch.utils.data import DataLoader
from training_helpers import drawn_corpus

from u2net_hf.data import corpora
from u2net_hf.data.corpora import check_label_maps, check_masks, corpus_splits, load_corpus
from u2net_hf.data.sources import check_inside


def read(corpus: datasets.Dataset | datasets.IterableDataset) -> dict[str, tuple[int, int]]:
    """Decode a corpus: `{name: (number of the image, number of the mask)}`."""
    found = {}
    for row in corpus:
        assert list(row) == ["image", "mask", "name"]
        assert (row["image"].mode, row["mask"].mode) == ("RGB", "L")
        found[row["name"]] = (number_of_image(row["image"]), number_of_mask(row["mask"]))
    return found


def as_bytes(picture: Image.Image, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, suffix)
    return buffer.getvalue()


@pytest.mark.parametrize("streaming", [False, True])
def test_folder(tmp_path: Path, draw_tree: Draw, streaming: bool) -> None:
    draw_tree({"images/b.jpg": 2, "images/a.png": 1}, {"masks/a.png": 1, "masks/b.png": 2})
    corpus = load_corpus(tmp_path, streaming=streaming)
    assert isinstance(corpus, datasets.IterableDataset if streaming else datasets.Dataset)
    assert corpus.features == corpora.corpus_features()
    assert read(corpus) == {"a": (1, 1), "b": (2, 2)}


def test_folder_leaves_nothing_on_disk_and_can_be_pickled(tmp_path: Path, draw_tree: Draw) -> None:
    draw_tree({"images/a.jpg": 1}, {"masks/a.png": 1})
    corpus = load_corpus(str(tmp_path))
    assert corpus.cache_files == []
    assert read(pickle.loads(pickle.dumps(corpus))) == {"a": (1, 1)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "masks"]


@pytest.mark.parametrize("streaming", [False, True])
def test_worker_processes_read_each_pair_once(tmp_path: Path, draw_tree: Draw, streaming: bool) -> None:
    numbers = range(1, 8)
    draw_tree({f"images/{n}.png": n for n in numbers}, {f"masks/{n}.png": n for n in numbers})
    corpus = load_corpus(tmp_path, streaming=streaming)
    loader = DataLoader(corpus, batch_size=2, num_workers=2, collate_fn=lambda rows: rows)
    rows = [row for batch in loader for row in batch]
    assert sorted(int(row["name"]) for row in rows) == list(numbers)
    assert all(int(row["name"]) == number_of_image(row["image"]) == number_of_mask(row["mask"]) for row in rows)


def test_splits_and_their_other_names(tmp_path: Path, draw_tree: Draw) -> None:
    draw_tree({"train/images/a.jpg": 1, "val/images/b.jpg": 2}, {"train/masks/a.png": 1, "val/masks/b.png": 2})
    assert corpus_splits(tmp_path) == ["train", "validation"]
    assert read(load_corpus(tmp_path, "train")) == {"a": (1, 1)}
    for name in ("val", "validation"):
        assert read(load_corpus(tmp_path, name)) == {"b": (2, 2)}
    assert read(load_corpus(tmp_path / "val")) == {"b": (2, 2)}
    with pytest.raises(ValueError, match="several splits, and one must be named: there is train, validation"):
        load_corpus(tmp_path)
    with pytest.raises(ValueError, match="no split 'test': there is train, validation"):
        load_corpus(tmp_path, "test")


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("train[:3]", [0, 1, 2]), ("train[80%:]", [8, 9]), ("train[-1:]", [9]), ("train", range(10))],
)
def test_parts_of_a_split(tmp_path: Path, draw_tree: Draw, split: str, numbers: list[int]) -> None:
    draw_tree({f"images/{n}.png": n for n in range(10)}, {f"masks/{n}.png": n for n in range(10)})
    assert read(load_corpus(tmp_path, split)) == {str(n): (n, n) for n in numbers}
    assert read(load_corpus(tmp_path, split, streaming=True)) == {str(n): (n, n) for n in numbers}


def test_all_that_is_left_out_is_named_in_one_warning(
    tmp_path: Path, draw_tree: Draw, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("good", "lonely", "small", "broken")
    draw_tree({f"images/{name}.png": 3 for name in names}, {"masks/good.png": 3, "masks/extra.png": 3})
    draw_mask(3, size=(5, 4)).save(tmp_path / "masks" / "small.png")
    (tmp_path / "masks" / "broken.png").write_bytes(b"this is no picture")
    with caplog.at_level(logging.WARNING):
        corpus = load_corpus(tmp_path)
    assert read(corpus) == {"good": (3, 3)}
    [record] = caplog.records
    message = record.getMessage()
    assert "1 pairs; left out 4" in message
    for name in ("lonely.png", "extra.png", "small (image 24x16, mask 5x4)"):
        assert message.count(name) == 1
    assert "cannot be opened (1): broken" in message
    assert "good" not in message


def test_no_warning_without_a_reason(tmp_path: Path, draw_tree: Draw, caplog: pytest.LogCaptureFixture) -> None:
    draw_tree({"images/a.jpg": 1}, {"masks/a.png": 1})
    load_corpus(tmp_path)
    assert not caplog.records


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("damaged", ["images/a.jpg", "masks/a.png"])
def test_a_file_that_is_cut_off_is_named_when_it_is_decoded(
    tmp_path: Path, draw_tree: Draw, damaged: str, streaming: bool
) -> None:
    draw_tree({"images/a.jpg": 1}, {"masks/a.png": 1})
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    for file in ("images/a.jpg", "masks/a.png"):
        Image.fromarray(noise).save(tmp_path / file)
    content = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(content[: len(content) // 2])
    corpus = load_corpus(tmp_path, streaming=streaming)
    with pytest.raises(ValueError, match=f"Cannot decode the picture .*{damaged}.*truncated"):
        next(iter(corpus))


def test_masks_of_0_and_1_are_scaled_and_exif_is_applied(tmp_path: Path, draw_tree: Draw) -> None:
    draw_tree({"images/a.jpg": 1}, {"masks/a.png": 1})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4), "red").save(tmp_path / "images" / "a.jpg", exif=exif)
    Image.fromarray(np.eye(6, 4, dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
    [row] = load_corpus(tmp_path)
    assert row["image"].size == row["mask"].size == (4, 6)
    np.testing.assert_array_equal(np.asarray(row["mask"]), np.eye(6, 4) * 255)


def test_features_stay_through_the_methods_of_datasets(tmp_path: Path, draw_tree: Draw) -> None:
    draw_tree({f"images/{n}.jpg": n for n in range(4)}, {f"masks/{n}.png": n for n in range(4)})
    (tmp_path / "masks" / "1.png").write_bytes(as_bytes(Image.fromarray(np.ones((16, 24), np.uint8))))
    corpus = load_corpus(tmp_path).shuffle(seed=1).filter(lambda name: name == "1", input_columns="name")
    corpus = corpus.map(lambda name: {"length": len(name)}, input_columns="name")
    assert number_of_mask(corpus[0]["mask"]) == 24 * 16
    stored = json.loads(corpus.features.arrow_schema.metadata[b"huggingface"])["info"]["features"]
    assert stored["mask"] == {"mode": "L", "_type": "Image"}


@pytest.mark.parametrize("mask_column", ["mask", "gt"])
@pytest.mark.parametrize("streaming", [False, True])
def test_image_folder_with_metadata(tmp_path: Path, draw_tree: Draw, mask_column: str, streaming: bool) -> None:
    draw_tree({"images/a.jpg": 1, "images/b.jpg": 2}, {"masks/one.png": 1, "masks/two.png": 2})
    rows = [
        {"file_name": "images/a.jpg", f"{mask_column}_file_name": "masks/one.png"},
        {"file_name": "images/b.jpg", f"{mask_column}_file_name": "masks/two.png"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read(load_corpus(tmp_path, streaming=streaming)) == {"a": (1, 1), "b": (2, 2)}


def test_other_files_may_be_called_metadata(tmp_path: Path, draw_tree: Draw) -> None:
    draw_tree({"images/a.jpg": 1}, {"masks/a.png": 1})
    (tmp_path / "metadata.csv").write_text("isic_id,age\na,55\n")
    assert read(load_corpus(tmp_path)) == {"a": (1, 1)}


def hub_like(columns: tuple[str, str], paths: list[str | None]) -> Dataset:
    numbers = range(1, len(paths) + 1)
    features = Features({columns[0]: datasets.Image(), columns[1]: datasets.Image(), "width": Value("int64")})
    rows = {
        columns[0]: [{"bytes": as_bytes(draw_image(n)), "path": path} for n, path in zip(numbers, paths, strict=True)],
        columns[1]: [{"bytes": as_bytes(draw_mask(n)), "path": None} for n in numbers],
        "width": [24 for _ in numbers],
    }
    return Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("streaming", [False, True])
def test_parquet_with_other_columns(tmp_path: Path, streaming: bool) -> None:
    hub_like(("img", "label"), ["a.jpg", "b.jpg", "c.jpg"]).to_parquet(tmp_path / "data" / "train-00000.parquet")
    expected = {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert corpus_splits(tmp_path) == ["train"]
    corpus = load_corpus(tmp_path, streaming=streaming)
    assert read(pickle.loads(pickle.dumps(corpus))) == expected
    assert read(load_corpus(tmp_path / "data" / "train-00000.parquet", streaming=streaming)) == expected
    if streaming:
        with pytest.raises(ValueError, match="part of a split cannot be streamed"):
            load_corpus(tmp_path, "train[:2]", streaming=True)
    else:
        assert read(load_corpus(tmp_path, "train[1:]")) == {"b": (2, 2), "c": (3, 3)}


@pytest.mark.parametrize("paths", [[None, None], ["image.jpg", "image.jpg"]])
def test_rows_without_names_of_their_own_are_counted(tmp_path: Path, paths: list[str | None]) -> None:
    hub_like(("image", "mask"), paths).to_parquet(tmp_path / "some.parquet")
    assert read(load_corpus(tmp_path)) == {"000000": (1, 1), "000001": (2, 2)}


def test_parquet_that_datasets_did_not_write(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [as_bytes(draw_image(n)) for n in (1, 2)],
            "mask": [{"bytes": as_bytes(draw_mask(n)), "path": None} for n in (1, 2)],
            "name": ["x", "y"],
        }
    )
    pq.write_table(table, tmp_path / "some.parquet")
    assert read(load_corpus(tmp_path)) == {"x": (1, 1), "y": (2, 2)}


def test_rows_of_parquet_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pa.table(
        {
            "image": [as_bytes(draw_image(n)) for n in range(4)],
            "mask": [as_bytes(draw_mask(0)), as_bytes(draw_mask(0, size=(2, 2))), b"no picture", None],
            "name": ["good", "small", "broken", "none"],
        }
    )
    pq.write_table(table, tmp_path / "some.parquet")
    assert read(load_corpus(tmp_path)) == {"good": (0, 0)}
    [record] = caplog.records
    assert "left out 3" in record.getMessage()
    assert all(record.getMessage().count(name) == 1 for name in ("small (", "broken (", "none ("))


def test_columns_that_are_missing(tmp_path: Path) -> None:
    hub_like(("image", "depth"), ["a.jpg"]).to_parquet(tmp_path / "some.parquet")
    with pytest.raises(ValueError, match=r"its columns are image, depth, width, with pictures in image, depth"):
        load_corpus(tmp_path)


def test_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def load_dataset(name: str, **options: object) -> Dataset:
        asked.update(options, name=name)
        return hub_like(("image", "annotation"), ["a.jpg", "b.jpg"])

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read(load_corpus("someone/DUTS", "train[:1%]")) == {"a": (1, 1), "b": (2, 2)}
    assert asked == {"name": "someone/DUTS", "split": "train[:1%]", "streaming": False}


@pytest.mark.parametrize("error", [DatasetNotFoundError("doesn't exist"), ConnectionError("couldn't reach")])
def test_hub_id_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(name: str) -> list[str]:
        raise error

    monkeypatch.setattr(datasets, "get_dataset_split_names", fail)
    with pytest.raises(FileNotFoundError, match=f"someone/nothing is no folder or file here.*{error}"):
        load_corpus("someone/nothing")


def test_errors_say_what_was_looked_for(tmp_path: Path, draw_tree: Draw) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        load_corpus("nothing_of_this_name")
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        load_corpus(tmp_path / "missing")
    draw_tree({"photos/a.jpg": 1, "images/b.jpg": 1}, {})
    with pytest.raises(ValueError, match=r"no pairs of image and mask.*images, image, imgs.*masks, mask.*metadata"):
        load_corpus(tmp_path)
    with pytest.raises(ValueError, match="is a file; a corpus is a folder"):
        load_corpus(tmp_path / "photos" / "a.jpg")


def test_a_corpus_in_which_nothing_pairs(tmp_path: Path, draw_tree: Draw) -> None:
    draw_tree({"images/a.jpg": 1}, {"masks/b.png": 1})
    with pytest.raises(ValueError, match=r"no usable pair[^$]*without a mask \(1\): a.jpg[^$]*\(1\): b.png"):
        load_corpus(tmp_path)


def test_real_corpora(shared_data: Path) -> None:
    counts = {("salient", "train"): 2661, ("salient", "val"): 280, ("sod300", None): 300, ("isbi2012", "train"): 30}
    for (folder, split), count in counts.items():
        corpus = load_corpus(shared_data / folder, split)
        assert len(corpus) == count
        row = corpus[count // 2]
        assert row["image"].size == row["mask"].size
        stored = corpus.cast_column("mask", datasets.Image())
        for index in range(0, count, 40):
            above = np.asarray(stored[index]["mask"].convert("L")) > 128
            np.testing.assert_array_equal(corpus[index]["mask"], above * 255)


def test_masks_are_no_label_images(draw_tree: Draw, tmp_path: Path) -> None:
    draw_tree({f"images/{n}.png": n for n in range(3)}, {f"instances/{n}.png": n for n in range(3)})
    for path in (tmp_path / "instances").iterdir():
        Image.fromarray((np.asarray(draw_image(0).convert("L")) > 100) * np.uint8(255)).save(path)
    with pytest.raises(ValueError, match="holds masks, not label images: none numbers two objects"):
        check_label_maps(load_corpus(tmp_path, label_maps=True), tmp_path)
    labels = np.zeros((draw_image(0).height, draw_image(0).width), np.uint16)
    labels[:5, :5], labels[:5, 5:9] = 1, 2
    Image.fromarray(labels).save(tmp_path / "instances" / "1.png")
    check_label_maps(load_corpus(tmp_path, label_maps=True), tmp_path)


def test_check_masks() -> None:
    corpus = drawn_corpus(3)
    check_masks(corpus)
    check_masks(corpus.to_iterable_dataset())
    empty = drawn_corpus(3, empty=True)
    with pytest.raises(ValueError, match="All 3 masks are empty"):
        check_masks(empty)
    with pytest.raises(ValueError, match="The first 1000 masks are empty"):
        check_masks(empty.to_iterable_dataset())


def test_labels_in_masks_are_found_before_anything_begins(tmp_path: Path, draw_tree: Draw) -> None:
    """Wherever they are among the first hundred, with the file's name; then as objects, and as classes."""
    draw_tree({f"images/{n}.jpg": n for n in range(6)}, {f"masks/{n}.png": n for n in range(6)})
    labels = np.zeros((16, 24), np.uint8)
    labels[:, :3], labels[:, 3:8] = 1, 2
    Image.fromarray(labels).save(tmp_path / "masks" / "4.png")
    for streaming in (False, True):
        with pytest.raises(ValueError, match=r"4\.png: the mask holds 3 values, 0, 1, 2.*--object_values"):
            check_masks(load_corpus(tmp_path, streaming=streaming))
        corpus = load_corpus(tmp_path, streaming=streaming, object_values=["2"])
        masks = [np.asarray(row["mask"]) for row in corpus]
        np.testing.assert_array_equal(masks[4], (labels == 2) * 255)
        with pytest.raises(ValueError, match="masks are empty"):
            check_masks(load_corpus(tmp_path, streaming=streaming, object_values=["77"]))
        classes = [np.asarray(row["mask"]) for row in load_corpus(tmp_path, streaming=streaming, class_labels=True)]
        np.testing.assert_array_equal(classes[4], labels)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("splits", [False, True])
def test_what_save_to_disk_wrote(tmp_path: Path, streaming: bool, splits: bool) -> None:
    saved = hub_like(("image", "label"), ["a.jpg", "b.jpg", "c.jpg"])
    (datasets.DatasetDict({"train": saved, "test": saved.select([1])}) if splits else saved).save_to_disk(
        str(tmp_path / "x")
    )
    assert corpus_splits(tmp_path / "x") == (["train", "test"] if splits else ["train"])
    assert read(load_corpus(tmp_path / "x", "train", streaming)) == {"a": (1, 1), "b": (2, 2), "c": (3, 3)}
    assert read(load_corpus(tmp_path / "x", "train[1:]", streaming)) == {"b": (2, 2), "c": (3, 3)}
    if splits:
        assert read(load_corpus(tmp_path / "x", "test", streaming)) == {"b": (2, 2)}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fields", [("jpg", "png"), ("image.png", "mask.png")])
def test_webdataset(tmp_path: Path, fields: tuple[str, str], streaming: bool) -> None:
    with tarfile.open(tmp_path / "train-000.tar", "w") as archive:
        for number in (1, 2):
            for field, draw in zip(fields, (draw_image, draw_mask), strict=True):
                content = as_bytes(draw(number))
                member = tarfile.TarInfo(f"{number:04d}.{field}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    for spec in (tmp_path, tmp_path / "train-000.tar"):
        assert corpus_splits(spec) == ["train"]
        assert read(load_corpus(spec, streaming=streaming)) == {"0001": (1, 1), "0002": (2, 2)}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("escape", ["absolute", "../secret.png", "images/../../secret.png", "C:\\secret.png"])
def test_metadata_names_nothing_outside_the_corpus(tmp_path: Path, form: str, escape: str) -> None:
    """Neither as image nor as mask: the picture beside the corpus is never part of it."""
    draw_mask(1).save(tmp_path / "secret.png")
    folder = tmp_path / "corpus"
    (folder / "images").mkdir(parents=True)
    draw_image(1).save(folder / "images" / "a.png")
    escape = str(tmp_path / "secret.png") if escape == "absolute" else escape
    row = {"file_name": "images/a.png", "mask_file_name": escape}
    lines = [json.dumps(row)] if form == "jsonl" else [",".join(row), ",".join(row.values())]
    (folder / f"metadata.{form}").write_text("\n".join(lines))
    for streaming in (False, True):
        with pytest.raises(ValueError, match=rf"metadata\.{form} names .*outside its folder"):
            load_corpus(folder, streaming=streaming)
    with pytest.raises(ValueError, match="outside its folder"):
        corpus_splits(folder)


def test_state_of_a_saved_data_set_names_nothing_outside_it(tmp_path: Path) -> None:
    hub_like(("image", "mask"), ["a.jpg"]).save_to_disk(str(tmp_path / "x"))
    state = json.loads((tmp_path / "x" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../y.arrow"}]
    (tmp_path / "x" / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"state\.json names '\.\./y\.arrow'"):
        load_corpus(tmp_path / "x")


@pytest.mark.parametrize("state", ["nonsense", "{}", "[]", '{"_data_files": [7]}'])
def test_damaged_state_of_a_saved_data_set_is_named(state: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(state)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(ValueError, match=r"state\.json cannot be read; it is damaged, or of another kind: "):
        load_corpus(tmp_path)


def test_pictures_outside_a_table_are_not_read(tmp_path: Path) -> None:
    outside = {"image": [{"bytes": None, "path": "/etc/hostname"}], "mask": [{"bytes": None, "path": "/etc/hostname"}]}
    pq.write_table(pa.table(outside), tmp_path / "train.parquet")
    for spec in (tmp_path, tmp_path / "train.parquet"):
        with pytest.raises(ValueError, match=r"names '/etc/hostname', which is outside it"):
            load_corpus(spec)


@pytest.mark.parametrize("column", ["image", "mask"])
@pytest.mark.parametrize("place", ["/etc/hostname", "a/../../b.png", "https://example.org/a.png", "zip://a::/b.zip"])
def test_pictures_outside_a_streamed_table_are_not_read(column: str, place: str, tmp_path: Path) -> None:
    good = {"bytes": as_bytes(draw_mask(1)), "path": None}
    rows = {"image": [good], "mask": [good]} | {column: [{"bytes": None, "path": place}]}
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=rf"names '{place}', which is outside it"):
        next(iter(load_corpus(tmp_path, streaming=True)))


def test_a_streamed_table_may_have_pictures_in_its_folder(tmp_path: Path) -> None:
    for name, picture in {"a.png": draw_image(1), "b.png": draw_mask(1)}.items():
        picture.save(tmp_path / name)
    rows = {
        column: [{"bytes": None, "path": str(tmp_path / f"{name}.png")}]
        for column, name in {"image": "a", "mask": "b"}.items()
    }
    pq.write_table(pa.table(rows), tmp_path / "train.parquet")
    assert read(load_corpus(tmp_path, streaming=True)) == {"a": (1, 1)}


@pytest.mark.parametrize("empty", [None, {"bytes": None, "path": None}])
def test_a_row_without_a_picture_is_named(empty: dict | None, tmp_path: Path) -> None:
    picture = {"bytes": as_bytes(draw_mask(1)), "path": "a.png"}
    pq.write_table(pa.table({"image": [picture] * 2, "mask": [picture, empty]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"holds no picture in row 1 of its column mask"):
        list(load_corpus(tmp_path, streaming=True))


@pytest.mark.parametrize(
    ("path", "is_inside"),
    [
        ("hf://datasets/me/photos@0abc/a.png", True),
        ("zip://a.png::hf://datasets/me/photos@0abc/all.zip", True),
        ("hf://datasets/me/photos2@0abc/a.png", False),
        ("hf://datasets/other/private/a.png", False),
    ],
)
def test_pictures_streamed_from_the_hub_are_those_of_the_data_set(path: str, is_inside: bool) -> None:
    with nullcontext() if is_inside else pytest.raises(ValueError, match="is outside it"):
        check_inside(path, "me/photos")


def test_what_is_wrong_with_a_table_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train\.parquet cannot be read as a data set: .* file size is 0 bytes"):
        load_corpus(tmp_path / "train.parquet")


def test_what_is_no_file_is_named_and_the_rest_is_used(
    tmp_path: Path, draw_tree: Draw, caplog: pytest.LogCaptureFixture
) -> None:
    """A pipe would keep Pillow waiting; a link to itself and a name that is no UTF-8 stopped everything."""
    names = ("good", "pipe", "not-utf8-\udcff", "alone\x1b[31m")
    draw_tree({f"images/{name}.jpg": 1 for name in names}, {f"masks/{name}.png": 1 for name in names[:3]})
    (tmp_path / "images" / "pipe.jpg").unlink()
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    (tmp_path / "images" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "masks" / "loop.png").symlink_to("loop.png")
    assert list(read(load_corpus(tmp_path))) == ["good"]
    [said] = caplog.messages
    assert "pipe (is a pipe or a device, not a file)" in said
    assert "loop (" in said
    assert r"not-utf8-\udcff (" in said
    assert r"alone\x1b[31m.jpg" in said


def test_pictures_in_parquet_open_in_whatever_order_pillow_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that calls `Image.init` first makes Pillow ask its readers of rare formats before that of JPEG."""
    hub_like(("image", "mask"), ["a.jpg"]).to_parquet(tmp_path / "train.parquet")
    Image.init()
    monkeypatch.setattr(Image, "ID", ["IM", *(name for name in Image.ID if name != "IM")])
    assert read(load_corpus(tmp_path)) == {"a": (1, 1)}
