"""Configuration of U²-Net.

Paper: Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand, "U²-Net: Going Deeper with Nested U-Structure for Salient Object
Detection", Pattern Recognition 106, 2020, table 1 (the stages) and equation 1 (the loss weights).
"""

from dataclasses import field
from typing import TYPE_CHECKING, Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from .stages_u2net import parse_stage

if TYPE_CHECKING:
    # `save_pretrained` copies every file that is named like this along with the configuration.
    from .modeling_u2net import U2NetForImageSegmentation  # noqa: F401
    from .pipeline_u2net import BackgroundRemovalPipeline  # noqa: F401

# What a process without this package finds in a saved folder, for each Auto class and for the task.
AUTO_MAP = {
    "AutoConfig": "configuration_u2net.U2NetConfig",
    "AutoModel": "modeling_u2net.U2NetForImageSegmentation",
    "AutoModelForImageSegmentation": "modeling_u2net.U2NetForImageSegmentation",
    "AutoModelForSemanticSegmentation": "modeling_u2net.U2NetForImageSegmentation",
}
CUSTOM_PIPELINES = {
    "background-removal": {
        "impl": "pipeline_u2net.BackgroundRemovalPipeline",
        "pt": ["AutoModelForImageSegmentation"],
        "type": "image",
    }
}

# Name of the residual U-block, mid channels, out channels: table 1 of the paper, from En_1 down and from De_5 up.
Stage = list[str | int]
ENCODER_STAGES: list[Stage] = [
    ["RSU-7", 32, 64],
    ["RSU-6", 32, 128],
    ["RSU-5", 64, 256],
    ["RSU-4", 128, 512],
    ["RSU-4F", 256, 512],
    ["RSU-4F", 256, 512],
]
DECODER_STAGES: list[Stage] = [
    ["RSU-4F", 256, 512],
    ["RSU-4", 128, 256],
    ["RSU-5", 64, 128],
    ["RSU-6", 32, 64],
    ["RSU-7", 16, 64],
]


