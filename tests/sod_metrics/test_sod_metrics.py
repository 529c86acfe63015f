from typing import Any

import numpy as np
import pytest
import torch
from drawn_pairs import PAIRS
from PIL import Image

import u2net_hf.sod_metrics
from u2net_hf.sod_metrics import MEASURES, SODMetrics

pytest.importorskip("evaluate")
from metric_tester import MetricTester

MAPS, MASKS = (list(arrays) for arrays in zip(*PAIRS.values(), strict=True))


class TestSODMetric(MetricTester):
    package, accumulator, metric_class = u2net_hf.sod_metrics, SODMetrics, "SODMetric"
    predictions, references = MAPS, MASKS
    some, unknown = ("max_f", "mae"), "hce"
    documented, num_citations = MEASURES, 7
    one_pixel = "[[[0.5]]], [[[1]]]"

    @pytest.mark.parametrize(
        "kind",
        [torch.from_numpy, Image.fromarray, lambda array: (array / array.max()).tolist()],
        ids=["torch", "PIL", "lists"],
    )
    def test_kinds_of_images(self, load: Any, kind: Any) -> None:
        chosen = [(prediction, mask) for prediction, mask in zip(MAPS, MASKS, strict=True) if mask.any()]
        metrics = SODMetrics()
        metrics.update(*map(list, zip(*chosen, strict=True)))
        metric = load()
        for prediction, mask in chosen:
            metric.add(prediction=kind(prediction), reference=kind(mask))
        assert metric.compute() == {name: pytest.approx(value, abs=1e-9) for name, value in metrics.compute().items()}

    def test_batch_tensors(self, load: Any) -> None:
        maps, masks = torch.rand(3, 1, 9, 7), torch.rand(3, 1, 9, 7) > 0.5
        metrics = SODMetrics()
        metrics.update(maps, masks)
        metric = load()
        metric.add_batch(predictions=maps, references=masks)
        assert metric.compute() == metrics.compute()

    def test_correction_effort_on_request(self, load: Any) -> None:
        metrics = SODMetrics(["hce"])
        metrics.update(MAPS, MASKS)
        assert load(measures=["hce"]).compute(**self.all) == metrics.compute()

    def test_what_e_measures_reach_is_stated(self, load: Any) -> None:
        """A perfect map of 30 pixels: the published code's sum over N - 1 gives 30 / 29."""
        mask = np.zeros((5, 6), np.uint8)
        mask[1:3, 2:4] = 1
        metric = load()
        found = metric.compute(predictions=[mask * 255], references=[mask], measures=["max_e"])
        assert found["max_e"] == pytest.approx(30 / 29)
        assert "N / (N - 1)" in metric.description
