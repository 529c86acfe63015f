"""What every `evaluate` module of the package must do: one tester, of which each module's tests are a subclass."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import evaluate
import numpy as np
import pytest


class MetricTester:
    """A subclass names the module, its two classes, and what they are given."""

    package: ClassVar[ModuleType]
    accumulator: ClassVar[type[Any]]
    """What sums up the images: [`SODMetrics`] or [`CellMetrics`]."""
    metric_class: ClassVar[str]
    predictions: ClassVar[list[np.ndarray]]
    references: ClassVar[list[np.ndarray]]
    some: ClassVar[tuple[str, str]]
    """Two measures, in the order in which the module gives them."""
    unknown: ClassVar[str]
    """A measure that is not computed by default."""
    documented: ClassVar[tuple[str, ...]]
    num_citations: ClassVar[int]
    one_pixel: ClassVar[str]
    """Arguments of `update` for an image of one pixel, as Python code."""

    @property
    def folder(self) -> Path:
        return Path(str(self.package.__file__)).parent

    @pytest.fixture
    def load(self, tmp_path: Path) -> Any:
        """`evaluate.load` of the folder, with a cache of its own."""
        return lambda **kwargs: evaluate.load(str(self.folder), cache_dir=str(tmp_path), **kwargs)

    @pytest.fixture
    def expected(self) -> dict[str, float]:
        metrics = self.accumulator()
        metrics.update(self.predictions, self.references)
        return metrics.compute()

    @property
    def all(self) -> dict[str, Any]:
        return {"predictions": self.predictions, "references": self.references}

    def test_compute_at_once(self, load: Any, expected: dict[str, float]) -> None:
        metric = load()
        assert isinstance(metric, evaluate.Metric)
        assert metric.compute(**self.all) == expected
        assert metric.compute(**self.all) == expected  # nothing is left of the first
        assert {type(value) for value in expected.values()} == {float}

    def test_add_and_add_batch(self, load: Any, expected: dict[str, float]) -> None:
        metric = load()
        metric.add(prediction=self.predictions[0], reference=self.references[0])
        metric.add_batch(predictions=self.predictions[1:5], references=self.references[1:5])
        assert len(metric) == 5
        metric.add_batch(predictions=self.predictions[5:], references=self.references[5:])
        assert metric.compute() == expected
        assert len(metric) == 0

    def test_options(self, load: Any) -> None:
        metrics = self.accumulator()
        metrics.update(self.predictions, self.references)
        for options in ({"averaging": "image"}, {"measures": list(self.some)}, {"return_curves": True}):
            assert load().compute(**self.all, **options) == metrics.compute(**options)

    def test_load_with_some_measures(self, load: Any, expected: dict[str, float]) -> None:
        result = load(measures=[*reversed(self.some)]).compute(**self.all)
        assert list(result.items()) == [(name, expected[name]) for name in self.some]

    def test_combine(self, load: Any, expected: dict[str, float]) -> None:
        name = self.some[0]
        combined = evaluate.combine({"some": load(measures=[name]), "all": load()})
        for prediction, reference in zip(self.predictions, self.references, strict=True):
            combined.add(prediction=prediction, reference=reference)
        renamed = {f"some_{name}": expected[name], f"all_{name}": expected[name]}
        renamed |= {other: value for other, value in expected.items() if other != name}
        assert combined.compute() == renamed
        combined.add_batch(**self.all)
        assert combined.compute() == renamed
        assert combined.compute(**self.all) == renamed

    def test_keep_in_memory(self, load: Any, expected: dict[str, float]) -> None:
        assert load(keep_in_memory=True).compute(**self.all) == expected

    def test_the_cache_never_holds_images(self, load: Any, tmp_path: Path) -> None:
        metric = load()
        for _ in range(20):
            metric.add_batch(**self.all)
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.arrow")) < 1000
        metric.compute()

    def test_two_processes_through_the_cache(self, load: Any, expected: dict[str, float]) -> None:
        """They meet when they add their first images: later on, the second may wait longer than the timeout."""
        metrics = [load(num_process=2, process_id=rank, experiment_id="two", timeout=1.5) for rank in (0, 1)]
        results: dict[int, Any] = {}

        def run(rank: int) -> None:
            metrics[rank].add_batch(predictions=self.predictions[rank::2], references=self.references[rank::2])
            time.sleep(0 if rank else 2)
            results[rank] = metrics[rank].compute()

        threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {0: expected, 1: None}

    def test_an_error_keeps_what_was_added(self, load: Any, expected: dict[str, float]) -> None:
        metric, first = load(), self.predictions[0]
        with pytest.raises(ValueError, match="no images yet"):
            metric.compute()
        metric.add_batch(**self.all)
        with pytest.raises(ValueError, match="differ in size"):
            metric.add(prediction=first, reference=next(one for one in self.references if one.shape != first.shape))
        with pytest.raises(ValueError, match="averaging"):
            metric.compute(averaging="macro")
        with pytest.raises(ValueError, match="measures must be some of"):
            metric.compute(measures=[self.unknown])
        with pytest.raises(ValueError, match="unknown arguments"):
            metric.compute(threshold=0.3)
        with pytest.raises(ValueError, match="unknown inputs"):
            metric.add_batch(**self.all, weights=[1])
        assert metric.compute() == expected

    def test_description_names_every_measure_and_citation(self, load: Any) -> None:
        metric = load()
        assert all(name in metric.inputs_description for name in self.documented)
        assert "averaging" in metric.compute.__doc__
        assert metric.citation.count(" title=") == self.num_citations

    def test_a_copy_works_without_the_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, float]
    ) -> None:
        """As on the Hub, where there are the files alone."""
        space = tmp_path / self.folder.name
        shutil.copytree(self.folder, space, ignore=shutil.ignore_patterns("__init__.py", "__pycache__"))
        monkeypatch.setitem(sys.modules, "u2net_hf", None)  # importing it fails
        metric = evaluate.load(str(space), cache_dir=str(tmp_path))
        assert type(metric).__module__.startswith("evaluate_modules")
        assert metric.compute(**self.all) == expected

    def test_plain_measures_need_numpy_alone(self) -> None:
        script = (
            "import importlib, sys, types\n"
            f"package = types.ModuleType('copy'); package.__path__ = [{str(self.folder)!r}]\n"
            "sys.modules['copy'] = package\n"
            "module = importlib.import_module('copy.accumulator')\n"
            f"module.{self.accumulator.__name__}([{self.some[0]!r}]).update({self.one_pixel})\n"
            "print(sorted({'evaluate', 'scipy', 'skimage', 'torch', 'datasets'} & set(sys.modules)))"
        )
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "[]"

    def test_lazy_export(self) -> None:
        assert issubclass(getattr(self.package, self.metric_class), evaluate.Metric)
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = self.package.nothing
