"""U²-Net and IS-Net: a U-Net of U-Nets for salient object detection, with deep supervision.

Paper: Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand, "U²-Net: Going Deeper with Nested U-Structure for Salient Object
Detection", Pattern Recognition 106, 2020, https://arxiv.org/abs/2005.09007. Figure 2 shows the residual U-block,
figure 5 the whole network. IS-Net (Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022,
https://arxiv.org/abs/2203.03041) is the same network behind a convolution of stride 2, and does not fuse its side
outputs. Sub-modules carry the names of the authors' released weights (Apache-2.0,
https://github.com/xuebinqin/U-2-Net and https://github.com/xuebinqin/DIS), so that their state dicts fit as they are.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_u2net import Stage, U2NetConfig
from .stages_u2net import parse_stage

if TYPE_CHECKING:
    # `save_pretrained` copies every file that is named like this along with the model.
    from .pipeline_u2net import BackgroundRemovalPipeline  # noqa: F401


@dataclass
class SaliencyOutput(ModelOutput):
    """Output of [`U2NetForImageSegmentation`].

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is given):
            Weighted sum of the losses of the fused map and of every side output (equation 1 of the paper).
        logits (`torch.FloatTensor` of shape `(batch_size, out_channels, height, width)`):
            The fused saliency map before the sigmoid (softmax for `out_channels > 1`), at the input's size.
        side_logits (`tuple(torch.FloatTensor)`, *optional*, one per encoder stage, each of the shape of `logits`):
            The side outputs before the sigmoid, upsampled to the input's size; the most detailed one first. Returned
            with `output_side_logits=True`, and by default in training mode and where `labels` are given.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True`):
            Output of every encoder stage, then of every decoder stage from the deepest up, each of shape
            `(batch_size, channels, height, width)` at its own resolution.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    side_logits: tuple[torch.Tensor, ...] | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


def halve(hidden: torch.Tensor) -> torch.Tensor:
    """2x2 max pooling to half the size, rounded up: `(B, C, H, W)` to `(B, C, ceil(H / 2), ceil(W / 2))`."""
    return F.max_pool2d(hidden, kernel_size=2, stride=2, ceil_mode=True)


def resize(hidden: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Bilinear resize of `(B, C, H, W)` to `size`, or `hidden` itself where it has that size."""
    if hidden.shape[-2:] == size:
        return hidden
    return F.interpolate(hidden, size=size, mode="bilinear", align_corners=False)


class U2NetConvBlock(nn.Module):
    """3x3 convolution, BatchNorm (unless folded away), ReLU: `(B, in, H, W)` to `(B, out, H, W)`."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1, use_batch_norm: bool = True):
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(out_channels) if use_batch_norm else nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn_s1(self.conv_s1(hidden)), inplace=True)


class U2NetRSU(GradientCheckpointingLayer):
    """Residual U-block (figure 2 of the paper): a small U-Net whose output is added to its input convolution.

    Blocks of height L pool after each but the last two levels; the dilated form ("RSU-4F") keeps its resolution and
    doubles the dilation from level to level instead. `(B, in, H, W)` to `(B, out, H, W)`.
    """

    def __init__(self, in_channels: int, stage: Stage, use_batch_norm: bool = True):
        super().__init__()
        height, dilated, mid_channels, out_channels = parse_stage(stage)
        self.height, self.dilated = height, dilated

        def block(in_channels: int, out_channels: int, dilation: int = 1) -> U2NetConvBlock:
            return U2NetConvBlock(in_channels, out_channels, dilation, use_batch_norm)

        def dilation(level: int) -> int:
            if dilated:
                return 2 ** (level - 1)
            return 2 if level == height else 1

        self.rebnconvin = block(in_channels, out_channels)
        for level in range(1, height + 1):
            level_in = out_channels if level == 1 else mid_channels
            self.add_module(f"rebnconv{level}", block(level_in, mid_channels, dilation(level)))
        for level in range(height - 1, 0, -1):
            level_out = out_channels if level == 1 else mid_channels
            self.add_module(f"rebnconv{level}d", block(2 * mid_channels, level_out, dilation(level)))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        residual = hidden = self.rebnconvin(hidden)
        skips = []
        for level in range(1, self.height):
            hidden = self.get_submodule(f"rebnconv{level}")(hidden)
            skips.append(hidden)
            if level < self.height - 1 and not self.dilated:
                hidden = halve(hidden)
        hidden = self.get_submodule(f"rebnconv{self.height}")(hidden)
        for level in range(self.height - 1, 0, -1):
            skip = skips.pop()
            hidden = torch.cat((resize(hidden, skip.shape[-2:]), skip), dim=1)
            hidden = self.get_submodule(f"rebnconv{level}d")(hidden)
        return hidden + residual


class U2NetPreTrainedModel(PreTrainedModel):
    """Weight initialization and what the library needs to know of the architecture."""

    config_class = U2NetConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["U2NetRSU"]
    # The loss is an average; `Trainer` must divide it by the steps that it accumulates.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The authors train from PyTorch's own initialization (a = sqrt(5)); the library's default, a standard
        # deviation of 0.02, does not train. Without BatchNorm only He's keeps the signal alive in all layers (a = 0).
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5) if self.config.use_batch_norm else 0)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class U2NetForImageSegmentation(U2NetPreTrainedModel):
    """U²-Net with its side outputs and the fused saliency map (figure 5 of the paper).

    Images of any height and width fit; the published weights were trained at 320x320 and do best there.
    With activation checkpointing every residual U-block is computed again in the backward pass: losses and gradients
    stay the same, but a BatchNorm's running statistics then take in each batch twice.

    Args:
        config ([`U2NetConfig`]): The architecture.
    """

    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoModelForImageSegmentation"

    def __init__(self, config: U2NetConfig):
        super().__init__(config)
        config.validate_architecture()  # arguments given to `from_pretrained` are set one by one, without this check
        self.num_stages = len(config.encoder_stages)
        out_channels: int = config.out_channels

        channels, encoder_channels = config.num_channels, []
        if config.stem_channels is not None:
            self.conv_in = nn.Conv2d(channels, config.stem_channels, kernel_size=3, stride=2, padding=1)
            channels = config.stem_channels
        for number, stage in enumerate(config.encoder_stages, start=1):
            self.add_module(f"stage{number}", U2NetRSU(channels, stage, config.use_batch_norm))
            channels = int(stage[2])
            encoder_channels.append(channels)
        side_channels = [channels]
        for number, stage in zip(range(self.num_stages - 1, 0, -1), config.decoder_stages, strict=True):
            channels += encoder_channels[number - 1]
            self.add_module(f"stage{number}d", U2NetRSU(channels, stage, config.use_batch_norm))
            channels = int(stage[2])
            side_channels.insert(0, channels)
        for number, channels in enumerate(side_channels, start=1):
            self.add_module(f"side{number}", nn.Conv2d(channels, out_channels, kernel_size=3, padding=1))
        if config.fuse_side_maps:
            self.outconv = nn.Conv2d(self.num_stages * out_channels, out_channels, kernel_size=1)

        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_side_logits: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SaliencyOutput:
        r"""Predict saliency maps.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
                Images as [`U2NetImageProcessor`] gives them.
            labels (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*):
                For `out_channels=1` the masks, in [0, 1]; soft masks are allowed. For more, class indices (`int64`).
                Either may hold `config.semantic_loss_ignore_index` where the loss shall not look. A channel axis of
                size 1 is allowed too.
            output_side_logits (`bool`, *optional*):
                Whether to return the side outputs; by default in training mode and with `labels`.
            output_hidden_states (`bool`, *optional*):
                Whether to return the output of every stage.
            return_dict (`bool`, *optional*):
                Whether to return a [`SaliencyOutput`] instead of a plain tuple.

        Raises:
            ValueError: If the image or the labels have a shape, type or range other than these.
        """
        if output_side_logits is None:
            output_side_logits = self.training or labels is not None
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        self._check_pixel_values(pixel_values)

        hidden = pixel_values if self.config.stem_channels is None else self.conv_in(pixel_values)
        encoder_states = []
        for number in range(1, self.num_stages + 1):
            hidden = self.get_submodule(f"stage{number}")(halve(hidden) if number > 1 else hidden)
            encoder_states.append(hidden)
        decoder_states = []
        for number in range(self.num_stages - 1, 0, -1):
            skip = encoder_states[number - 1]
            hidden = torch.cat((resize(hidden, skip.shape[-2:]), skip), dim=1)
            hidden = self.get_submodule(f"stage{number}d")(hidden)
            decoder_states.append(hidden)

        side_inputs = [*reversed(decoder_states), encoder_states[-1]]
        side_logits = tuple(
            resize(self.get_submodule(f"side{number}")(hidden), pixel_values.shape[-2:])
            for number, hidden in enumerate(side_inputs, start=1)
        )
        fused = self.config.fuse_side_maps
        logits = self.outconv(torch.cat(side_logits, dim=1)) if fused else side_logits[0]

        loss = None
        if labels is not None:
            weighted = [(self.config.fused_loss_weight, logits)] if fused else []
            weighted += zip(self.config.side_loss_weights, side_logits, strict=True)
            loss = torch.stack([weight * self.map_loss(maps, labels) for weight, maps in weighted]).sum()
        return SaliencyOutput(
            loss=loss,
            logits=logits,
            side_logits=side_logits if output_side_logits else None,
            hidden_states=(*encoder_states, *decoder_states) if output_hidden_states else None,
        )

    def fuse(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy of this network for inference only: the same maps, faster.

        Args:
            dtype: Of weights and activations; by default that of this network. bfloat16 is faster than float32 on CPUs
                that have instructions for it, and slower on others.

        Returns:
            A plain `torch.nn.Module` from `(batch_size, num_channels, height, width)` to logits of the shape
            `(batch_size, out_channels, height, width)`, on this network's device.

        Raises:
            ImportError: If the package u2net_hf, of which this file may be a copy, is not installed.
        """
        try:
            fused = import_module("u2net_hf.engines.fused_u2net")
        except ModuleNotFoundError as error:
            if error.name != "u2net_hf":
                raise
            raise ImportError("`fuse()` needs the package u2net_hf, which is not installed.") from error
        config, weights = self.config.to_dict(), self.state_dict()
        return fused.FusedU2Net.from_state_dict(config, weights, dtype or self.dtype, self.device)

    def map_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of one map, averaged over its pixels, in float32 also under autocast.

        Binary cross entropy on the logits (equation 2 of the paper), with `iou_loss_weight` also the soft
        intersection over union of each image; or softmax cross entropy for several channels. Ignored pixels are no
        part of it; if all are ignored the loss is 0.

        Args:
            logits: `(batch_size, out_channels, height, width)`, the fused map or one side output.
            labels: As in `forward`.

        Raises:
            ValueError: If the labels have another shape, type or range than `forward` says.
        """
        labels = self._check_labels(logits, labels)
        counted = labels != self.config.semantic_loss_ignore_index
        with torch.autocast(logits.device.type, enabled=False):
            if logits.shape[1] > 1:
                ignored = self.config.semantic_loss_ignore_index
                loss = F.cross_entropy(logits.float(), labels, ignore_index=ignored, reduction="none")
                return loss.sum() / counted.sum().clamp(min=1)
            logits, labels = logits.float().squeeze(1), torch.where(counted, labels, 0).float()
            loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            loss = (loss * counted).sum() / counted.sum().clamp(min=1)
            if self.config.iou_loss_weight:
                loss = loss + self.config.iou_loss_weight * soft_iou_loss(logits.sigmoid() * counted, labels)
            return loss

    def _check_pixel_values(self, pixel_values: torch.Tensor) -> None:
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"`pixel_values` must have the shape (batch_size, {self.config.num_channels}, height, width), "
                f"got {tuple(pixel_values.shape)}."
            )

    def _check_labels(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Bring labels to `(batch_size, height, width)`, or say what is wrong with them."""
        batch_size, out_channels, height, width = logits.shape
        if labels.ndim == 4 and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        if labels.shape != (batch_size, height, width):
            raise ValueError(
                f"`labels` must have the shape {(batch_size, height, width)} or {(batch_size, 1, height, width)} "
                f"to fit the images, got {tuple(labels.shape)}."
            )
        if out_channels > 1 and (labels.is_floating_point() or labels.dtype == torch.bool):
            raise ValueError(
                f"`labels` for {out_channels} channels must be class indices (int64), got {labels.dtype}."
            )
        if not torch.compiler.is_compiling():  # a compiled or exported graph cannot branch on values
            self._check_label_values(labels, out_channels)
        return labels.long() if out_channels > 1 else labels

    def _check_label_values(self, labels: torch.Tensor, out_channels: int) -> None:
        ignored, largest = self.config.semantic_loss_ignore_index, max(out_channels - 1, 1)
        counted = labels[labels != ignored]
        wrong = counted[(counted < 0) | (counted > largest)]
        if out_channels > 1 and len(wrong):
            raise ValueError(
                f"`labels` for {out_channels} channels must be class indices from 0 to {largest}, or {ignored} for "
                f"pixels to ignore, got {wrong.unique().tolist()}."
            )
        # Nothing but 0 and 255 is most likely a mask of 8 bits, whose object would be ignored.
        is_mask = out_channels == 1 and ignored == 255 and len(counted) < labels.numel() and not counted.any()
        if len(wrong) or is_mask:
            raise ValueError(
                f"`labels` for one channel must lie in [0, 1], got [{labels.min():g}, {labels.max():g}]: "
                "divide masks of 0 and 255 by 255. (To ignore pixels of an image without an object choose another "
                "`semantic_loss_ignore_index` than 255, such as -1.)"
            )


def soft_iou_loss(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1 - intersection over union of soft masks `(B, H, W)` in [0, 1], averaged over the images: in [0, 1].

    Of the hybrid loss of BASNet (Qin et al., CVPR 2019); one pixel is added to both areas, for empty masks.
    """
    intersection = (probabilities * labels).sum(dim=(1, 2))
    union = (probabilities + labels).sum(dim=(1, 2)) - intersection
    return (1 - (intersection + 1) / (union + 1)).mean()


# The image-segmentation pipeline looks its models up in this table of names, which registration does not fill, and
# logs an error for a model that is not in it.
pipeline_models = getattr(modeling_auto, "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES", {})
pipeline_models.setdefault(U2NetConfig.model_type, U2NetForImageSegmentation.__name__)

__all__ = ["SaliencyOutput", "U2NetForImageSegmentation", "U2NetPreTrainedModel"]
