"""U-Net: Convolutional Networks for Biomedical Image Segmentation.

Paper: Ronneberger, Fischer, Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597. Figure 1 shows the network, section 3
gives the loss and the initialization. Where the paper is silent the authors' released Caffe model is named. Two forms
share this code: the network of the paper (valid convolutions) and the modern one (padded convolutions, BatchNorm).
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.utils.generic import can_return_tuple

from .configuration_unet import UNetConfig


class UNetDoubleConv(nn.Module):
    """Two 3x3 convolutions, each with BatchNorm (if configured) and ReLU: `(B, in, H, W)` to `(B, out, H', W')`.

    Padded convolutions keep the size; valid ones take 2 pixels off every side.
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int):
        super().__init__()
        padding = 1 if config.padding == "same" else 0
        bias = not config.use_batch_norm  # a BatchNorm would subtract it again
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=padding, bias=bias)
        self.norm1 = nn.BatchNorm2d(out_channels) if config.use_batch_norm else nn.Identity()
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=padding, bias=bias)
        self.norm2 = nn.BatchNorm2d(out_channels) if config.use_batch_norm else nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.norm1(self.conv1(hidden)), inplace=True)
        return F.relu(self.norm2(self.conv2(hidden)), inplace=True)


class UNetContractingBlock(GradientCheckpointingLayer):
    """One level of the contracting path: pooling (but on the first level), two convolutions, dropout."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int, use_pooling: bool, dropout: float):
        super().__init__()
        self.use_pooling = use_pooling
        self.convolutions = UNetDoubleConv(config, in_channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.use_pooling:
            # Rounding up keeps the last row of an odd map, so that the upsampled map covers the skip connection.
            hidden = F.max_pool2d(hidden, kernel_size=2, ceil_mode=True)
        return self.dropout(self.convolutions(hidden))


class UNetExpansiveBlock(GradientCheckpointingLayer):
    """One level of the expansive path: upsampling, concatenation with the skip connection, two convolutions."""

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.is_valid = config.padding == "valid"
        self.is_bilinear = config.upsampling == "bilinear"
        self.upsampling: nn.Module
        if self.is_bilinear:
            self.upsampling = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        else:
            self.upsampling = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        self.convolutions = UNetDoubleConv(config, 2 * out_channels, out_channels)

    def forward(self, hidden: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        hidden = self.upsampling(hidden)
        if self.is_bilinear:
            # A 1x1 convolution and the interpolation commute; the convolution comes first, on a quarter of the pixels.
            hidden = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=False)
            if self.is_valid:
                # The outermost pixels lack a neighbor: like those of the convolutions, they are not valid.
                hidden = hidden[..., 1:-1, 1:-1]
        if self.is_valid:
            skip = center_crop(skip, hidden.shape[-2:])
        else:
            # Pixel i of the coarse map covers pixels 2i and 2i + 1 of the skip; the second may lie beyond an odd map.
            # Cut it off by padding of -1 or 0: exported graphs, which cannot tell these two apart, take any size then.
            hidden = F.pad(hidden, (0, skip.shape[3] - hidden.shape[3], 0, skip.shape[2] - hidden.shape[2]))
        return self.convolutions(torch.cat((skip, hidden), dim=1))


class UNetPreTrainedModel(PreTrainedModel):
    """Weight initialization and what the library needs to know of the architecture."""

    config_class = UNetConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["UNetContractingBlock", "UNetExpansiveBlock"]
    # The loss is an average; `Trainer` must divide it by the steps that it accumulates.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Section 3: a normal distribution of standard deviation sqrt(2 / N), N the incoming nodes of one neuron. The
        # taps of a 2x2 transposed convolution of stride 2 do not overlap: a neuron has one node per input channel.
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            taps = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 1
            init.normal_(module.weight, mean=0.0, std=math.sqrt(2 / (module.in_channels * taps)))
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class UNetForSemanticSegmentation(UNetPreTrainedModel):
    """U-Net with a 1x1 convolution to one logit per label and pixel (figure 1 of the paper).

    The paper has "drop-out layers at the end of the contracting path" and names no place more exact. The released
    Caffe model has two of them: after the last two levels, before the skip connection branches off. So has this one.
    With activation checkpointing every block is computed again in the backward pass: losses and gradients stay the
    same, but a BatchNorm's running statistics then take in each batch twice.

    Args:
        config ([`UNetConfig`]): The architecture.
    """

    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoModelForImageSegmentation"

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        config.validate_architecture()  # arguments given to `from_pretrained` are set one by one, without this check
        sizes = config.hidden_sizes
        self.contracting_path = nn.ModuleList(
            UNetContractingBlock(
                config,
                in_channels=config.num_channels if level == 0 else sizes[level - 1],
                out_channels=sizes[level],
                use_pooling=level > 0,
                dropout=config.dropout if level >= config.depth - 1 else 0.0,
            )
            for level in range(config.depth + 1)
        )
        self.expansive_path = nn.ModuleList(
            UNetExpansiveBlock(config, in_channels=sizes[level + 1], out_channels=sizes[level])
            for level in reversed(range(config.depth))
        )
        self.num_labels: int = config.num_labels
        self.classifier = nn.Conv2d(sizes[0], self.num_labels, kernel_size=1)

        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        labels: torch.Tensor | None = None,
        loss_weights: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SemanticSegmenterOutput:
        r"""Predict the logits of every pixel.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
                Images as [`UNetImageProcessor`] gives them. With `padding="same"` any size will do, with
                `padding="valid"` those that [`UNetConfig.output_size`] takes.
            labels (`torch.Tensor` of shape `(batch_size, height, width)`, *optional*; a channel axis of 1 is allowed):
                Class indices; with one label the masks, in [0, 1]; soft masks are allowed. Either may hold
                `config.semantic_loss_ignore_index` where the loss shall not look. Valid convolutions take labels of
                the input's size, which are center-cropped, or of the output's.
            loss_weights (`torch.FloatTensor` of the shape of `labels`, *optional*):
                Weight of each pixel in the loss, the map w(x) of equation 2.
            output_hidden_states (`bool`, *optional*):
                Whether to return the output of every level.
            return_dict (`bool`, *optional*):
                Whether to return a [`SemanticSegmenterOutput`] instead of a plain tuple.

        Returns:
            [`SemanticSegmenterOutput`] with `loss` (see `map_loss`; if there are labels), `logits` of shape
            `(batch_size, num_labels, output height, output width)`, and `hidden_states` (if asked for): the output of
            every level of the contracting path from the top down, then of the expansive path from the bottom up.

        Raises:
            ValueError: If the images, labels or weights have a shape, type or range other than these.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output_size = self._check_pixel_values(pixel_values)
        if labels is not None:
            labels, loss_weights = self._check_labels(labels, loss_weights, pixel_values, output_size)

        hidden, skips, hidden_states = pixel_values, [], ()
        for block in self.contracting_path:
            hidden = block(hidden)
            skips.append(hidden)
            hidden_states += (hidden,) if output_hidden_states else ()
        skips.pop()
        for block in self.expansive_path:
            hidden = block(hidden, skips.pop())
            hidden_states += (hidden,) if output_hidden_states else ()
        logits = self.classifier(hidden)

        return SemanticSegmenterOutput(
            loss=None if labels is None else self.map_loss(logits, labels, loss_weights),
            logits=logits,
            hidden_states=hidden_states if output_hidden_states else None,
        )

    def map_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, loss_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Weighted cross entropy -w(x) log p(x) (equation 1 of the paper), in float32 also under autocast.

        It is averaged over the pixels, where the paper sums: a weight of 2 counts twice, however large the image and
        whatever the other weights. Ignored pixels are no part of the average; if all are ignored the loss is 0.

        Args:
            logits: `(batch_size, num_labels, height, width)`. One label means binary cross entropy with a sigmoid,
                more of them cross entropy with a softmax over the labels.
            labels: `(batch_size, height, width)`, as in `forward`.
            loss_weights: `(batch_size, height, width)`; 1 everywhere by default.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, ignored = logits.float(), self.config.semantic_loss_ignore_index
            counted = labels != ignored
            if logits.shape[1] == 1:
                masks = torch.where(counted, labels, 0).float()
                loss = F.binary_cross_entropy_with_logits(logits.squeeze(1), masks, reduction="none") * counted
            else:
                loss = F.cross_entropy(logits, labels.long(), ignore_index=ignored, reduction="none")
            if loss_weights is not None:
                loss = loss * loss_weights.float()
            return loss.sum() / counted.sum().clamp(min=1)

    def _check_pixel_values(self, pixel_values: torch.Tensor) -> tuple[int, int]:
        """Say what is wrong with the images, or how large the output will be."""
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"`pixel_values` must have the shape (batch_size, {self.config.num_channels}, height, width), "
                f"got {tuple(pixel_values.shape)}."
            )
        return self.config.output_size(pixel_values.shape[2], pixel_values.shape[3])

    def _check_labels(
        self,
        labels: torch.Tensor,
        loss_weights: torch.Tensor | None,
        pixel_values: torch.Tensor,
        output_size: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Bring labels and weights to `(batch_size, output height, output width)`, or say what is wrong with them."""
        batch_size, _, height, width = pixel_values.shape
        if labels.ndim == 4 and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        legal_shapes = dict.fromkeys([(batch_size, height, width), (batch_size, *output_size)])
        if labels.shape not in legal_shapes:
            expected = " or, at the size of the output, ".join(map(str, legal_shapes))
            raise ValueError(f"`labels` must have the shape {expected} to fit the images, got {tuple(labels.shape)}.")
        if loss_weights is not None:
            if loss_weights.ndim == 4 and loss_weights.shape[1] == 1:
                loss_weights = loss_weights.squeeze(1)
            if loss_weights.shape != labels.shape:
                raise ValueError(
                    f"`loss_weights` must have the shape of `labels`, {tuple(labels.shape)}, "
                    f"got {tuple(loss_weights.shape)}."
                )
            loss_weights = center_crop(loss_weights, output_size)
        self._check_label_values(labels)
        return center_crop(labels, output_size), loss_weights

    def _check_label_values(self, labels: torch.Tensor) -> None:
        num_labels, ignored = self.num_labels, self.config.semantic_loss_ignore_index
        if num_labels > 1 and labels.is_floating_point():
            raise ValueError(f"`labels` for {num_labels} labels must be class indices (int64), got {labels.dtype}.")
        if torch.compiler.is_compiling():  # a compiled or exported graph cannot branch on values
            return
        counted = labels[labels != ignored]
        largest = max(num_labels - 1, 1)
        wrong = counted[(counted < 0) | (counted > largest)]
        if num_labels > 1 and len(wrong):
            raise ValueError(
                f"`labels` for {num_labels} labels must be class indices from 0 to {largest}, or {ignored} for "
                f"pixels to ignore, got {wrong.unique().tolist()}."
            )
        # Nothing but 0 and 255 is most likely a mask of 8 bits, whose object would be ignored.
        is_mask = num_labels == 1 and ignored == 255 and len(counted) < labels.numel() and not counted.any()
        if len(wrong) or is_mask:
            raise ValueError(
                f"`labels` for one label must lie in [0, 1], got [{labels.min():g}, {labels.max():g}]: "
                "divide masks of 0 and 255 by 255. (To ignore pixels of an image without an object choose another "
                "`semantic_loss_ignore_index` than 255, such as -1.)"
            )


def center_crop(maps: torch.Tensor, size: torch.Size | tuple[int, int]) -> torch.Tensor:
    """Cut the center of `size` (height, width) out of the last two dimensions."""
    height, width = size
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]


# The image-segmentation pipeline looks its models up in this table of names, which registration does not fill, and
# logs an error for a model that is not in it.
pipeline_models = getattr(modeling_auto, "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES", {})
pipeline_models.setdefault(UNetConfig.model_type, UNetForSemanticSegmentation.__name__)

__all__ = ["UNetForSemanticSegmentation", "UNetPreTrainedModel"]
