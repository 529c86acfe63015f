"""U²-Net for inference only: the plain network's maps with less work. It needs torch and nothing else.

What it leaves out, none of which changes a map by more than rounding:

- BatchNorm is part of the convolution before it (the factors are multiplied in float64).
- No side output is made at full size, and none that the map does not need. The 1x1 convolution that fuses them is
  linear, so each side output is weighted at its own resolution, then resized and added. A 3x3 convolution to one
  channel is a 1x1 convolution to nine, one per tap, that are shifted and added: a CPU convolves to 16 channels in the
  time that it takes for one.
- A convolution over an upsampled map is carried out before the upsampling (`doubled_convolution.py`): it is
  split into the channels of the two maps that the plain network concatenates,

      conv3x3(concat(upsample(low), skip)) = conv3x3(upsample(low)) + conv3x3(skip),

  and the first part costs a quarter at the small size, with no upsampled and no concatenated map. It holds for sizes
  that double exactly; to other sizes the map is resized first.
- Layers of many channels are carried out by Winograd's way on a CPU in float32 (`winograd_convolution.py`).

The weights exist once, in the form that is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..models.u2net.stages_u2net import parse_stage
from .doubled_convolution import bilinear_filter, convolve_doubled
from .winograd_convolution import convolve_by_winograd, transform_weight

# The transposed convolution saves 14 operations per input channel, output channel and pixel of the large map. Below
# this product of the three its small steps cost more (measured on a CPU; on GPUs it was not).
MIN_WORK = 2_000_000
# Winograd's way pays where in * out / (in + out) channels are at least this (measured on a CPU): in deep stages.
MIN_CHANNELS = 100
# A BatchNorm that divides by a tiny variance leaves a layer whose sums nearly cancel with a bias of hundreds: in 16
# bits what is left is noise. Such layers stay in float32: 4 of 112 in the published U²-Net†, 5 in U²-Net, all cheap.
LARGE_BIAS = 16.0
CHANNELS_LAST = torch.channels_last


class ConvReLU(nn.Module):
    """3x3 convolution and ReLU: `(B, in, H, W)` to `(B, out, H, W)`.

    Args:
        weight: `(out, in, 3, 3)`.
        bias: `(out,)`.
        dilation: Distance of the taps.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dilation: int = 1):
        super().__init__()
        self.weight: torch.Tensor
        self.bias: torch.Tensor
        self.dilation = dilation
        out_channels, in_channels = weight.shape[:2]
        many = in_channels * out_channels >= MIN_CHANNELS * (in_channels + out_channels)
        self.by_winograd = many and dilation == 1 and weight.dtype.itemsize >= 4 and weight.device.type == "cpu"
        transformed = transform_weight(weight) if self.by_winograd else weight.contiguous(memory_format=CHANNELS_LAST)
        self.register_buffer("weight", transformed)
        self.register_buffer("bias", bias)

    def forward(self, hidden: torch.Tensor, addend: torch.Tensor | None = None) -> torch.Tensor:
        """`relu(convolution + addend)`; the result takes the memory of `addend`."""
        hidden = hidden.to(self.bias.dtype)
        if self.by_winograd:
            result = convolve_by_winograd(hidden, self.weight).add_(self.bias[:, None, None])
        else:
            result = F.conv2d(hidden, self.weight, self.bias, padding=self.dilation, dilation=self.dilation)
        return (result if addend is None else addend.add_(result)).relu_()


