"""Tests of `train-sod` with soft maps, several corpora and regularization: from a network's maps to a student."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from corpus_helpers import make_model, write_photos
from training_helpers import run_training_script, write_corpus
from transformers import AutoModelForImageSegmentation

from u2net_hf.cli import train_sod
from u2net_hf.corpus.predict import Plan, predict_here
from u2net_hf.corpus.rows import Columns
from u2net_hf.data.photos import load_photos


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "masks", train=4, validation=2)


def run(log: Path, *arguments: Any) -> int:
    return run_training_script("train_sod.py", log, *arguments)


def test_a_student_learns_from_maps_and_masks_and_stays_near_its_start(tmp_path: Path, masks: Path) -> None:
    teacher, photos = make_model(tmp_path / "teacher"), write_photos(tmp_path / "photos", 5)
    plan = Plan(load_photos(photos, piece_size=2), str(tmp_path / "maps"), [teacher], Columns(image=True))
    list(predict_here(plan))
    log, output = tmp_path / "log", tmp_path / "student"
    given = ["--dataset_name", tmp_path / "maps", masks, "--dataset_weight", 3, 1, "--mask_column", "map", "auto"]
    given += ["--validation_dataset_name", tmp_path / "maps", "--validation_mask_column", "map"]
    given += ["--validation_split", "train", "--model_name_or_path", teacher, "--resolution", 32]
    given += ["--regularize_with", teacher, "--general_dataset", photos, "--general_weight", 0.5]
    given += ["--max_train_steps", 2, "--per_device_train_batch_size", 3, "--output_dir", output]
    assert run(log, *given) == 0, log.read_text()
    assert AutoModelForImageSegmentation.from_pretrained(output).num_parameters() > 0
    state = (output / "step_2" / "trainer_state.json").read_text()
    assert '"weights": [3.0, 1.0, 2.0]' in " ".join(state.split()).replace("[ ", "[").replace(" ]", "]")
    assert "max_f" in json.loads((output / "all_results.json").read_text())
    resumed = ["--resume_from_checkpoint", "latest", "--max_train_steps", 3, "--general_weight", 1]
    assert run(log, *given, *resumed) == 1
    assert "weights" in log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--regularize_with", "u2netp"], "belong together"),
        (["--dataset_weight", "1", "2"], "one corpus"),
        (["--mask_column", "a", "b"], "names 2 columns for 1 corpora"),
        (["--mask_column", "map"], "has no column 'map'"),
        (["--dataset_name", "more", "--streaming", "--max_train_steps", "1"], "--streaming takes one corpus"),
        (["--regularize_with", "u2netp", "--general_dataset", "x", "--num_labels", "2"], "goes without"),
    ],
)
def test_mistakes_are_said_before_the_work(
    masks: Path, tmp_path: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    given = ["train-sod", "--dataset_name", str(masks), "--output_dir", str(tmp_path / "run"), *options]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as stopped:
        train_sod.run()
    assert stopped.value.code == 1
    assert message in capsys.readouterr().err
