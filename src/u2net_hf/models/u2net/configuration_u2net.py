"""Configuration of U²-Net.

Paper: Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand, "U²-Net: Going Deeper with Nested U-Structure for Salient Object
Detection", Pattern Recognition 106, 2020, table 1 (the stages) and equation 1 (the loss weights).
"""

from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

from .stages_u2net import check_architecture

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

# What is set together: each of them says how many labels there are.
LABEL_ARGUMENTS = ("num_labels", "id2label", "label2id", "out_channels")

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
        num_labels (`int`, *optional*, defaults to 2):
            How many labels the network tells apart; `id2label` names them. Label 0 is the background.
        out_channels (`int`, *optional*):
            Channels of every saliency map; what the labels need by default. Two labels need one: the map is the
            log-odds of "salient object" and the loss is binary cross entropy. More have one channel each, and the
            loss is softmax cross entropy, as for two labels with `out_channels=2`.
        encoder_stages (`list[list]`, *optional*):
            One `[block, mid_channels, out_channels]` per encoder stage, from the input down. `block` is the paper's
            name of a residual U-block: `"RSU-L"` with height L, or `"RSU-LF"` with dilations instead of pooling.
        decoder_stages (`list[list]`, *optional*):
            The same for the decoder, from the deepest stage up to the output: one stage fewer than the encoder.
        stem_channels (`int`, *optional*):
            Channels of a 3x3 convolution of stride 2 between the image and the first stage, as in IS-Net; `None`, as
            in U²-Net, for none.
        fuse_side_maps (`bool`, *optional*, defaults to `True`):
            Whether the map is a 1x1 convolution of all side outputs, as in U²-Net; `False` for the most detailed side
            output itself, as in IS-Net.
        use_batch_norm (`bool`, *optional*, defaults to `True`):
            Whether a BatchNorm stands between each convolution of a residual U-block and its ReLU. `False` is the
            form for inference with the BatchNorms folded into the convolutions.
        fused_loss_weight (`float`, *optional*, defaults to 1.0):
            Weight of the fused map's loss (`w_fuse` in equation 1), if there is one.
        side_loss_weights (`list[float]`, *optional*):
            Weights of the side outputs' losses (`w_side` in equation 1), the largest map first; all 1 by default.
        iou_loss_weight (`float`, *optional*, defaults to 0.0):
            Weight of a soft intersection-over-union loss, added to each map's cross entropy; only if
            `out_channels == 1`. The paper has none. Cross entropy makes an unsure network gray, this term makes it
            decide, which short trainings on few images gain most from (BASNet's loss, Qin et al., CVPR 2019).
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label of the pixels that the loss leaves out.

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
    out_channels: int | None = None
    encoder_stages: list[Stage] = field(default_factory=lambda: [list(stage) for stage in ENCODER_STAGES])
    decoder_stages: list[Stage] = field(default_factory=lambda: [list(stage) for stage in DECODER_STAGES])
    stem_channels: int | None = None
    fuse_side_maps: bool = True
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
        self._match_labels_and_channels(kwargs.pop("num_labels", None))
        super().__post_init__(**kwargs)

    def _match_labels_and_channels(self, num_labels: int | None) -> None:
        """Fill in from `num_labels`, `id2label`, `label2id` and `out_channels` those that are not given."""
        if self.id2label is None and self.label2id is not None:
            self.id2label = {int(label): name for name, label in self.label2id.items()}
        if self.out_channels is None:
            count = num_labels or len(self.id2label or ()) or 1
            self.out_channels = count if count > 2 else 1  # one channel tells two labels apart
        if self.id2label is None:
            several = [f"LABEL_{label}" for label in range(self.out_channels)]
            names = several if self.out_channels > 1 else ["background", "salient object"]
            self.id2label = dict(enumerate(names))
        if self.label2id is None:
            self.label2id = {name: int(label) for label, name in self.id2label.items()}
        if num_labels is not None and (num_labels < 1 or max(num_labels, 2) != len(self.id2label)):
            raise ValueError(
                f"`num_labels={num_labels}` does not fit `out_channels={self.out_channels}` or the "
                f"{len(self.id2label)} labels of `id2label`: give one of them."
            )

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> "U2NetConfig":
        """As `PreTrainedConfig.from_dict`; labels or channels among `kwargs` take the place of all saved ones."""
        given = {name: kwargs.pop(name) for name in LABEL_ARGUMENTS if kwargs.get(name) is not None}
        if given:
            saved = cls(**{name: config_dict[name] for name in LABEL_ARGUMENTS if name in config_dict})
            wanted = cls(**given)
            names = ("id2label", "label2id") if given.keys() & {"id2label", "label2id"} else ()
            stale = LABEL_ARGUMENTS if wanted.num_labels != saved.num_labels else names
            config_dict = {name: value for name, value in config_dict.items() if name not in stale} | given
        return super().from_dict(config_dict, **kwargs)

    def validate_architecture(self) -> None:
        """Check that stages, weights and labels fit together (called when the configuration is made)."""
        check_architecture(vars(self))
        if self.side_loss_weights is None or len(self.side_loss_weights) != len(self.encoder_stages):
            raise ValueError(
                f"`side_loss_weights` needs {len(self.encoder_stages)} weights, one per side output, "
                f"got {self.side_loss_weights}."
            )
        out_channels: int = self.out_channels
        if self.iou_loss_weight < 0 or (self.iou_loss_weight and out_channels > 1):
            raise ValueError(
                f"`iou_loss_weight` must be at least 0, and 0 for `out_channels` above 1, got {self.iou_loss_weight} "
                f"for {out_channels}."
            )
        if self.num_labels != max(out_channels, 2):
            raise ValueError(
                f"`out_channels={out_channels}` tells {max(out_channels, 2)} labels apart, but `id2label` has "
                f"{self.num_labels} labels: make the configuration with one of the two."
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

    @classmethod
    def isnet(cls, **kwargs: Any) -> "U2NetConfig":
        """The configuration of IS-Net (44.0 M parameters), the authors' network for 1024x1024 pixels.

        Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, https://arxiv.org/abs/2203.03041: the
        stages of U²-Net at half the image's resolution, behind a convolution of stride 2.

        Args:
            kwargs: Any argument of [`U2NetConfig`] but `stem_channels` and `fuse_side_maps`; stages make it smaller.
        """
        return cls(stem_channels=64, fuse_side_maps=False, **kwargs)


__all__ = ["U2NetConfig"]