class UpConvReLU(nn.Module):
    """3x3 convolution of a map beside another one that is resized to its size, and ReLU.

    Args:
        weight: `(out, low + skip, 3, 3)`.
        bias: `(out,)`.
        low_channels: Channels of the map to resize; they come first in `weight`.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, low_channels: int):
        super().__init__()
        self.transposed: torch.Tensor
        self.smoothing: torch.Tensor
        self.of_skip = ConvReLU(weight[:, low_channels:], bias)
        # A transposed convolution has its axes of channels exchanged and its taps in the other order.
        transposed = weight[:, :low_channels].transpose(0, 1).flip(2, 3)
        self.register_buffer("transposed", transposed.contiguous(memory_format=CHANNELS_LAST))
        self.register_buffer("smoothing", bilinear_filter(weight))

    def forward(self, low: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """`(B, low, h, w)` and `(B, skip, H, W)` to `(B, out, H, W)`."""
        low = low.to(self.transposed.dtype)
        height, width = skip.shape[-2:]
        doubles = (height, width) == (2 * low.shape[-2], 2 * low.shape[-1])
        work = self.transposed.shape[0] * self.transposed.shape[1] * height * width
        if doubles and work >= MIN_WORK and low.device.type == "cpu":
            return self.of_skip(skip, convolve_doubled(low, self.transposed, self.smoothing))
        weight = self.transposed.flip(2, 3).transpose(0, 1)
        return self.of_skip(skip, F.conv2d(resize(low, skip.shape[-2:]), weight, padding=1))


class RSU(nn.Module):
    """Residual U-block: what follows its first layer, `entry`, from that one's result `(B, out, H, W)` to the like."""

    def __init__(self, entry: ConvReLU | UpConvReLU, down: Sequence[ConvReLU], up: Sequence[nn.Module], dilated: bool):
        super().__init__()
        self.entry, self.down, self.up = entry, nn.ModuleList(down), nn.ModuleList(up)
        self.dilated = dilated

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """As the plain network's block; who called `entry` need not hold what went into it meanwhile."""
        hidden = residual
        skips: list[torch.Tensor] = []
        for level, layer in enumerate(self.down):
            pooled = 0 < level < len(self.down) - 1 and not self.dilated
            hidden = layer(halve(hidden) if pooled else hidden)
            skips.append(hidden)
        hidden = skips.pop()
        for layer in self.up:
            skip = skips.pop()
            inputs = (hidden, skip) if isinstance(layer, UpConvReLU) else (torch.cat((hidden, skip), dim=1),)
            hidden = layer(*inputs)
        return hidden.add_(residual)


class SideMap(nn.Module):
    """3x3 convolution to few channels, without a bias: `(B, in, H, W)` to `(B, out, H, W)` in float32.

    Args:
        weight: `(out, in, 3, 3)`.
    """

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.taps: torch.Tensor
        self.register_buffer("taps", weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, weight.shape[1]).contiguous())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """One map per tap and output channel, shifted and added."""
        # As a product of matrices: what a convolution to nine channels gives depends on the number of threads.
        taps = F.linear(hidden.permute(0, 2, 3, 1).to(self.taps.dtype), self.taps).to(_map_dtype(hidden.dtype))
        return F.fold(taps.flatten(1, 2).mT, hidden.shape[-2:], kernel_size=3, padding=1)


