"""U-Net (2015) and U²-Net (2020) for the Hugging Face ecosystem.

Importing the package registers both networks with the Auto classes and the pipelines of transformers.
"""

from ._version import __version__
from .auto import register
from .checkpoints import PUBLISHED, pull
from .u2net.configuration_u2net import U2NetConfig
from .u2net.image_processing_pil_u2net import U2NetImageProcessorPil
from .u2net.image_processing_u2net import U2NetImageProcessor
from .u2net.modeling_u2net import SaliencyOutput, U2NetForImageSegmentation, U2NetPreTrainedModel
from .u2net.pipeline_u2net import BackgroundRemovalPipeline
from .unet.configuration_unet import UNetConfig
from .unet.image_processing_pil_unet import UNetImageProcessorPil
from .unet.image_processing_unet import UNetImageProcessor
from .unet.modeling_unet import UNetForSemanticSegmentation, UNetPreTrainedModel

register()

__all__ = [
    "PUBLISHED",
    "BackgroundRemovalPipeline",
    "SaliencyOutput",
    "U2NetConfig",
    "U2NetForImageSegmentation",
    "U2NetImageProcessor",
    "U2NetImageProcessorPil",
    "U2NetPreTrainedModel",
    "UNetConfig",
    "UNetForSemanticSegmentation",
    "UNetImageProcessor",
    "UNetImageProcessorPil",
    "UNetPreTrainedModel",
    "__version__",
    "pull",
]
