import contextlib
import io
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import datasets
import numpy as np
import pytest
from drawn_corpora import Draw, number_of_image, number_of_mask
from hub_server import Hub
from huggingface_hub import DatasetCard
from PIL import Image

from u2net_hf.cli import prepare_corpus
from u2net_hf.data.corpora import corpus_splits, load_corpus
from u2net_hf.utils.console import run_script

pytest_plugins = ["hub_fixtures"]


@pytest.fixture
def script() -> ModuleType:
    return prepare_corpus


@pytest.fixture
def source(tmp_path: Path, draw_tree: Draw) -> Path:
    draw_tree(
        {f"train/images/{n}.jpg": n for n in range(8)} | {"test/images/x.png": 9},
        {f"train/masks/{n}.png": n for n in range(8)} | {"test/masks/x.png": 9},
    )
    return tmp_path


class Result(NamedTuple):
    """What a run of the script ended with and said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def run(script: ModuleType, *arguments: str | Path) -> Result:
    status, out, err = 0, io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", ["prepare_corpus.py", *map(str, arguments)])
            run_script(script.main, script.__doc__ or "")
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    return Result(status, out.getvalue(), err.getvalue())


def test_the_remains_of_a_killed_run_are_removed(
    script: ModuleType, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "made" / "corpus"
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # nothing can be tidied up
        killed.setattr(script, "write_shards", lambda *_: 1 / 0)
        assert "ZeroDivisionError" in run(script, source, output).stderr
    assert len([*output.parent.glob(".corpus*")]) == 1
    assert run(script, source, output).exit_code == 0
    assert [path.name for path in output.parent.iterdir()] == ["corpus"]


def test_every_split_with_bytes_inside(script: ModuleType, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "corpus"
    result = run(script, source, output, "--license", "cc-by-4.0")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{output}: train 8 pairs, test 1 pairs\n"
    assert sorted(path.name for path in output.iterdir()) == ["README.md", "data"]
    assert [path.name for path in output.parent.iterdir()] == ["corpus"]

    plain = datasets.load_dataset(str(output))  # as someone without this package would
    assert {split: len(rows) for split, rows in plain.items()} == {"train": 8, "test": 1}
    undecoded = plain["train"].cast_column("image", datasets.Image(decode=False))
    for row in undecoded:
        assert row["image"]["bytes"] == (source / "train" / "images" / f"{row['name']}.jpg").read_bytes()
    for rows in plain.values():
        assert all(number_of_image(row["image"]) == number_of_mask(row["mask"]) for row in rows)
    assert plain["test"]["name"] == ["x"]

    assert corpus_splits(output) == ["train", "test"]
    assert load_corpus(output, "test")[0]["name"] == "x"


def test_card(script: ModuleType, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpus"
    run(script, source, output, "--license", "cc-by-4.0", "--title", "Gray squares")
    card = DatasetCard.load(output / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.pretty_name == "Gray squares"
    assert card.data.task_categories == ["image-segmentation"]
    assert card.data.size_categories == ["n<1K"]
    assert [split["num_examples"] for split in card.data.dataset_info["splits"]] == [8, 1]
    assert "| train | 8 |" in card.text
    assert str(tmp_path) not in card.content


def test_splits_of_ones_own(script: ModuleType, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpus"
    result = run(
        script, source, output, "--split", "train=train[:75%]", "--split", "validation=train[75%:]", "--split", "test"
    )
    assert result.exit_code == 0, result.output
    assert {split: len(load_corpus(output, split)) for split in corpus_splits(output)} == {
        "train": 6,
        "validation": 2,
        "test": 1,
    }
    assert load_corpus(output, "validation")["name"] == ["6", "7"]


def test_shards_are_limited(script: ModuleType, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "ROWS_PER_GROUP", 1)
    for number in range(8):
        Image.effect_noise((24, 16), 50).convert("RGB").save(source / "train" / "images" / f"{number}.jpg")
        assert 500 < (source / "train" / "images" / f"{number}.jpg").stat().st_size < 1500
    output = tmp_path / "corpus"
    result = run(script, source, output, "--split", "train", "--max_shard_size", "2KB")
    assert result.exit_code == 0, result.output
    names = [path.name for path in sorted((output / "data").iterdir())]
    assert len(names) >= 4
    assert names[0] == f"train-00000-of-{len(names):05d}.parquet"
    assert load_corpus(output)["name"] == [str(number) for number in range(8)]


def test_a_prepared_corpus_can_be_prepared_again(script: ModuleType, source: Path, tmp_path: Path) -> None:
    run(script, source, tmp_path / "one")
    result = run(script, tmp_path / "one", tmp_path / "two", "--split", "small=train[:3]")
    assert result.exit_code == 0, result.output
    assert load_corpus(tmp_path / "two")["name"] == ["0", "1", "2"]


def test_what_exists_is_replaced_only_if_asked(script: ModuleType, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpus"
    run(script, source, output, "--split", "test")
    result = run(script, source, output)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {output} exists; choose another folder, or give --overwrite to replace it.\n"
    assert corpus_splits(output) == ["test"]
    assert run(script, source, output, "--overwrite").exit_code == 0
    assert corpus_splits(output) == ["train", "test"]

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").touch()
    result = run(script, source, tmp_path / "precious", "--overwrite")
    assert result.exit_code == 1
    assert "was not made by this script and is not overwritten" in result.stderr
    assert (tmp_path / "precious" / "thesis.tex").exists()


def test_a_failure_half_way_leaves_what_was_there(
    script: ModuleType, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "corpus"
    run(script, source, output, "--split", "test")
    before = sorted(path.name for path in tmp_path.iterdir())

    def disk_is_full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(script, "dataset_card", disk_is_full)
    result = run(script, source, output, "--overwrite")
    assert result.exit_code == 1
    assert result.stderr == "Error: [Errno 28] No space left on device\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert corpus_splits(output) == ["test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "out"], "nothing: no such folder or file"),
        (["SOURCE", "out", "--split", "validation"], "has no split 'validation': there is train, test"),
        (["SOURCE", "out", "--split", "a/b=train"], "the name of a split has letters"),
        (["SOURCE", "out", "--max_shard_size", "1.5GB"], "--max_shard_size 1.5GB: expected a whole number"),
        (["SOURCE", "out", "--push_to_hub", "me/corpus"], "--push_to_hub needs --license"),
    ],
)
def test_errors_are_one_line(
    script: ModuleType, source: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    result = run(script, *(argument.replace("SOURCE", str(source)) for argument in arguments))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(path.name for path in source.iterdir()) == ["test", "train"]


def test_push_to_hub(
    script: ModuleType, source: Path, tmp_path: Path, connected_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", connected_hub.url)
    result = run(script, source, tmp_path / "corpus", "--license", "mit", "--push_to_hub", "me/corpus", "--private")
    assert result.exit_code == 0, result.output
    assert f"{connected_hub.url}/datasets/me/corpus" in result.stdout
    assert corpus_splits("me/corpus") == ["train", "test"]
    for streaming in (False, True):
        rows = list(load_corpus("me/corpus", "train", streaming=streaming))
        assert [row["name"] for row in rows] == [str(number) for number in range(8)]
        assert [number_of_image(row["image"]) for row in rows] == [number_of_mask(row["mask"]) for row in rows]


@pytest.mark.parametrize("name", ["no-user", "me/"])
def test_a_bad_repository_is_found_before_any_work(
    script: ModuleType, source: Path, tmp_path: Path, connected_hub: Hub, name: str
) -> None:
    result = run(script, source, tmp_path / "corpus", "--license", "mit", "--push_to_hub", name)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "corpus").exists()


def test_masks_keep_their_encoding(script: ModuleType, source: Path, tmp_path: Path) -> None:
    zero_or_one = Image.fromarray(np.eye(16, 24, dtype=np.uint8))
    zero_or_one.save(source / "test" / "masks" / "x.png")
    run(script, source, tmp_path / "corpus", "--split", "test")
    stored = datasets.load_dataset(str(tmp_path / "corpus"), split="test")[0]["mask"]
    np.testing.assert_array_equal(stored, zero_or_one)
    np.testing.assert_array_equal(load_corpus(tmp_path / "corpus")[0]["mask"], np.eye(16, 24) * 255)
