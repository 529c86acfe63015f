import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_pairs import PAIRS
from PIL import Image

import u2net_hf.sod_metrics
from u2net_hf.sod_metrics import MEASURES, SODMetrics

evaluate = pytest.importorskip("evaluate")

FOLDER = Path(u2net_hf.sod_metrics.__file__).parent
MAPS, MASKS = (list(arrays) for arrays in zip(*PAIRS.values(), strict=True))


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`evaluate.load` of the folder, with a cache of its own."""
    return lambda **kwargs: evaluate.load(str(FOLDER), cache_dir=str(tmp_path), **kwargs)


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    metrics = SODMetrics()
    metrics.update(MAPS, MASKS)
    return metrics.compute()


def test_compute_at_once(load: Any, expected: dict[str, float]) -> None:
    metric = load()
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=MAPS, references=MASKS) == expected
    assert metric.compute(predictions=MAPS, references=MASKS) == expected  # nothing is left of the first
    assert {type(value) for value in expected.values()} == {float}


def test_add_and_add_batch(load: Any, expected: dict[str, float]) -> None:
    metric = load()
    metric.add(prediction=MAPS[0], reference=MASKS[0])
    metric.add_batch(predictions=MAPS[1:5], references=MASKS[1:5])
    assert len(metric) == 5
    metric.add_batch(predictions=MAPS[5:], references=MASKS[5:])
    assert metric.compute() == expected
    assert len(metric) == 0


@pytest.mark.parametrize(
    "kind",
    [torch.from_numpy, Image.fromarray, lambda array: (array / array.max()).tolist()],
    ids=["torch", "PIL", "lists"],
)
def test_kinds_of_images(load: Any, kind: Any) -> None:
    chosen = [(prediction, mask) for prediction, mask in zip(MAPS, MASKS, strict=True) if mask.any()]
    metrics = SODMetrics()
    metrics.update(*map(list, zip(*chosen, strict=True)))
    metric = load()
    for prediction, mask in chosen:
        metric.add(prediction=kind(prediction), reference=kind(mask))
    assert metric.compute() == {name: pytest.approx(value, abs=1e-9) for name, value in metrics.compute().items()}


def test_batch_tensors(load: Any) -> None:
    maps, masks = torch.rand(3, 1, 9, 7), torch.rand(3, 1, 9, 7) > 0.5
    metrics = SODMetrics()
    metrics.update(maps, masks)
    metric = load()
    metric.add_batch(predictions=maps, references=masks)
    assert metric.compute() == metrics.compute()


def test_options(load: Any) -> None:
    metrics = SODMetrics()
    metrics.update(MAPS, MASKS)
    for options in ({"averaging": "image"}, {"measures": ["mae", "iou"]}, {"return_curves": True}):
        result = load().compute(predictions=MAPS, references=MASKS, **options)
        assert result == metrics.compute(**options)
    assert len(result["precision"]) == len(result["recall"]) == len(result["f"]) == 256


def test_load_with_some_measures(load: Any, expected: dict[str, float]) -> None:
    metric = load(measures=["mae", "max_f"])
    result = metric.compute(predictions=MAPS, references=MASKS)
    assert result == {name: expected[name] for name in ("max_f", "mae")}


def test_combine(load: Any, expected: dict[str, float]) -> None:
    combined = evaluate.combine({"some": load(measures=["mae"]), "all": load()})
    for prediction, mask in zip(MAPS, MASKS, strict=True):
        combined.add(prediction=prediction, reference=mask)
    renamed = {"some_mae": expected["mae"], "all_mae": expected["mae"]}
    renamed |= {name: value for name, value in expected.items() if name != "mae"}
    assert combined.compute() == renamed
    combined.add_batch(predictions=MAPS, references=MASKS)
    assert combined.compute() == renamed
    assert combined.compute(predictions=MAPS, references=MASKS) == renamed


def test_keep_in_memory(load: Any, expected: dict[str, float]) -> None:
    assert load(keep_in_memory=True).compute(predictions=MAPS, references=MASKS) == expected


def test_the_cache_never_holds_maps(load: Any, tmp_path: Path) -> None:
    metric = load()
    for _ in range(20):
        metric.add_batch(predictions=MAPS, references=MASKS)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.arrow")) < 1000
    metric.compute()


def test_two_processes_through_the_cache(load: Any, expected: dict[str, float]) -> None:
    """They meet when they add their first images: later on, the second may wait longer than the timeout."""
    metrics = [load(num_process=2, process_id=rank, experiment_id="two", timeout=1.5) for rank in (0, 1)]
    results: dict[int, Any] = {}

    def run(rank: int) -> None:
        metrics[rank].add_batch(predictions=MAPS[rank::2], references=MASKS[rank::2])
        time.sleep(0 if rank else 2)
        results[rank] = metrics[rank].compute()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: expected, 1: None}


def test_an_error_keeps_what_was_added(load: Any, expected: dict[str, float]) -> None:
    metric = load()
    with pytest.raises(ValueError, match="no images yet"):
        metric.compute()
    metric.add_batch(predictions=MAPS, references=MASKS)
    with pytest.raises(ValueError, match="differ in size"):
        metric.add(prediction=MAPS[0], reference=MASKS[3])
    with pytest.raises(ValueError, match="averaging"):
        metric.compute(averaging="macro")
    with pytest.raises(ValueError, match="measures must be some of"):
        metric.compute(measures=["f1"])
    with pytest.raises(ValueError, match="unknown arguments"):
        metric.compute(threshold=0.3)
    with pytest.raises(ValueError, match="unknown inputs"):
        metric.add_batch(predictions=MAPS, references=MASKS, weights=[1])
    assert metric.compute() == expected


def test_description_names_every_measure_and_citation(load: Any) -> None:
    metric = load()
    assert all(name in metric.inputs_description for name in MEASURES)
    assert "averaging" in metric.compute.__doc__
    assert metric.citation.count("@inproceedings") == 7


def test_a_copy_works_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, float]
) -> None:
    """As on the Hub, where there are the files alone."""
    space = tmp_path / "sod_metrics"
    shutil.copytree(FOLDER, space, ignore=shutil.ignore_patterns("__init__.py", "__pycache__"))
    monkeypatch.setitem(sys.modules, "u2net_hf", None)  # importing it fails
    metric = evaluate.load(str(space), cache_dir=str(tmp_path))
    assert type(metric).__module__.startswith("evaluate_modules")
    assert metric.compute(predictions=MAPS, references=MASKS) == expected


def test_importing_the_measures_imports_neither_evaluate_nor_scipy() -> None:
    script = (
        "import importlib, sys, types;"
        f"package = types.ModuleType('sod'); package.__path__ = [{str(FOLDER)!r}]; sys.modules['sod'] = package;"
        "importlib.import_module('sod.accumulator').SODMetrics(['max_f']).update([[[0.5]]], [[[1]]]);"
        "print(sorted({'evaluate', 'scipy', 'torch', 'datasets'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_lazy_export() -> None:
    assert issubclass(u2net_hf.sod_metrics.SODMetric, evaluate.Metric)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = u2net_hf.sod_metrics.nothing


def test_what_e_measures_reach_is_stated(load: Any) -> None:
    """A perfect map of 30 pixels: the published code's sum over N - 1 gives 30 / 29."""
    mask = np.zeros((5, 6), np.uint8)
    mask[1:3, 2:4] = 1
    metric = load()
    found = metric.compute(predictions=[mask * 255], references=[mask], measures=["max_e"])
    assert found["max_e"] == pytest.approx(30 / 29)
    assert "N / (N - 1)" in metric.description
