"""Evaluation from end to end, on drawn corpora: the script, its files, and that processes do not change a number."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from datasets import Dataset
from huggingface_hub import constants
from PIL import Image
from run_script import SCRIPTS, run_script
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.data.corpora import corpus_features
from u2net_hf.evaluation.evaluation import evaluate_corpus
from u2net_hf.evaluation.results import CURVES, Results, Score, read_results, results_table, write_results
from u2net_hf.sod_metrics import MEASURES

SIZES = [(40, 30), (33, 47), (64, 64), (21, 20), (50, 31)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photos with masks, and maps of one method: blurred masks with noise, one at another size than its mask."""
    folder, rng = tmp_path_factory.mktemp("corpora") / "drawn", np.random.default_rng(0)
    for name in ("images", "masks", "maps"):
        (folder / name).mkdir(parents=True)
    for number, (width, height) in enumerate(SIZES):
        y, x = np.mgrid[:height, :width]
        mask = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (5 + number) ** 2
        photo = np.where(mask[..., None], 200, 50) + rng.integers(0, 50, (height, width, 3))
        Image.fromarray(photo.astype(np.uint8)).save(folder / "images" / f"{number}.jpg")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
        noisy = Image.fromarray(np.clip(mask * 180 + rng.integers(0, 75, mask.shape), 0, 255).astype(np.uint8))
        noisy = noisy.resize((width * 2, height * 2)) if number == 1 else noisy
        noisy.save(folder / "maps" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def evaluate(*arguments: object) -> int:
    return run_script("evaluate_sod.py", *arguments)


def evaluate_with_two_processes(*arguments: object) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launch, str(SCRIPTS / "evaluate_sod.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def numbers(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "results.json").read_text())
    return {name: value for name, value in content.items() if name not in ("date", "processes", "seconds")}


def test_a_folder_of_maps_gets_the_numbers_of_a_plain_loop(corpus: Path, tmp_path: Path) -> None:
    assert evaluate("--maps", corpus / "maps", "--data", corpus, "--output_dir", tmp_path, "--hce") == 0
    precisions, recalls, errors = [], [], []
    for number, size in enumerate(SIZES):
        saliency = np.asarray(
            Image.open(corpus / "maps" / f"{number}.png").resize(size, Image.Resampling.BILINEAR), dtype=float
        )
        mask = np.asarray(Image.open(corpus / "masks" / f"{number}.png"))
        errors.append(abs(saliency / 255 - mask).mean())
        found = [saliency >= threshold for threshold in range(256)]
        precisions.append([(one & mask).sum() / one.sum() if one.any() else 0 for one in found])
        recalls.append([(one & mask).sum() / mask.sum() for one in found])
    precision, recall = np.mean(precisions, axis=0), np.mean(recalls, axis=0)
    f_beta = 1.3 * precision * recall / np.maximum(0.3 * precision + recall, 1e-12)
    results = read_results(tmp_path)
    (score,) = results.data
    assert score.images == 5
    assert score.name == "drawn"
    assert score.metrics["mae"] == pytest.approx(np.mean(errors), abs=1e-12)
    assert score.metrics["max_f"] == pytest.approx(f_beta.max(), abs=1e-9)
    assert set(score.metrics) == set(MEASURES)
    assert score.variant == {"averaging": "dataset", "maps": "from files"}
    assert all(len(score.curves[curve]) == 256 for curve in CURVES)
    assert results.num_parameters is None
    assert f"{score.metrics['max_f']:.3f}" in (tmp_path / "results.md").read_text()
    for picture in ("curves.png", "worst_and_best.png"):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 200
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def test_processes_and_saved_maps_change_no_number(corpus: Path, model_dir: Path, tmp_path: Path) -> None:
    arguments = ("--model", model_dir, "--data", corpus, "--do-min-max", "--no-do-antialias")
    one = (*arguments, "--output_dir", tmp_path / "one", "--save-maps", tmp_path / "maps", "--batch-size", 2)
    assert evaluate(*one) == 0
    assert evaluate("--maps", tmp_path / "maps", "--data", corpus, "--output_dir", tmp_path / "saved") == 0
    two = evaluate_with_two_processes(*arguments, "--output_dir", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    assert json.loads((tmp_path / "two" / "results.json").read_text())["processes"] == 2
    (from_model,), (from_files,) = numbers(tmp_path / "one")["data"], numbers(tmp_path / "saved")["data"]
    assert from_model["metrics"] == from_files["metrics"]
    assert from_model["variant"] == {
        "averaging": "dataset",
        "engine": "torch",
        "dtype": "float32",
        "size": "32x32",
        "do_antialias": False,
        "do_scale_by_max": True,
        "do_min_max": True,
    }


def test_another_engine_is_recorded_and_gets_nearly_the_same_numbers(
    corpus: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    arguments = ("--model", model_dir, "--data", corpus, "--output_dir")
    assert evaluate(*arguments, tmp_path / "torch") == 0
    assert evaluate(*arguments, tmp_path / "onnx", "--engine", "onnxruntime") == 0
    ours, theirs = read_results(tmp_path / "torch"), read_results(tmp_path / "onnx")
    assert theirs.data[0].variant == {**ours.data[0].variant, "engine": "onnxruntime"}
    assert theirs.data[0].metrics == pytest.approx(ours.data[0].metrics, abs=1e-3)
    assert theirs.num_parameters == U2NetForImageSegmentation.from_pretrained(model_dir).num_parameters()
    assert evaluate(*arguments, tmp_path / "no", "--engine", "onnxruntime", "--no-do-scale-by-max") == 1
    assert "divides images by their maximum itself" in capsys.readouterr().err


def test_mistakes_are_one_line_and_leave_no_results(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "maps").mkdir()
    for arguments, message in (
        (("--data", corpus), "either a --model or a folder of --maps"),
        (("--maps", tmp_path / "maps", "--data", corpus), "no map for 5 of 5 photos: 0, 1, 2, 3, 4"),
        (("--model", "u2netp", "--data", tmp_path / "nowhere"), "nowhere"),
    ):
        assert evaluate(*arguments, "--output_dir", tmp_path / "out") == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_broken_results_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"model": "half')
    with pytest.raises(ValueError, match=r"results\.json is no results file"):
        read_results(tmp_path)


def test_a_write_that_fails_leaves_the_old_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results("a", 1, [], "today", {}, 1, 0.0)
    write_results(results, tmp_path / "results.json")

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_results(Results("b", 2, [], "today", {}, 1, 0.0), tmp_path / "results.json")
    assert read_results(tmp_path).model == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_the_table_has_the_papers_order() -> None:
    score = Score("SOD|300", "test", 300, dict.fromkeys(MEASURES, 0.5), {"averaging": "dataset"}, {})
    lines = results_table([score]).splitlines()
    assert lines[0] == "| measure | SOD/300 (test), 300 images |"
    assert [line.split()[1] for line in lines[2:7]] == ["max", "MAE", "weighted", "S-measure", "relaxed"]
    assert lines[-1] == "| variant | averaging=dataset |"


def test_model_sizes_are_drawn_from_results_files(
    corpus: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--model", model_dir, "--data", corpus, "--output_dir", tmp_path / "tiny") == 0
    assert run_script("draw_model_sizes.py", tmp_path / "tiny", "-o", tmp_path / "sizes.png") == 0
    with Image.open(tmp_path / "sizes.png") as image:
        assert min(image.size) > 200
    assert run_script("draw_model_sizes.py", tmp_path / "missing") == 1
    assert "missing" in capsys.readouterr().err


def test_masks_of_classes_need_a_word(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values 0, 1 and 2 are refused by name; named, they give the numbers of the plain masks."""
    plain = ("--maps", corpus / "maps", "--data", corpus, "--output_dir", tmp_path / "plain")
    labeled = tmp_path / corpus.name
    shutil.copytree(corpus, labeled)
    for file in labeled.glob("masks/*.png"):
        values = np.asarray(Image.open(file)).astype(np.uint8) * 2
        values[0] = 1
        Image.fromarray(values).save(file)
    given = ("--maps", corpus / "maps", "--data", labeled, "--output_dir", tmp_path / "labeled")
    assert evaluate(*given) == 1
    assert "the mask holds 3 values, 0, 1, 2" in capsys.readouterr().err
    assert evaluate(*plain) == evaluate(*given, "--object_values", "2") == 0
    assert numbers(tmp_path / "plain") == numbers(tmp_path / "labeled")


def test_a_corpus_without_objects_and_one_that_names_other_folders(tmp_path: Path) -> None:
    def rows(value: int, name: str) -> Any:
        columns = {"image": [Image.new("RGB", (9, 9))], "mask": [Image.new("L", (9, 9), value)], "name": [name]}
        return Dataset.from_dict(columns, features=corpus_features())

    maps = lambda batches: ((row, Image.new("L", (9, 9))) for rows in batches for row in rows)  # noqa: E731
    with pytest.raises(ValueError, match="All 1 masks are empty"):
        evaluate_corpus(rows(0, "a"), maps, Accelerator(cpu=True))
    with pytest.raises(ValueError, match=r"names a photo '\.\./a\.png'"):
        evaluate_corpus(rows(255, "../a"), maps, Accelerator(cpu=True), save_maps=tmp_path / "maps")
    assert not list(tmp_path.iterdir())
