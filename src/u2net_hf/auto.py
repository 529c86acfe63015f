"""Registration with the Auto classes and pipelines of transformers: done once, when the package is imported."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageSegmentation,
    AutoModelForSemanticSegmentation,
)
from transformers.models.auto import modeling_auto
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import is_torchvision_available

from .u2net.configuration_u2net import U2NetConfig
from .u2net.image_processing_pil_u2net import U2NetImageProcessorPil
from .u2net.image_processing_u2net import U2NetImageProcessor
from .u2net.modeling_u2net import U2NetForImageSegmentation
from .u2net.pipeline_u2net import BackgroundRemovalPipeline
from .unet.configuration_unet import UNetConfig
from .unet.image_processing_pil_unet import UNetImageProcessorPil
from .unet.image_processing_unet import UNetImageProcessor
from .unet.modeling_unet import UNetForSemanticSegmentation

FAMILIES = (
    (U2NetConfig, U2NetForImageSegmentation, U2NetImageProcessorPil, U2NetImageProcessor),
    (UNetConfig, UNetForSemanticSegmentation, UNetImageProcessorPil, UNetImageProcessor),
)


def register() -> None:
    """Make `AutoConfig`, `AutoModel...`, `AutoImageProcessor` and `pipeline` know both networks.

    `exist_ok=True` everywhere: a later transformers with a "unet" of its own must not break the import.

    Each class is also registered as one whose code `save_pretrained` and `push_to_hub` copy, so that a saved folder
    works in processes without this package, with `trust_remote_code=True`.
    """
    for config, model, pil_processor, torchvision_processor in FAMILIES:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        config.register_for_auto_class()
        model.register_for_auto_class("AutoModelForImageSegmentation")
        # Both segmentation tasks: the library is about to drop the mapping of AutoModelForImageSegmentation.
        for auto_model in (AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
            auto_model.register(config, model, exist_ok=True)
        processors: dict[str, type] = {"pil": pil_processor}
        if is_torchvision_available():
            processors["torchvision"] = torchvision_processor
        AutoImageProcessor.register(config, image_processor_classes=processors, exist_ok=True)
        for processor in (pil_processor, torchvision_processor):
            processor.register_for_auto_class()
        # The image-segmentation pipeline looks its models up in this table of names, which `register` does not fill,
        # and logs an error for a model that is not in it.
        modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES.setdefault(config.model_type, model.__name__)

    PIPELINE_REGISTRY.register_pipeline(
        "background-removal",
        pipeline_class=BackgroundRemovalPipeline,
        pt_model=AutoModelForImageSegmentation,
        type="image",
    )
