import itertools
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_pairs import PAIRS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from u2net_hf.sod_metrics import (
    DEFAULT_MEASURES,
    MEASURES,
    Pair,
    SODMetrics,
    adaptive_e,
    adaptive_precision_recall,
    dice,
    e_curve,
    f_beta,
    hce,
    iou,
    mae,
    precision_recall,
    relaxed_f,
    s_measure,
    weighted_f,
)
from u2net_hf.sod_metrics import accumulator as module

MAPS, MASKS = (list(arrays) for arrays in zip(*PAIRS.values(), strict=True))
BATCH_MAPS = torch.from_numpy(np.stack([PAIRS[name][0] for name in ("soft", "noisy", "hole")]))
BATCH_MASKS = torch.from_numpy(np.stack([PAIRS[name][1] for name in ("soft", "noisy", "hole")]))


def score(maps: Any, masks: Any, measures: Sequence[str] | None = None, **kwargs: Any) -> dict[str, Any]:
    metrics = SODMetrics(measures)
    metrics.update(maps, masks)
    return metrics.compute(**kwargs)


def test_means_of_the_measures_in_both_averagings() -> None:
    pairs = [Pair(*arrays) for arrays in PAIRS.values()]
    curves = np.array([precision_recall(pair) for pair in pairs])
    adaptive = np.array([adaptive_precision_recall(pair) for pair in pairs])
    e = np.mean([e_curve(pair) for pair in pairs], axis=0)
    single = {"mae": mae, "weighted_f": weighted_f, "s_measure": s_measure, "relaxed_f": relaxed_f}
    single |= {"adaptive_e": adaptive_e, "iou": iou, "dice": dice, "hce": hce}
    expected = {name: np.mean([function(pair) for pair in pairs]) for name, function in single.items()}
    expected |= {"max_e": e.max(), "mean_e": e.mean()}
    f = {
        "dataset": (f_beta(*curves.mean(axis=0)), f_beta(*adaptive.mean(axis=0))),
        "image": (f_beta(*curves.transpose(1, 0, 2)).mean(axis=0), f_beta(*adaptive.T).mean()),
    }
    for averaging, (curve, at_adaptive) in f.items():
        result = score(MAPS, MASKS, MEASURES, averaging=averaging, return_curves=True)
        assert result.pop("f") == pytest.approx(curve.tolist(), abs=1e-12)
        assert result.pop("precision") == pytest.approx(curves.mean(axis=0)[0].tolist(), abs=1e-12)
        assert result.pop("recall") == pytest.approx(curves.mean(axis=0)[1].tolist(), abs=1e-12)
        expected |= {"max_f": curve.max(), "mean_f": curve.mean(), "adaptive_f": at_adaptive}
        assert result == {name: pytest.approx(expected[name], abs=1e-12) for name in MEASURES}
        assert tuple(result) == MEASURES
        assert {type(value) for value in result.values()} == {float}
    assert tuple(score(MAPS, MASKS)) == DEFAULT_MEASURES == tuple(name for name in MEASURES if name != "hce")
    assert f["dataset"][0].max() != pytest.approx(f["image"][0].max(), abs=1e-3)


@pytest.mark.parametrize(
    ("maps", "masks"),
    [
        (BATCH_MAPS, BATCH_MASKS),
        (BATCH_MAPS[:, None], BATCH_MASKS[:, None].float()),
        (BATCH_MAPS.numpy(), BATCH_MASKS.numpy()),
        (list(BATCH_MAPS), list(BATCH_MASKS.long())),
        (tuple(map(Image.fromarray, BATCH_MAPS.numpy())), [Image.fromarray(mask) for mask in BATCH_MASKS.numpy()]),
    ],
    ids=["tensors", "channels", "arrays", "lists", "pictures"],
)
def test_every_kind_of_batch_gives_the_same(maps: Any, masks: Any) -> None:
    assert score(maps, masks) == score(list(BATCH_MAPS.numpy()), list(BATCH_MASKS.numpy()))


def test_single_images() -> None:
    one_by_one = SODMetrics()
    for saliency, mask in zip(BATCH_MAPS, BATCH_MASKS, strict=True):
        one_by_one.update(saliency, mask)
    assert one_by_one.count == 3
    assert one_by_one.compute() == score(BATCH_MAPS, BATCH_MASKS)
    picture = Image.fromarray(BATCH_MAPS[0].numpy())
    assert score(picture, BATCH_MASKS[0]) == score(BATCH_MAPS[0], BATCH_MASKS[0])


def test_float_tensors_need_no_gradient_and_no_double() -> None:
    floats = (BATCH_MAPS / 255).requires_grad_()
    for name, value in score(BATCH_MAPS, BATCH_MASKS).items():
        assert score(floats, BATCH_MASKS)[name] == pytest.approx(value, abs=1e-6)


@given(st.permutations(range(len(MAPS))), st.lists(st.integers(0, len(MAPS)), max_size=5))
@settings(deadline=None, max_examples=15)
def test_any_dealing_gives_the_same_bits(order: list[int], cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(order)]
    total = SODMetrics()
    for start, stop in itertools.pairwise(bounds):
        part = SODMetrics()
        part.update([MAPS[i] for i in order[start:stop]], [MASKS[i] for i in order[start:stop]])
        total.merge(part)
    assert total.compute() == score(MAPS, MASKS)


