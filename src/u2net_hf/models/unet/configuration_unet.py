"""Configuration of the U-Net, and the arithmetic of its unpadded ("valid") convolutions."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

# What a process without this package finds in a saved folder, for each Auto class.
AUTO_MAP = {
    "AutoConfig": "configuration_unet.UNetConfig",
    "AutoModel": "modeling_unet.UNetForSemanticSegmentation",
    "AutoModelForImageSegmentation": "modeling_unet.UNetForSemanticSegmentation",
    "AutoModelForSemanticSegmentation": "modeling_unet.UNetForSemanticSegmentation",
}


def valid_context(depth: int, upsampling: str = "transpose") -> int:
    """Number of rows (and of columns) that the network with valid convolutions loses from input to output.

    Two 3x3 convolutions lose 4 pixels of their own scale: at every scale on the way down, once at the bottom and at
    every scale on the way up. Bilinear upsampling loses one more pixel on each side, see `UNetExpansiveBlock`.

    Args:
        depth: Number of 2x2 poolings.
        upsampling: "transpose" or "bilinear".

    Returns:
        Input size minus output size, an even number: 184 for the network of the paper.
    """
    loss_per_scale = 10 if upsampling == "bilinear" else 8
    return loss_per_scale * (2**depth - 1) + 4 * 2**depth


def nearest_valid_sizes(size: int, depth: int, upsampling: str = "transpose") -> tuple[int | None, int]:
    """The legal input sizes around `size` for the network with valid convolutions.

    A size is legal if every pooling sees an even number of rows and at least one row of output is left.

    Args:
        size: Height or width of an input, in pixels.
        depth: Number of 2x2 poolings.
        upsampling: "transpose" or "bilinear".

    Returns:
        The largest legal size not above `size` (`None` if there is none) and the smallest one not below it; both are
        `size` if it is legal.
    """
    step = 2**depth
    smallest = valid_context(depth, upsampling) + 1
    smallest += -(smallest + 4) % step  # two convolutions take 4 rows before the first pooling
    below = size - (size + 4) % step
    above = size + -(size + 4) % step
    return (below if below >= smallest else None), max(above, smallest)


@strict
class UNetConfig(PreTrainedConfig):
    r"""
    Configuration of a U-Net (Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015).

    The defaults give the modern form: padded convolutions with batch normalization, and an output of the input's size
    for any size. `UNetConfig.original()` gives the network of the paper.

    Args:
        num_channels (`int`, *optional*, defaults to 3):
            Number of channels of the input images: 1 for gray images, 3 for color images.
        hidden_sizes (`list[int]`, *optional*, defaults to `[64, 128, 256, 512, 1024]`):
            Number of feature channels at each scale, from the full resolution to the bottom. Between two scales lies
            a 2x2 max pooling.
        padding (`str`, *optional*, defaults to `"same"`):
            `"same"`: 3x3 convolutions are zero-padded, the output has the size of the input. `"valid"`: they are not
            padded, the skip connections are center-cropped and the output is smaller than the input.
        use_batch_norm (`bool`, *optional*, defaults to `True`):
            Whether batch normalization stands between each 3x3 convolution and its ReLU.
        upsampling (`str`, *optional*, defaults to `"transpose"`):
            `"transpose"`: a learned 2x2 transposed convolution, the "up-convolution" of the paper. `"bilinear"`: a 1x1
            convolution to the channels of the next scale, then bilinear interpolation.
        dropout (`float`, *optional*, defaults to 0.0):
            Dropout probability at the end of the contracting path, that is after each of its last two scales.
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label of the pixels that the loss leaves out.
        num_labels (`int`, *optional*, defaults to 2):
            Number of output channels, the length of `id2label`. With 1 label the network is a binary one with a
            sigmoid output, else the classes exclude each other and the output is a softmax. Two labels are named
            "background" and "foreground" unless `id2label` says otherwise.

    Example:

    ```python
    >>> from u2net_hf import UNetConfig, UNetForSemanticSegmentation

    >>> configuration = UNetConfig(num_channels=1, num_labels=3)
    >>> model = UNetForSemanticSegmentation(configuration)
    >>> UNetConfig.original().output_size(572, 572)
    (388, 388)
    ```
    """

    model_type = "unet"
    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoConfig"
    keys_to_ignore_at_inference = ["hidden_states"]

    num_channels: int = 3
    hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512, 1024)
    padding: Literal["same", "valid"] = "same"
    use_batch_norm: bool = True
    upsampling: Literal["transpose", "bilinear"] = "transpose"
    dropout: float | int = 0.0
    semantic_loss_ignore_index: int = 255

    def __post_init__(self, **kwargs: Any) -> None:
        """Turn tuples into the lists that JSON gives back, and name the classes of a binary network."""
        if not __name__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
            # The package is at hand: no code of the folder is needed, and users must not be asked to trust it.
            kwargs.pop("auto_map", None)
            kwargs.pop("custom_pipelines", None)
        self.hidden_sizes = list(self.hidden_sizes)
        names = {1: ["foreground"], 2: ["background", "foreground"]}.get(kwargs.get("num_labels", 2))
        if self.id2label is None and names:
            self.id2label = dict(enumerate(names))
            self.label2id = {name: index for index, name in enumerate(names)}
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Check what the field types cannot say. Part of the validation by `@strict`.

        Raises:
            ValueError: If an argument lies outside its range; the message names it.
        """
        if self.num_channels < 1:
            raise ValueError(f"`num_channels` must be at least 1, got {self.num_channels}.")
        if len(self.hidden_sizes) < 2 or min(self.hidden_sizes) < 1:
            raise ValueError(
                f"`hidden_sizes` must hold at least two positive numbers of channels, got {self.hidden_sizes}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be a probability of at least 0 and below 1, got {self.dropout}.")
        if not self.num_labels:
            raise ValueError("`num_labels` must be at least 1, got 0.")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a dictionary, with the code that processes without this package find beside it."""
        return super().to_dict() | {"auto_map": AUTO_MAP | getattr(self, "auto_map", {})}

    @classmethod
    def original(cls, **kwargs: Any) -> "UNetConfig":
        """The network of the paper: 572x572x1 in, 388x388x2 out, 23 convolutional layers, 31,030,658 parameters.

        Args:
            **kwargs: Fields that shall differ from the paper, for example `num_labels`.

        Returns:
            Valid convolutions, center crop, no batch normalization, up-convolutions, dropout with probability 0.5.
        """
        paper: dict[str, Any] = {"num_channels": 1, "padding": "valid", "use_batch_norm": False, "dropout": 0.5}
        return cls(**(paper | kwargs))

    @property
    def depth(self) -> int:
        """Number of 2x2 poolings: 4 in the paper."""
        return len(self.hidden_sizes) - 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the output for an input of a given size.

        Args:
            height: Height of the input in pixels.
            width: Width of the input in pixels.

        Returns:
            Height and width of the output.

        Raises:
            ValueError: If the valid convolutions cannot take that size; the message gives the nearest legal ones.
        """
        if self.padding == "same":
            return height, width
        problems = []
        for side, size in (("height", height), ("width", width)):
            below, above = nearest_valid_sizes(size, self.depth, self.upsampling)
            if size != above:
                legal = f"{above}" if below is None else f"{below} or {above}"
                problems.append(f"{side} {size} (nearest legal: {legal})")
        if problems:
            raise ValueError(
                f"With valid convolutions and {self.depth} poolings, height and width of the input must be"
                f" {2**self.depth} * k - 4 for a whole number k and leave an output of at least one pixel."
                f" Got {' and '.join(problems)}."
            )
        context = valid_context(self.depth, self.upsampling)
        return height - context, width - context


__all__ = ["UNetConfig", "nearest_valid_sizes", "valid_context"]
