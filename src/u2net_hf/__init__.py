"""U-Net (2015) and U²-Net (2020) for the Hugging Face ecosystem.

Importing the package makes both networks known to the Auto classes and the pipelines of transformers. It costs next to
nothing: neither torch nor transformers is imported before a name of theirs is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .auto import register_models, register_when_needed

if TYPE_CHECKING:
    from .checkpoints import PUBLISHED as PUBLISHED
    from .checkpoints import pull as pull
    from .engines import load_engine as load_engine
    from .engines.torch_engine import ModelEngine as ModelEngine
    from .predict import saliency_maps as saliency_maps
    from .u2net.configuration_u2net import U2NetConfig as U2NetConfig
    from .u2net.image_processing_pil_u2net import U2NetImageProcessorPil as U2NetImageProcessorPil
    from .u2net.image_processing_u2net import U2NetImageProcessor as U2NetImageProcessor
    from .u2net.modeling_u2net import SaliencyOutput as SaliencyOutput
    from .u2net.modeling_u2net import U2NetForImageSegmentation as U2NetForImageSegmentation
    from .u2net.modeling_u2net import U2NetPreTrainedModel as U2NetPreTrainedModel
    from .u2net.pipeline_u2net import BackgroundRemovalPipeline as BackgroundRemovalPipeline
    from .unet.configuration_unet import UNetConfig as UNetConfig
    from .unet.image_processing_pil_unet import UNetImageProcessorPil as UNetImageProcessorPil
    from .unet.image_processing_unet import UNetImageProcessor as UNetImageProcessor
    from .unet.modeling_unet import UNetForSemanticSegmentation as UNetForSemanticSegmentation
    from .unet.modeling_unet import UNetPreTrainedModel as UNetPreTrainedModel

# Where each public name is.
_MODULES = {
    "PUBLISHED": "checkpoints",
    "pull": "checkpoints",
    "load_engine": "engines",
    "ModelEngine": "engines.torch_engine",
    "saliency_maps": "predict",
    "U2NetConfig": "u2net.configuration_u2net",
    "U2NetImageProcessorPil": "u2net.image_processing_pil_u2net",
    "U2NetImageProcessor": "u2net.image_processing_u2net",
    "SaliencyOutput": "u2net.modeling_u2net",
    "U2NetForImageSegmentation": "u2net.modeling_u2net",
    "U2NetPreTrainedModel": "u2net.modeling_u2net",
    "BackgroundRemovalPipeline": "u2net.pipeline_u2net",
    "UNetConfig": "unet.configuration_unet",
    "UNetImageProcessorPil": "unet.image_processing_pil_unet",
    "UNetImageProcessor": "unet.image_processing_unet",
    "UNetForSemanticSegmentation": "unet.modeling_unet",
    "UNetPreTrainedModel": "unet.modeling_unet",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if module.startswith(("u2net.", "unet.")):
        register_models()
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value  # from now on it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_when_needed()
