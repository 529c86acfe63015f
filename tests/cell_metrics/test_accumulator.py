import itertools
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_cells import EMPTY, MEMBRANES, ONE, PAIRS, boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from u2net_hf.cell_metrics import (
    MEMBRANE_MEASURES,
    OBJECT_MEASURES,
    CellMetrics,
    LabelPair,
    ap,
    pq,
    precision,
    seg,
    v_rand,
)
from u2net_hf.cell_metrics import accumulator as module

PREDICTIONS, REFERENCES = (list(arrays) for arrays in zip(*PAIRS.values(), strict=True))
SOFT, TRUE = (list(arrays) for arrays in zip(*MEMBRANES, strict=True))


def score(predictions: Any, references: Any, measures: Any = None, **kwargs: Any) -> dict[str, Any]:
    metrics = CellMetrics(measures)
    metrics.update(predictions, references)
    return metrics.compute(**kwargs)


def test_averages_of_the_images() -> None:
    result = score(PREDICTIONS, REFERENCES, averaging="image", return_curves=True)
    pairs = [LabelPair(*arrays) for arrays in PAIRS.values()]
    curve = np.mean([ap(pair).value for pair in pairs], axis=0)
    np.testing.assert_allclose(result["ap_curve"], curve, atol=1e-15)
    assert result["ap50"] == pytest.approx(curve[0])
    assert result["ap75"] == pytest.approx(curve[5])
    assert result["mean_ap"] == pytest.approx(curve.mean())
    assert result["precision"] == pytest.approx(np.mean([precision(pair).value[0] for pair in pairs]))
    assert result["pq"] == pytest.approx(np.mean([pq(pair).value for pair in pairs]))
    assert result["seg"] == pytest.approx(np.mean([seg(pair).value for pair in pairs]))


def test_pooled_values_are_those_of_one_large_image() -> None:
    """Images beside each other, with labels of their own, are one image."""
    height = max(labels.shape[0] for labels in REFERENCES)

    def beside(images: list[np.ndarray]) -> np.ndarray:
        columns = [
            np.pad(np.where(labels > 0, labels + 1000 * index, 0), ((0, height - len(labels)), (0, 0)))
            for index, labels in enumerate(images)
        ]
        return np.concatenate(columns, axis=1)

    one = score(beside(PREDICTIONS), beside(REFERENCES), averaging="image", return_curves=True)
    pooled = score(PREDICTIONS, REFERENCES, averaging="dataset", return_curves=True)
    for counts in ("count_error", "absolute_count_error", "relative_count_error"):  # differences may cancel out
        del one[counts], pooled[counts]
    assert pooled == {name: pytest.approx(value, abs=1e-12) for name, value in one.items()}
    assert [type(value) for value in pooled["tp"]] == [int] * 10
    assert pooled["tp"][0] + pooled["fn"][0] == sum(np.unique(labels[labels > 0]).size for labels in REFERENCES)


def test_published_averages() -> None:
    image, dataset, published = (
        score(PREDICTIONS, REFERENCES, averaging=averaging) for averaging in ("image", "dataset", "published")
    )
    assert score(PREDICTIONS, REFERENCES) == published
    pooled = {"precision", "recall", "f1", "pq", "sq", "rq", "seg", "relative_count_error"}
    assert published == {name: (dataset if name in pooled else image)[name] for name in OBJECT_MEASURES}
    assert tuple(published) == OBJECT_MEASURES
    assert {type(value) for value in published.values()} == {float}
    assert image["ap50"] != pytest.approx(dataset["ap50"], abs=1e-3)
    assert published["f1"] == published["rq"]
    assert published["pq"] == pytest.approx(published["sq"] * published["rq"])


