import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_cells import MEMBRANES, PAIRS
from PIL import Image

import u2net_hf.cell_metrics
from u2net_hf.cell_metrics import MEMBRANE_MEASURES, OBJECT_MEASURES, CellMetrics

evaluate = pytest.importorskip("evaluate")

FOLDER = Path(u2net_hf.cell_metrics.__file__).parent
PREDICTIONS, REFERENCES = (list(arrays) for arrays in zip(*PAIRS.values(), strict=True))
SOFT, TRUE = (list(arrays) for arrays in zip(*MEMBRANES, strict=True))


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """`evaluate.load` of the folder, with a cache of its own."""
    return lambda **kwargs: evaluate.load(str(FOLDER), cache_dir=str(tmp_path), **kwargs)


@pytest.fixture(scope="module")
def expected() -> dict[str, float]:
    metrics = CellMetrics()
    metrics.update(PREDICTIONS, REFERENCES)
    return metrics.compute()


def test_compute_at_once(load: Any, expected: dict[str, float]) -> None:
    metric = load()
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == expected
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == expected  # nothing is left of the first
    assert {type(value) for value in expected.values()} == {float}


def test_add_and_add_batch(load: Any, expected: dict[str, float]) -> None:
    metric = load()
    metric.add(prediction=PREDICTIONS[0], reference=REFERENCES[0])
    metric.add_batch(predictions=PREDICTIONS[1:5], references=REFERENCES[1:5])
    assert len(metric) == 5
    metric.add_batch(predictions=PREDICTIONS[5:], references=REFERENCES[5:])
    assert metric.compute() == expected
    assert len(metric) == 0


@pytest.mark.parametrize(
    "kind",
    [torch.from_numpy, lambda array: Image.fromarray(array.astype("uint16")), lambda array: array.tolist()],
    ids=["torch", "PIL", "lists"],
)
def test_kinds_of_images(load: Any, kind: Any, expected: dict[str, float]) -> None:
    metric = load()
    for prediction, reference in PAIRS.values():
        metric.add(prediction=kind(prediction), reference=kind(reference))
    assert metric.compute() == expected


def test_membranes(load: Any) -> None:
    metrics = CellMetrics(MEMBRANE_MEASURES)
    metrics.update(SOFT, TRUE)
    metric = load(measures=list(MEMBRANE_MEASURES))
    metric.add_batch(predictions=SOFT, references=TRUE)
    assert metric.compute(return_curves=True) == metrics.compute(return_curves=True)


def test_options(load: Any) -> None:
    metrics = CellMetrics()
    metrics.update(PREDICTIONS, REFERENCES)
    for options in ({"averaging": "image"}, {"measures": ["aji", "pq"]}, {"return_curves": True}):
        result = load().compute(predictions=PREDICTIONS, references=REFERENCES, **options)
        assert result == metrics.compute(**options)


def test_combine(load: Any, expected: dict[str, float]) -> None:
    combined = evaluate.combine({"some": load(measures=["aji"]), "all": load()})
    for prediction, reference in zip(PREDICTIONS, REFERENCES, strict=True):
        combined.add(prediction=prediction, reference=reference)
    renamed = {"some_aji": expected["aji"], "all_aji": expected["aji"]}
    renamed |= {name: value for name, value in expected.items() if name != "aji"}
    assert combined.compute() == renamed


def test_the_cache_never_holds_images(load: Any, tmp_path: Path) -> None:
    metric = load()
    for _ in range(20):
        metric.add_batch(predictions=PREDICTIONS, references=REFERENCES)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.arrow")) < 1000
    metric.compute()


def test_two_processes_through_the_cache(load: Any, expected: dict[str, float]) -> None:
    """They meet when they add their first images: later on, the second may wait longer than the timeout."""
    metrics = [load(num_process=2, process_id=rank, experiment_id="two", timeout=1.5) for rank in (0, 1)]
    results: dict[int, Any] = {}

    def run(rank: int) -> None:
        metrics[rank].add_batch(predictions=PREDICTIONS[rank::2], references=REFERENCES[rank::2])
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
    metric.add_batch(predictions=PREDICTIONS, references=REFERENCES)
    with pytest.raises(ValueError, match="differ in size"):
        metric.add(prediction=PREDICTIONS[0], reference=REFERENCES[-1])
    with pytest.raises(ValueError, match="averaging"):
        metric.compute(averaging="macro")
    with pytest.raises(ValueError, match="measures must be some of"):
        metric.compute(measures=["warping_error"])
    with pytest.raises(ValueError, match="unknown arguments"):
        metric.compute(threshold=0.3)
    with pytest.raises(ValueError, match="unknown inputs"):
        metric.add_batch(predictions=PREDICTIONS, references=REFERENCES, weights=[1])
    assert metric.compute() == expected


def test_description_names_every_measure_and_citation(load: Any) -> None:
    metric = load()
    assert all(name in metric.inputs_description for name in (*OBJECT_MEASURES, *MEMBRANE_MEASURES))
    assert "averaging" in metric.compute.__doc__
    assert metric.citation.count(" title=") == 6


def test_a_copy_works_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, float]
) -> None:
    """As on the Hub, where there are the files alone."""
    space = tmp_path / "cell_metrics"
    shutil.copytree(FOLDER, space, ignore=shutil.ignore_patterns("__init__.py", "__pycache__"))
    monkeypatch.setitem(sys.modules, "u2net_hf", None)  # importing it fails
    metric = evaluate.load(str(space), cache_dir=str(tmp_path))
    assert type(metric).__module__.startswith("evaluate_modules")
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == expected


def test_objects_need_numpy_alone() -> None:
    script = (
        "import importlib, sys, types;"
        f"package = types.ModuleType('cell'); package.__path__ = [{str(FOLDER)!r}]; sys.modules['cell'] = package;"
        "importlib.import_module('cell.accumulator').CellMetrics().update([[[5]]], [[[1]]]);"
        "print(sorted({'evaluate', 'scipy', 'skimage', 'torch', 'datasets'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_lazy_export() -> None:
    assert issubclass(u2net_hf.cell_metrics.CellMetric, evaluate.Metric)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = u2net_hf.cell_metrics.nothing