@strict
class U2NetConfig(PreTrainedConfig):
    r"""Configuration of [`U2NetForImageSegmentation`]. The defaults are the full U²-Net (44.0 M parameters).

    All arguments are keyword arguments.

    Args:
        num_channels (`int`, *optional*, defaults to 3):
            Channels of the input image.
        out_channels (`int`, *optional*, defaults to 1):
            Channels of every saliency map. With 1 the map is the log-odds of "salient object" and the loss is binary
            cross entropy; with more, one channel per label, and the loss is softmax cross entropy. Channel 0 is then
            the background.
        encoder_stages (`list[list]`, *optional*):
            One `[block, mid_channels, out_channels]` per encoder stage, from the input down. `block` is the paper's
            name of a residual U-block: `"RSU-L"` with height L, or `"RSU-LF"` with dilations instead of pooling.
        decoder_stages (`list[list]`, *optional*):
            The same for the decoder, from the deepest stage up to the output: one stage fewer than the encoder.
        use_batch_norm (`bool`, *optional*, defaults to `True`):
            Whether a BatchNorm stands between each convolution of a residual U-block and its ReLU. `False` is the
            form for inference with the BatchNorms folded into the convolutions.
        fused_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of the fused map's loss (`w_fuse` in equation 1).
        side_loss_weights (`list[float]`, *optional*):
            Weights of the side outputs' losses (`w_side` in equation 1), the largest map first; all 1 by default.
        iou_loss_weight (`float`, *optional*, defaults to 0.0):
            Weight of a soft intersection-over-union loss, added to each map's cross entropy; only if
            `out_channels == 1`. The paper has none. Cross entropy makes an unsure network gray, this term makes it
            decide, which short trainings on few images gain most from (BASNet's loss, Qin et al., CVPR 2019).
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label that the loss ignores. Only used if `out_channels > 1`.

    Raises:
        ValueError: If a stage is not `[block, mid_channels, out_channels]`, or counts do not fit together.

    Example:

    ```python
    >>> from u2net_hf import U2NetConfig, U2NetForImageSegmentation

    >>> model = U2NetForImageSegmentation(U2NetConfig())
    >>> f"{model.num_parameters():,}"
    '44,009,869'
    >>> f"{U2NetForImageSegmentation(U2NetConfig.small()).num_parameters():,}"
    '1,131,181'
    ```
    """

    model_type = "u2net"
    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoConfig"
    keys_to_ignore_at_inference = ["side_logits", "hidden_states"]

    num_channels: int = 3
    out_channels: int = 1
    encoder_stages: list[Stage] = field(default_factory=lambda: [list(stage) for stage in ENCODER_STAGES])
    decoder_stages: list[Stage] = field(default_factory=lambda: [list(stage) for stage in DECODER_STAGES])
    use_batch_norm: bool = True
    fused_loss_weight: float = 1.0
    side_loss_weights: list[float] | None = None
    iou_loss_weight: float = 0.0
    semantic_loss_ignore_index: int = 255

    def __post_init__(self, **kwargs: Any) -> None:
        if not __name__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
            # The package is at hand: no code of the folder is needed, and users must not be asked to trust it.
            kwargs.pop("auto_map", None)
            kwargs.pop("custom_pipelines", None)
        if self.side_loss_weights is None:
            self.side_loss_weights = [1.0] * len(self.encoder_stages)
        if self.id2label is None and self.out_channels == 1 and kwargs.get("num_labels") is None:
            # One channel tells two labels apart.
            self.id2label = {0: "background", 1: "salient object"}
            self.label2id = {"background": 0, "salient object": 1}
        elif self.id2label is None:
            kwargs.setdefault("num_labels", self.out_channels)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Check that stages, weights and labels fit together (called when the configuration is made)."""
        for name in ("encoder_stages", "decoder_stages"):
            for stage in getattr(self, name):
                parse_stage(stage, name)
        if len(self.decoder_stages) != len(self.encoder_stages) - 1 or not self.decoder_stages:
            raise ValueError(
                f"`decoder_stages` has {len(self.decoder_stages)} stages, but {len(self.encoder_stages)} "
                "`encoder_stages` need one decoder stage fewer, and at least one."
            )
        if self.side_loss_weights is None or len(self.side_loss_weights) != len(self.encoder_stages):
            raise ValueError(
                f"`side_loss_weights` needs {len(self.encoder_stages)} weights, one per side output, "
                f"got {self.side_loss_weights}."
            )
        if self.iou_loss_weight < 0 or (self.iou_loss_weight and self.out_channels > 1):
            raise ValueError(
                f"`iou_loss_weight` must be at least 0, and 0 for `out_channels` above 1, got {self.iou_loss_weight} "
                f"for {self.out_channels}."
            )
        if self.num_channels < 1 or self.out_channels < 1:
            raise ValueError(
                "`num_channels` and `out_channels` must be at least 1, "
                f"got {self.num_channels} and {self.out_channels}."
            )
        if self.num_labels != max(self.out_channels, 2):
            raise ValueError(
                f"`out_channels={self.out_channels}` tells {max(self.out_channels, 2)} labels apart, but there are "
                f"{self.num_labels} labels: set `out_channels` to the number of labels (1 for two labels)."
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a dictionary, with the code that processes without this package find beside it."""
        auto_map = AUTO_MAP | getattr(self, "auto_map", {})
        return super().to_dict() | {"auto_map": auto_map, "custom_pipelines": CUSTOM_PIPELINES}

    @classmethod
    def small(cls, **kwargs: Any) -> "U2NetConfig":
        """The configuration of U²-Net† (1.13 M parameters), the "p" model of the released code.

        Args:
            kwargs: Any argument of [`U2NetConfig`] but the stages.
        """
        encoder_stages: list[Stage] = [[stage[0], 16, 64] for stage in ENCODER_STAGES]
        decoder_stages: list[Stage] = [[stage[0], 16, 64] for stage in DECODER_STAGES]
        return cls(encoder_stages=encoder_stages, decoder_stages=decoder_stages, **kwargs)


__all__ = ["U2NetConfig"]