class FusedU2Net(nn.Module):
    """U²-Net that only predicts: the maps of [`U2NetForImageSegmentation`], faster.

    Made by [`FusedU2Net.from_state_dict`] or [`U2NetForImageSegmentation.fuse`]. Its type and device stay as they are
    made, it has no gradients, and it cannot be trained.
    """

    def __init__(self, config: Mapping[str, Any], builder: "_Builder"):
        super().__init__()
        self.num_channels = config["num_channels"]
        self.bias: torch.Tensor
        self.encoder: Any  # a ModuleList does not tell of what
        self.decoder: Any
        encoder = [builder.rsu(f"stage{number}", stage) for number, stage in enumerate(config["encoder_stages"], 1)]
        channels, decoder = config["encoder_stages"][-1][2], []
        for number, stage in zip(range(len(encoder) - 1, 0, -1), config["decoder_stages"], strict=True):
            decoder.append(builder.rsu(f"stage{number}d", stage, low_channels=channels))
            channels = stage[2]
        sides, bias = builder.sides(len(encoder), config.get("fuse_side_maps", True))
        self.stem = builder.stem(config.get("stem_channels"))
        self.encoder, self.decoder, self.sides = nn.ModuleList(encoder), nn.ModuleList(decoder), nn.ModuleList(sides)
        self.register_buffer("bias", bias)
        super().train(False)

    @classmethod
    def from_state_dict(
        cls,
        config: Mapping[str, Any],
        state_dict: Mapping[str, torch.Tensor],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "FusedU2Net":
        """Build the network from weights under the official names.

        Args:
            config: `num_channels`, the stages, `stem_channels` and `fuse_side_maps` as in [`U2NetConfig`] or its
                `config.json`.
            state_dict: The weights of [`U2NetForImageSegmentation`], with BatchNorms or with these folded away.
            dtype: Of weights and activations. bfloat16 is faster on CPUs that have instructions for it only.
            device: Where it runs.

        Raises:
            ValueError: If a stage has a wrong form or a weight is missing.
        """
        return cls(config, _Builder(state_dict, dtype, torch.device(device)))

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and activations."""
        return next(self.sides.buffers()).dtype  # a layer may be in float32 for its large bias, a side map never

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.bias.device

    def train(self, mode: bool = True) -> "FusedU2Net":
        """Refuse to train.

        Raises:
            RuntimeError: If `mode` is true.
        """
        if mode:
            raise RuntimeError("a FusedU2Net only predicts: train the U2NetForImageSegmentation that it was made from")
        return self

    @torch.inference_mode()
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Predict the fused saliency map.

        Args:
            pixel_values: `(B, num_channels, H, W)` of any floating type; any size, 320x320 fits the published weights.

        Returns:
            The logits `(B, out_channels, H, W)`, float32 (float64 for a network of float64).

        Raises:
            ValueError: If the images have another shape.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.num_channels:
            raise ValueError(
                f"`pixel_values` must have the shape (batch_size, {self.num_channels}, height, width), "
                f"got {tuple(pixel_values.shape)}."
            )
        if self.device.type == "cpu" and len(pixel_values) > 1:
            # A batch is not faster here, but the maps of one image stay in the caches longer and take less memory.
            return torch.cat([self._predict(image) for image in pixel_values.split(1)])
        return self._predict(pixel_values)

    def _predict(self, pixel_values: torch.Tensor) -> torch.Tensor:
        size = pixel_values.shape[-2:]
        hidden = self.stem(pixel_values.to(dtype=self.dtype, memory_format=CHANNELS_LAST))
        states: list[torch.Tensor] = []
        for stage in self.encoder:
            hidden = stage.entry(halve(hidden) if states else hidden)
            hidden = stage(hidden)
            states.append(hidden)
        hidden, logits = states.pop(), self.bias
        first = 1 + len(self.decoder) - len(self.sides)  # of the maps from the deepest up, that has a side output
        for number in range(1 + len(self.decoder)):
            if number > 0:
                hidden = self.decoder[number - 1].entry(hidden, states.pop())
                hidden = self.decoder[number - 1](hidden)
            if number >= first:
                logits = logits + resize(self.sides[number - first](hidden), size)
        return logits


class _Builder:
    """The layers, made of weights under the official names."""

    def __init__(self, state_dict: Mapping[str, torch.Tensor], dtype: torch.dtype, device: torch.device):
        self.state_dict, self.dtype, self.device = state_dict, dtype, device

    def rsu(self, name: str, stage: Sequence[str | int], low_channels: int | None = None) -> RSU:
        """The residual U-block `name`; that of a decoder stage takes a map of `low_channels` and one beside it."""
        height, dilated, mid_channels, _ = parse_stage(stage)

        def layer(level: str, dilation: int = 1) -> ConvReLU:
            return ConvReLU(*self.convolution(f"{name}.rebnconv{level}"), dilation)

        def up_layer(level: str, low_channels: int) -> UpConvReLU:
            return UpConvReLU(*self.convolution(f"{name}.rebnconv{level}"), low_channels)

        entry = layer("in") if low_channels is None else up_layer("in", low_channels)
        levels = range(1, height + 1)
        dilations = [2 ** (level - 1) if dilated else 1 + (level == height) for level in levels]
        down = [layer(str(level), dilation) for level, dilation in zip(levels, dilations, strict=True)]
        up = [
            layer(f"{level}d", dilations[level - 1])
            if dilated or level == height - 1  # the two deepest levels have one size
            else up_layer(f"{level}d", mid_channels)
            for level in range(height - 1, 0, -1)
        ]
        return RSU(entry, down, up, dilated)

    def convolution(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias with the BatchNorm, if there is one, multiplied in; see `LARGE_BIAS` for their type."""
        weight, bias = self.get(f"{name}.conv_s1.weight"), self.get(f"{name}.conv_s1.bias")
        if f"{name}.bn_s1.weight" in self.state_dict:
            mean, variance = self.get(f"{name}.bn_s1.running_mean"), self.get(f"{name}.bn_s1.running_var")
            scale = self.get(f"{name}.bn_s1.weight") / (variance + nn.BatchNorm2d(1).eps).sqrt()
            weight = weight * scale[:, None, None, None]
            bias = (bias - mean) * scale + self.get(f"{name}.bn_s1.bias")
        exact = self.dtype.itemsize < 4 and bias.abs().max() > LARGE_BIAS
        dtype = torch.float32 if exact else self.dtype
        return weight.to(self.device, dtype), bias.to(self.device, dtype)

    def stem(self, stem_channels: int | None) -> nn.Module:
        """The convolution before the first stage, if there is one."""
        if stem_channels is None:
            return nn.Identity()
        weight, bias = (self.get(f"conv_in.{part}").to(self.device, self.dtype) for part in ("weight", "bias"))
        stem = nn.Conv2d(weight.shape[1], weight.shape[0], 3, stride=2, padding=1, device="meta")
        stem.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        return stem.requires_grad_(False)

    def sides(self, count: int, fused: bool) -> tuple[list[SideMap], torch.Tensor]:
        """The side outputs that the map needs, the deepest first, with their weights in it, and the map's bias."""
        if not fused:
            side = SideMap(self.get("side1.weight").to(self.device, self.dtype))
            bias = self.get("side1.bias")[:, None, None].to(self.device, _map_dtype(self.dtype))
            return [side], bias
        fusion, bias = self.get("outconv.weight").flatten(1), self.get("outconv.bias")
        sides = []
        for number, share in reversed([*enumerate(fusion.chunk(count, dim=1), start=1)]):
            weight = torch.einsum("oi,icyx->ocyx", share, self.get(f"side{number}.weight"))
            sides.append(SideMap(weight.to(self.device, self.dtype)))
            bias = bias + share @ self.get(f"side{number}.bias")
        return sides, bias[:, None, None].to(self.device, _map_dtype(self.dtype))

    def get(self, name: str) -> torch.Tensor:
        if name not in self.state_dict:
            raise ValueError(f"the weight {name!r} is missing: the stages of the configuration need it")
        return self.state_dict[name].detach().double()


# The plain network has these two as well, in a file that imports transformers.
def halve(hidden: torch.Tensor) -> torch.Tensor:
    """2x2 max pooling to half the size, rounded up: `(B, C, H, W)` to `(B, C, ceil(H / 2), ceil(W / 2))`."""
    return F.max_pool2d(hidden, kernel_size=2, stride=2, ceil_mode=True)


def resize(hidden: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Bilinear resize of `(B, C, H, W)` to `size`, or `hidden` itself where it has that size."""
    if hidden.shape[-2:] == size:
        return hidden
    return F.interpolate(hidden, size=size, mode="bilinear", align_corners=False)


def _map_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
