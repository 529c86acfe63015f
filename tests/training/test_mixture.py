"""Tests of mixtures of corpora: each corpus gets its share, in its own order, from any position on."""

from collections import Counter
from fractions import Fraction

import pytest
from training_helpers import drawn_corpus

from u2net_hf.training.loader import EndlessSamples, Mixture


@pytest.mark.parametrize("weights", [[1, 1], [3, 1], [1, 2, 4], [0.3, 0.2, 0.1]])
def test_every_stretch_has_the_shares_of_the_weights(weights: list[float]) -> None:
    mixture = Mixture([range(7)] * len(weights), weights)
    drawn = [mixture.place(position) for position in range(1000)]
    for number, weight in enumerate(weights):
        mine = [place for chosen, place in drawn if chosen == number]
        assert mine == list(range(len(mine)))  # its own order, nothing left out, nothing twice
        share = Fraction(weight).limit_denominator(100) / Fraction(sum(weights)).limit_denominator(100)
        for count in (10, 100, 1000):
            here = sum(chosen == number for chosen, _ in drawn[:count])
            assert abs(here - share * count) <= len(weights) - 1


def test_samples_come_from_all_corpora_each_epoch_of_one_complete() -> None:
    first, second = drawn_corpus(3), drawn_corpus(2).map(lambda record: {"name": f"other {record['name']}"})

    def make(record: dict, epoch: int, index: int) -> tuple[str, int, int]:
        return record["name"], epoch, index

    samples = EndlessSamples(Mixture([first, second], [3, 1]), make, seed=4)
    drawn = [samples[position] for position in range(16)]
    assert Counter(name for name, *_ in drawn) == {"0": 4, "1": 4, "2": 4, "other 0": 2, "other 1": 2}
    assert {index for name, _, index in drawn if name.startswith("other")} == {3, 4}  # transforms of their own
    alone = EndlessSamples(first, make, seed=4)
    assert [one for one in drawn if not one[0].startswith("other")] == [alone[position] for position in range(12)]
    assert EndlessSamples(Mixture([first, second], [3, 1]), make, seed=4)[9] == drawn[9]  # of nothing but the position


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        Mixture([range(1), range(2)], weights)
