"""What differs between the networks: one entry for each, read by everyone who must know which network a model is.

Nothing is imported for it: names stand for classes, so that the command can read it without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """A network: its classes are in `models/<model_type>/`, the text of its model card in `hub_cards/model/`.

    Args:
        model_type: As `config.json` has it.
        config: Class of the configuration, in `configuration_<model_type>.py`.
        model: Class of the network, in `modeling_<model_type>.py`.
        image_processor: Class of the image processor, in `image_processing_<model_type>.py`, where the one without
            torchvision has the same name and "Pil".
        output: What an exported graph gives: a soft map of the salient object, or the logits of each label.
        has_fused_form: Whether the engines run it from the files of a folder, in a form of their own.
        training_module: The module in `cli/` that trains it.
        tags: Of the model card.
        task: What the network does, in a sentence of the card; `{labels}` are its labels.
        without_batch_norm: What a network without BatchNorms is called on the card.
        name: What the network of a configuration is called on the card.
    """

    model_type: str
    config: str
    model: str
    image_processor: str
    output: Literal["saliency", "labels"]
    has_fused_form: bool
    training_module: str
    tags: tuple[str, ...]
    task: str
    without_batch_norm: str
    name: Callable[[Any], str]

    @property
    def config_class(self) -> Any:
        """The class of the configuration; imports transformers."""
        return self._load("configuration", self.config)

    @property
    def model_class(self) -> Any:
        """The class of the network; imports torch and transformers."""
        return self._load("modeling", self.model)

    def image_processor_class(self, backend: Literal["pil", "torchvision"]) -> Any:
        """The class of the image processor for a backend; imports torch and transformers."""
        return self._load("image_processing", self.image_processor + ("Pil" if backend == "pil" else ""))

    @property
    def classes(self) -> tuple[Any, Any, Any]:
        """Configuration, network and the image processor without torchvision; imports torch and transformers."""
        return self.config_class, self.model_class, self.image_processor_class("pil")

    def _load(self, kind: str, name: str) -> Any:
        return getattr(import_module(f"{__package__}.{self.model_type}.{kind}_{self.model_type}"), name)


def _u2net_name(config: Any) -> str:
    """U²-Net, IS-Net (with a stem, and without a fused map), a small one of either, or one with other stages."""
    form = (config.stem_channels is not None, config.fuse_side_maps)
    name = {(False, True): "U²-Net", (True, False): "IS-Net"}.get(form, "U²-Net with IS-Net's stem or side maps")
    stages = (config.encoder_stages, config.decoder_stages)
    for mark, known in (("", type(config)()), ("†", type(config).small())):
        if stages == (known.encoder_stages, known.decoder_stages):
            return f"{name}{mark}"
    return f"{name} with {len(config.encoder_stages)} stages of its own"


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            model_type="u2net",
            config="U2NetConfig",
            model="U2NetForImageSegmentation",
            image_processor="U2NetImageProcessor",
            output="saliency",
            has_fused_form=True,
            training_module="train_sod",
            tags=("u2net", "salient-object-detection", "background-removal"),
            task="Finds what stands out in a photo, and cuts it out.",
            without_batch_norm="its BatchNorms folded into the convolutions",
            name=_u2net_name,
        ),
        Family(
            model_type="unet",
            config="UNetConfig",
            model="UNetForSemanticSegmentation",
            image_processor="UNetImageProcessor",
            output="labels",
            has_fused_form=False,
            training_module="train_unet",
            tags=("unet", "semantic-segmentation"),
            task="Labels every pixel of an image: {labels}.",
            without_batch_norm="no BatchNorm",
            name=lambda config: f"U-Net with {len(config.hidden_sizes)} scales",
        ),
    )
}


def family_of(model_type: str | None, source: object) -> Family:
    """The entry of a model type.

    Args:
        model_type: As the configuration of a model has it.
        source: What the model was called, for the error.

    Raises:
        ValueError: If the network is none of ours.
    """
    if model_type not in FAMILIES:
        raise ValueError(f"{source} is a network of the type {model_type}; known here are {', '.join(FAMILIES)}.")
    return FAMILIES[model_type]