def test_counts_by_hand() -> None:
    """Three images: two of two found and one too many; none of one; none of none."""
    two = boxes(9, 11, (0, 0, 3, 3), (5, 5, 9, 9))
    three = two.copy()
    three[0, 10] = 9
    result = score([three, EMPTY, EMPTY], [two, ONE, EMPTY], return_curves=True)
    assert (result["tp"][0], result["fp"][0], result["fn"][0]) == (2, 1, 1)
    assert result["precision"] == result["recall"] == result["f1"] == result["seg"] == 2 / 3
    assert result["ap50"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert score([three, EMPTY, EMPTY], [two, ONE, EMPTY], averaging="dataset")["ap50"] == 2 / 4
    assert result["count_error"] == 0
    assert result["absolute_count_error"] == pytest.approx(2 / 3)
    assert result["relative_count_error"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("averaging", ["published", "image", "dataset"])
def test_nothing_is_ever_nan(averaging: str) -> None:
    every = [*OBJECT_MEASURES, *MEMBRANE_MEASURES]
    for prediction, reference in itertools.product([EMPTY, ONE], repeat=2):
        result = score([prediction] * 2, [reference] * 2, every, averaging=averaging)
        assert all(math.isfinite(value) for value in result.values())
    perfect = score([EMPTY], [EMPTY], every, averaging=averaging)
    assert {name for name, value in perfect.items() if "error" in name and value != 0} == set()
    assert {name for name, value in perfect.items() if "error" not in name and value != 1} == set()


def test_the_best_threshold_is_that_of_the_mean() -> None:
    """As in the challenge: one threshold for all images, not the best of each."""
    result = score(SOFT, TRUE, MEMBRANE_MEASURES, return_curves=True)
    curves = np.array([v_rand(LabelPair(soft, true)).value for soft, true in MEMBRANES])
    np.testing.assert_allclose(result["v_rand_curve"], curves.mean(axis=0), atol=1e-15)
    assert result["v_rand"] == pytest.approx(curves.mean(axis=0).max())
    assert result["v_rand"] < curves.max(axis=1).mean()
    assert result["rand_error"] == 1 - result["v_rand"]
    assert result["warping_error"] == min(result["warping_error_curve"])
    assert result["pixel_error"] == min(result["pixel_error_curve"])
    both = [[np.count_nonzero((soft > t / 10) & true) for soft, true in MEMBRANES] for t in range(10)]
    either = [
        [np.count_nonzero(soft > t / 10) + np.count_nonzero(true) for soft, true in MEMBRANES] for t in range(10)
    ]
    assert result["pixel_f_error"] == pytest.approx(1 - max(2 * np.sum(both, axis=1) / np.sum(either, axis=1)))


@given(st.permutations(range(len(PREDICTIONS))), st.lists(st.integers(0, len(PREDICTIONS)), max_size=5))
@settings(deadline=None, max_examples=15)
def test_any_dealing_gives_the_same_bits(order: list[int], cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(order)]
    total = CellMetrics()
    for start, stop in itertools.pairwise(bounds):
        part = CellMetrics()
        part.update([PREDICTIONS[i] for i in order[start:stop]], [REFERENCES[i] for i in order[start:stop]])
        total.merge(part)
    for averaging in ("image", "dataset"):
        assert total.compute(averaging, return_curves=True) == score(
            PREDICTIONS, REFERENCES, averaging=averaging, return_curves=True
        )


def test_batches_and_single_images() -> None:
    names = [f"noise {seed}" for seed in range(4)]
    batch = [np.stack([PAIRS[name][side] for name in names]) for side in (0, 1)]
    expected = score(list(batch[0]), list(batch[1]))
    assert score(*batch) == expected
    assert score(*map(torch.from_numpy, batch)) == expected
    one_by_one = CellMetrics()
    for name in names:
        one_by_one.update(*PAIRS[name])
    assert one_by_one.count == 4
    assert one_by_one.compute() == expected


def test_state_round_trip_and_reduction() -> None:
    halves = [CellMetrics(), CellMetrics()]
    for half, part in zip(halves, (slice(None, 5), slice(5, None)), strict=True):
        half.update(PREDICTIONS[part], REFERENCES[part])
    states = [half.state() for half in halves]
    assert {tensor.dtype for tensor in states[0].values()} == {torch.float64}
    total = CellMetrics()
    total.load_state({name: states[0][name] + states[1][name] for name in states[0]})
    assert total.count == len(PREDICTIONS)
    assert total.compute() == score(PREDICTIONS, REFERENCES)
    states[0]["count"][:] = 0  # a state is a copy
    assert halves[0].count == 5


def test_pickle_and_reset() -> None:
    metrics = CellMetrics(["mean_ap", "aji"])
    metrics.update(PREDICTIONS, REFERENCES)
    again = pickle.loads(pickle.dumps(metrics))
    assert again.compute() == metrics.compute()
    metrics.reset()
    assert (metrics.count, again.count) == (0, len(PREDICTIONS))


def test_only_what_is_asked_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pair: LabelPair) -> Any:
        raise AssertionError("not asked for")

    for name in set(module._STATISTICS) - {"ap", "aji"}:
        monkeypatch.setitem(module._STATISTICS, name, refuse)
    metrics = CellMetrics(["ap50", "aji"])
    metrics.update(PREDICTIONS, REFERENCES)
    assert metrics.compute(return_curves=True).keys() == {"ap50", "aji", "ap_curve"}
    assert metrics.compute(measures=["aji"]).keys() == {"aji"}
    with pytest.raises(AssertionError, match="not asked for"):
        CellMetrics("pq").update(PREDICTIONS, REFERENCES)


def test_an_error_adds_nothing_and_names_the_pair() -> None:
    metrics = CellMetrics()
    metrics.update(PREDICTIONS[:2], REFERENCES[:2])
    before = metrics.sums.copy()
    with pytest.raises(ValueError, match="pair 1 of 2: the prediction and its reference differ in size"):
        metrics.update([ONE, ONE], [ONE, ONE[1:]])
    with pytest.raises(TypeError, match="pair 0 of 1: this measure compares objects"):
        metrics.update(ONE > 0, ONE)
    with pytest.raises(ValueError, match="got 2 predictions and 1 references"):
        metrics.update([ONE, ONE], [ONE])
    np.testing.assert_array_equal(metrics.sums, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CellMetrics(["ap50", "dice"]), "measures must be some of"),
        (lambda: CellMetrics([]), "measures must be some of"),
        (lambda: CellMetrics().compute(), "no images yet"),
        (lambda: CellMetrics().compute("macro"), "averaging must be one of"),
        (lambda: CellMetrics(["aji"]).compute(measures=["pq"]), "measures must be some of"),
        (lambda: CellMetrics(["aji"]).merge(CellMetrics(["pq"])), "cannot merge"),
        (lambda: CellMetrics(["aji"]).load_state(CellMetrics(["pq"]).state()), "the state has"),
    ],
)
def test_bad_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def score_a_share(folder: str) -> None:
    """Run in each of two processes: its share of the images, then the reduced sums."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # what an earlier test has left in the parent
    accelerator = Accelerator(cpu=True)
    metrics = CellMetrics()
    rank = accelerator.process_index
    metrics.update(PREDICTIONS[rank::2], REFERENCES[rank::2])
    metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))
    torch.save([accelerator.num_processes, metrics.compute(return_curves=True)], Path(folder) / f"{rank}.pt")


def test_two_processes_give_the_same_bits(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.debug_launcher(score_a_share, args=(str(tmp_path),), num_processes=2)
    expected = [2, score(PREDICTIONS, REFERENCES, return_curves=True)]
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == expected
