"""U-Net (2015) and U²-Net (2020) for the Hugging Face ecosystem.

Importing the package makes both networks known to the Auto classes and the pipelines of transformers. It costs next to
nothing: neither torch nor transformers is imported before a name of theirs is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .auto import register_models, register_when_needed

if TYPE_CHECKING:
    from .engines import load_engine as load_engine
    from .engines.predict import saliency_maps as saliency_maps
    from .engines.torch_engine import ModelEngine as ModelEngine
    from .models.u2net.configuration_u2net import U2NetConfig as U2NetConfig
    from .models.u2net.image_processing_u2net import U2NetImageProcessor as U2NetImageProcessor
    from .models.u2net.image_processing_u2net import U2NetImageProcessorPil as U2NetImageProcessorPil
    from .models.u2net.modeling_u2net import SaliencyOutput as SaliencyOutput
    from .models.u2net.modeling_u2net import U2NetForImageSegmentation as U2NetForImageSegmentation
    from .models.u2net.modeling_u2net import U2NetPreTrainedModel as U2NetPreTrainedModel
    from .models.u2net.pipeline_u2net import BackgroundRemovalPipeline as BackgroundRemovalPipeline
    from .models.unet.configuration_unet import UNetConfig as UNetConfig
    from .models.unet.image_processing_unet import UNetImageProcessor as UNetImageProcessor
    from .models.unet.image_processing_unet import UNetImageProcessorPil as UNetImageProcessorPil
    from .models.unet.modeling_unet import UNetForSemanticSegmentation as UNetForSemanticSegmentation
    from .models.unet.modeling_unet import UNetPreTrainedModel as UNetPreTrainedModel
    from .segmentation.segmentation import segment_image as segment_image
    from .weights.published import PUBLISHED as PUBLISHED
    from .weights.published import pull as pull

# Where each public name is.
_MODULES = {
    "PUBLISHED": "weights.published",
    "pull": "weights.published",
    "load_engine": "engines",
    "ModelEngine": "engines.torch_engine",
    "saliency_maps": "engines.predict",
    "segment_image": "segmentation.segmentation",
    "U2NetConfig": "models.u2net.configuration_u2net",
    "U2NetImageProcessorPil": "models.u2net.image_processing_u2net",
    "U2NetImageProcessor": "models.u2net.image_processing_u2net",
    "SaliencyOutput": "models.u2net.modeling_u2net",
    "U2NetForImageSegmentation": "models.u2net.modeling_u2net",
    "U2NetPreTrainedModel": "models.u2net.modeling_u2net",
    "BackgroundRemovalPipeline": "models.u2net.pipeline_u2net",
    "UNetConfig": "models.unet.configuration_unet",
    "UNetImageProcessorPil": "models.unet.image_processing_unet",
    "UNetImageProcessor": "models.unet.image_processing_unet",
    "UNetForSemanticSegmentation": "models.unet.modeling_unet",
    "UNetPreTrainedModel": "models.unet.modeling_unet",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if module.startswith("models."):
        register_models()
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value  # from now on it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_needed()
