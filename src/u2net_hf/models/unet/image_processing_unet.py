"""Image processor of U-Net on torchvision: on the GPU if the images or `device` say so."""

from transformers.image_processing_backends import TorchvisionBackend

from .image_processing_base_unet import UNetImageProcessorBase


class UNetImageProcessor(UNetImageProcessorBase, TorchvisionBackend):
    r"""Image processor of U-Net with the torchvision backend.

    The same steps and options as [`UNetImageProcessorPil`], which is used where torchvision is not installed.
    """


__all__ = ["UNetImageProcessor"]
