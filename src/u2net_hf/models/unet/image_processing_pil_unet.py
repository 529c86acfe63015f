"""Image processor of U-Net on Pillow and NumPy: runs anywhere, without torchvision."""

from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict

from .image_processing_base_unet import UNetImageProcessorBase


class UNetImageProcessorPil(UNetImageProcessorBase, PilBackend):
    r"""Image processor of U-Net with the Pillow backend.

    An image is made gray or RGB, resized (if `do_resize`), rescaled to [0, 1] and normalized to [-1, 1]. For a network
    with valid convolutions it is mirrored at the border, so that the output covers all of it. With `tile_size` it is
    cut into tiles that overlap (the overlap-tile strategy, figure 2 of the paper), and post-processing puts the
    outputs together. For valid convolutions the result equals that of the untiled image; for padded ones it does so
    but for a margin, where the untiled network sees zeros beyond the border and the tiles a mirror.

    All tiles of an image go through the network in one batch. If that is too much memory, split `pixel_values` and
    concatenate the logits in a `SemanticSegmenterOutput`. In `pipeline("image-segmentation")` tiled images need
    `batch_size=1`, the default; larger batches need inputs of one size, and one per image.

    For the options see `UNetImageProcessorKwargs`; those that describe the network are best taken from its
    configuration by `from_config`.

    Example:

    ```python
    >>> import torch
    >>> from PIL import Image
    >>> from u2net_hf import UNetConfig, UNetForSemanticSegmentation, UNetImageProcessorPil

    >>> config = UNetConfig.original(hidden_sizes=[4, 8, 16])
    >>> model = UNetForSemanticSegmentation(config).eval()
    >>> processor = UNetImageProcessorPil.from_config(config, tile_size=68)
    >>> image = Image.new("L", (100, 60))
    >>> inputs = processor(image, return_tensors="pt")
    >>> inputs["pixel_values"].shape
    torch.Size([12, 1, 68, 68])
    >>> with torch.inference_mode():
    ...     outputs = model(**inputs)
    >>> processor.post_process_semantic_segmentation(outputs, target_sizes=[(60, 100)])[0].shape
    torch.Size([60, 100])
    ```
    """

    def resize(self, image: np.ndarray, size: SizeDict, resample: Any = None, **kwargs: Any) -> np.ndarray:
        """Resize `(channels, height, width)` in float32: Pillow's whole gray levels would lose those of 16 bits."""
        channels = [
            Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32)).resize(
                (size["width"], size["height"]), resample
            )
            for channel in image
        ]
        return np.stack([np.asarray(channel) for channel in channels])


__all__ = ["UNetImageProcessorPil"]
