"""Tests of the average of the weights."""

import pytest
import torch
from torch import nn

from u2net_hf.training.averaging import averaged_model


def average_of(values: list[float], decay: float) -> float:
    model = nn.Linear(1, 1, bias=False)
    average = averaged_model(model, decay)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    return average.module.weight.item()


def test_a_short_training_is_not_averaged_with_its_beginning() -> None:
    """Weights that were far off in the first tenth of 200 steps: a constant decay of .998 would leave 70 % of that."""
    assert average_of([100.0] * 20 + [1.0] * 180, 0.998) == pytest.approx(1, abs=0.05)


def test_later_on_it_is_the_exponential_average() -> None:
    """By its definition, once the decay has been reached (after 81 steps at .9): the last ones alone count."""
    values = torch.rand(400, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).tolist()
    expected = sum(0.1 * 0.9**age * value for age, value in enumerate(reversed(values)))
    assert average_of(values, 0.9) == pytest.approx(expected, abs=1e-5)