def test_sums_are_exact() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(3000) * 10.0 ** rng.integers(-12, 1, 3000)
    metrics = SODMetrics(["mae"])
    for value in values:
        metrics.update(np.full((1, 1), value), np.zeros((1, 1), bool))
    from fractions import Fraction

    exact = sum(map(Fraction, values.tolist()), Fraction(0)) / len(values)
    assert metrics.compute()["mae"] == pytest.approx(float(exact), rel=3e-16, abs=1e-18)


def test_state_round_trip_and_reduction() -> None:
    halves = [SODMetrics(), SODMetrics()]
    for half, part in zip(halves, (slice(None, 5), slice(5, None)), strict=True):
        half.update(MAPS[part], MASKS[part])
    states = [half.state() for half in halves]
    assert {tensor.dtype for tensor in states[0].values()} == {torch.float64}
    assert [t.shape for t in states[0].values()] == [t.shape for t in SODMetrics().state().values()]
    total = SODMetrics()
    total.load_state({name: states[0][name] + states[1][name] for name in states[0]})
    assert total.count == len(MAPS)
    assert total.compute() == score(MAPS, MASKS)
    states[0]["count"][:] = 0  # a state is a copy
    assert halves[0].count == 5


def test_state_does_not_grow() -> None:
    few, many = SODMetrics(), SODMetrics()
    few.update(MAPS[:1], MASKS[:1])
    for _ in range(20):
        many.update(MAPS, MASKS)
    assert len(pickle.dumps(many)) <= len(pickle.dumps(few)) < 60_000


def test_pickle_and_reset() -> None:
    metrics = SODMetrics(["max_f", "mae"])
    metrics.update(MAPS, MASKS)
    again = pickle.loads(pickle.dumps(metrics))
    assert again.compute() == metrics.compute()
    metrics.reset()
    assert (metrics.count, again.count) == (0, len(MAPS))


def test_only_what_is_asked_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pair: Pair) -> float:
        raise AssertionError("not asked for")

    asked = {"f_curves", "mae"}
    for name, statistic in module._STATISTICS.items():
        monkeypatch.setitem(module._STATISTICS, name, statistic if name in asked else statistic._replace(of=refuse))
    metrics = SODMetrics(["mae", "max_f"])
    metrics.update(MAPS, MASKS)
    assert tuple(metrics.compute()) == ("max_f", "mae")
    assert metrics.state().keys() == {"count", "f_curves", "mae"}
    assert metrics.compute(measures=["mae"]).keys() == {"mae"}
    with pytest.raises(AssertionError, match="not asked for"):
        SODMetrics("s_measure").update(MAPS, MASKS)


def test_an_error_adds_nothing_and_names_the_pair() -> None:
    metrics = SODMetrics()
    metrics.update(MAPS[:2], MASKS[:2])
    before = metrics.sums.copy()
    with pytest.raises(ValueError, match="pair 1 of 2: the map and its mask differ in size"):
        metrics.update(MAPS[:2], [MASKS[0], MASKS[3]])
    with pytest.raises(TypeError, match="pair 0 of 1: a map must be uint8"):
        metrics.update(MAPS[0].astype(int), MASKS[0])
    with pytest.raises(ValueError, match="got 2 maps and 1 masks"):
        metrics.update(MAPS[:2], MASKS[:1])
    np.testing.assert_array_equal(metrics.sums, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SODMetrics(["max_f", "f1"]), "measures must be some of"),
        (lambda: SODMetrics([]), "measures must be some of"),
        (lambda: SODMetrics().compute(), "no images yet"),
        (lambda: SODMetrics().compute("macro"), "averaging must be one of"),
        (lambda: SODMetrics(["mae"]).compute(measures=["iou"]), "measures must be some of"),
        (lambda: SODMetrics(["mae"]).compute(return_curves=True), "return_curves needs"),
        (lambda: SODMetrics(["mae"]).merge(SODMetrics(["iou"])), "cannot merge"),
        (lambda: SODMetrics(["mae"]).load_state(SODMetrics(["iou"]).state()), "the state has"),
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
    metrics = SODMetrics()
    rank = accelerator.process_index
    metrics.update(MAPS[rank::2], MASKS[rank::2])
    metrics.load_state(accelerator.reduce(metrics.state(accelerator.device), "sum"))
    torch.save([accelerator.num_processes, metrics.compute(return_curves=True)], Path(folder) / f"{rank}.pt")


def test_two_processes_give_the_same_bits(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerate.debug_launcher(score_a_share, args=(str(tmp_path),), num_processes=2)
    expected = [2, score(MAPS, MASKS, return_curves=True)]
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == expected


@pytest.mark.parametrize("channels", [3, 4])
def test_one_picture_with_channels_is_no_batch(channels: int) -> None:
    colored = np.zeros((20, 30, channels), np.uint8)
    with pytest.raises(ValueError, match=r"looks like one picture with channels"):
        SODMetrics(["mae"]).update(colored, colored)


def test_one_picture_of_pillow_is_one_image() -> None:
    levels, mask = PAIRS["soft"]
    metrics = SODMetrics(["mae"])
    metrics.update(Image.fromarray(levels), Image.fromarray(mask).convert("RGB"))
    assert metrics.count == 1
    assert metrics.compute()["mae"] == mae(Pair(levels, mask))
