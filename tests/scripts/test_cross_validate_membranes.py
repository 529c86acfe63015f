"""Tests of scripts/cross_validate_membranes.py: which images train and which are held out, and the table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training_helpers import drawn_corpus

import cross_validate_membranes as script
from u2net_hf import UNetConfig, UNetForSemanticSegmentation, UNetImageProcessorPil

SIDE = 24


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for number, record in enumerate(drawn_corpus(11, side=SIDE)):
        for column in ("image", "mask"):
            file = tmp_path / "corpus" / f"{column}s" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            record[column].save(file)
    return tmp_path / "corpus"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """What was trained on and held out; instead of training, a network that says 1 everywhere is saved."""
    calls = []

    def train(arguments: Any, corpus: Any, held_out: Any) -> None:
        calls.append((corpus["name"][:], held_out["name"][:]))
        model = UNetForSemanticSegmentation(UNetConfig(num_channels=1, hidden_sizes=[2, 2]))
        torch.nn.init.zeros_(model.classifier.weight)
        model.classifier.bias.data = torch.tensor([-5.0, 5.0])
        model.save_pretrained(arguments.output_dir)
        UNetImageProcessorPil.from_config(model.config).save_pretrained(arguments.output_dir)

    monkeypatch.setattr(script, "train", train)
    return calls


def test_each_image_is_measured_once_by_a_network_that_has_not_seen_it(
    corpus: Path, trained: list[tuple[list[str], list[str]]], tmp_path: Path
) -> None:
    def run(fold: int | None) -> None:
        script.main(script.CrossValidation(str(corpus), str(tmp_path / "out"), folds=3, fold=fold))

    run(2)
    assert [held_out for _, held_out in trained] == [["4", "5", "6", "7"]]  # neighbors, and 10 is behind 9
    assert not (tmp_path / "out" / "results.md").exists()
    run(None)
    assert [held_out for _, held_out in trained[1:]] == [["0", "1", "2", "3"], ["8", "9", "10"]]  # fold 2 is there
    for others, held_out in trained:
        assert sorted(others + held_out, key=int) == [str(number) for number in range(11)]
    # A network that sees cells everywhere errs on all membranes, whichever way it looks at them.
    folds = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    for fold, names in zip(folds, (range(4), range(4, 8), range(8, 11)), strict=True):
        masks = [np.asarray(Image.open(corpus / "masks" / f"{name}.png")) > 127 for name in names]
        for way in ("plain", "rotations averaged"):
            assert fold[way]["pixel_error"] == pytest.approx(1 - np.mean(masks))
    assert len((tmp_path / "out" / "results.md").read_text(encoding="utf-8").splitlines()) == 2 + 2 * (3 + 2)


@pytest.mark.parametrize(("options", "message"), [({"folds": 1}, "--folds"), ({"fold": 6}, "--fold")])
def test_folds_that_cannot_be(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        script.CrossValidation("corpus", "out", **options)


def test_too_few_images(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 11 images, too few for 12 folds"):
        script.main(script.CrossValidation(str(corpus), str(tmp_path / "out"), folds=12))
