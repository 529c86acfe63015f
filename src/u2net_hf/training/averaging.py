"""The exponential average of the weights during a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network whose weights and buffers follow those of the network, in evaluation mode.

    The decay begins low, and is (1 + n) / (10 + n) after n steps until it reaches its value: with a constant one of
    .998 the weights of a training of 500 steps were those of its beginning, and found nothing.
    """

    def update(averages: Any, current: Any, steps: torch.Tensor | int) -> None:
        number = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + number) / (10 + number)))(averages, current, steps)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True).eval()
