"""U-Net for inference only: every BatchNorm is part of the convolution before it (multiplied in float64).

In 16 bits two kinds of layers stay in float32, both cheap: the last one, whose logits are to differ finely, and those
that a BatchNorm with a tiny variance leaves with a bias of hundreds that nearly cancels.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..onnx_export.graphs import fold_batch_norm
from .fused_u2net import LARGE_BIAS
from .names import EngineName


class FusedUNet(nn.Module):
    """A fused U-Net.

    Args:
        model: A [`UNetForSemanticSegmentation`]; it stays as it is.
        dtype: Type of the numbers to compute with.
        device: Where to.
    """

    engine = EngineName.torch

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        super().__init__()
        network = fold_batch_norm(model, torch.float64).eval()
        exact = [name for name, layer in network.named_modules() if name == "classifier" or _needs_float32(layer)]
        in_float32 = {name: copy.deepcopy(network.get_submodule(name)) for name in exact if dtype.itemsize < 4}
        self.network = network.to(device, dtype, memory_format=torch.channels_last)
        for name, layer in in_float32.items():
            parent, _, last = name.rpartition(".")
            layer = layer.to(device, torch.float32, memory_format=torch.channels_last)
            setattr(network.get_submodule(parent), last, _InFloat32(layer, name == "classifier"))
        self.device, self.dtype = torch.device(device), dtype

    @torch.inference_mode()
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(tiles, channels, height, width)` on any device to float32 logits `(tiles, labels, height, width)`."""
        values = pixel_values.to(self.device, self.dtype, memory_format=torch.channels_last)
        logits: torch.Tensor = self.network(pixel_values=values).logits
        return logits.float()


class _InFloat32(nn.Module):
    """A layer that computes in float32 among others that do not."""

    def __init__(self, layer: nn.Module, is_last: bool) -> None:
        super().__init__()
        self.layer, self.is_last = layer, is_last

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(hidden.float())
        return result if self.is_last else result.to(hidden.dtype)


def _needs_float32(layer: nn.Module) -> bool:
    bias = getattr(layer, "bias", None)
    return bias is not None and bias.abs().max().item() > LARGE_BIAS
