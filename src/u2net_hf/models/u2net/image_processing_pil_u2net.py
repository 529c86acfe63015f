"""Image processor of U²-Net on Pillow and NumPy: runs anywhere, without torchvision."""

from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import SizeDict
from transformers.utils import TensorType

from .image_processing_base_u2net import U2NetImageProcessorBase
from .pixels_u2net import InputOptions, to_pixel_values


class U2NetImageProcessorPil(U2NetImageProcessorBase, PilBackend):
    r"""Image processor of U²-Net with the Pillow backend: the authors' input, 320x320 by default.

    An image is made RGB, resized bilinearly, rescaled to [0, 1], divided by its maximum and normalized with the
    ImageNet statistics. All steps are options with the names of the library, and `do_antialias` and `do_scale_by_max`
    (see `U2NetImageProcessorKwargs`).

    Example:

    ```python
    >>> from PIL import Image
    >>> from u2net_hf import U2NetImageProcessorPil

    >>> processor = U2NetImageProcessorPil()
    >>> processor(Image.new("RGB", (640, 480)), return_tensors="pt")["pixel_values"].shape
    torch.Size([1, 3, 320, 320])
    ```
    """

    def _preprocess(
        self, images: list[np.ndarray], size: SizeDict, return_tensors: str | TensorType | None, **kwargs: Any
    ) -> BatchFeature:
        options = InputOptions.from_dict({**kwargs, "size": size if kwargs["do_resize"] else None})
        pixel_values = [to_pixel_values(image, options) for image in images]
        return BatchFeature(data={"pixel_values": pixel_values}, tensor_type=return_tensors)


__all__ = ["U2NetImageProcessorPil"]
