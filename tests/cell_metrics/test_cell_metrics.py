from typing import Any

import pytest
import torch
from drawn_cells import MEMBRANES, PAIRS
from PIL import Image

import u2net_hf.cell_metrics
from u2net_hf.cell_metrics import MEMBRANE_MEASURES, OBJECT_MEASURES, CellMetrics

pytest.importorskip("evaluate")
from metric_tester import MetricTester

PREDICTIONS, REFERENCES = (list(arrays) for arrays in zip(*PAIRS.values(), strict=True))
SOFT, TRUE = (list(arrays) for arrays in zip(*MEMBRANES, strict=True))


class TestCellMetric(MetricTester):
    package, accumulator, metric_class = u2net_hf.cell_metrics, CellMetrics, "CellMetric"
    predictions, references = PREDICTIONS, REFERENCES
    some, unknown = ("pq", "aji"), "warping_error"
    documented, num_citations = (*OBJECT_MEASURES, *MEMBRANE_MEASURES), 6
    one_pixel = "[[[5]]], [[[1]]]"

    @pytest.mark.parametrize(
        "kind",
        [torch.from_numpy, lambda array: Image.fromarray(array.astype("uint16")), lambda array: array.tolist()],
        ids=["torch", "PIL", "lists"],
    )
    def test_kinds_of_images(self, load: Any, kind: Any, expected: dict[str, float]) -> None:
        metric = load()
        for prediction, reference in PAIRS.values():
            metric.add(prediction=kind(prediction), reference=kind(reference))
        assert metric.compute() == expected

    def test_membranes(self, load: Any) -> None:
        metrics = CellMetrics(MEMBRANE_MEASURES)
        metrics.update(SOFT, TRUE)
        metric = load(measures=list(MEMBRANE_MEASURES))
        metric.add_batch(predictions=SOFT, references=TRUE)
        assert metric.compute(return_curves=True) == metrics.compute(return_curves=True)
