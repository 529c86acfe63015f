"""Image processor of U²-Net on Pillow and NumPy: runs anywhere, without torchvision."""

from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.utils import TensorType

from .image_processing_base_u2net import U2NetImageProcessorBase, height_and_width


class U2NetImageProcessorPil(U2NetImageProcessorBase, PilBackend):
    r"""Image processor of U²-Net with the Pillow backend: the authors' input, 320x320 by default.

    An image is made RGB, resized bilinearly, rescaled to [0, 1], divided by its maximum and normalised with the
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
        self,
        images: list[np.ndarray],
        do_resize: bool,
        size: SizeDict,
        resample: "PILImageResampling | None",
        do_antialias: bool,
        do_rescale: bool,
        rescale_factor: float,
        do_scale_by_max: bool,
        do_normalize: bool,
        image_mean: float | list[float],
        image_std: float | list[float],
        return_tensors: str | TensorType | None,
        **kwargs: Any,
    ) -> BatchFeature:
        pixel_values = []
        for image in images:
            if do_resize and do_antialias:
                height_and_width(size)
                image = self.resize(image, size, resample)
            elif do_resize:
                image = resize_bilinear(image, *height_and_width(size))
            if do_rescale:
                image = self.rescale(image, rescale_factor)
            if do_scale_by_max and (peak := image.max()) > 0:
                image = image / peak
            if do_normalize:
                image = self.normalize(image, image_mean, image_std)
            pixel_values.append(image)
        return BatchFeature(data={"pixel_values": pixel_values}, tensor_type=return_tensors)


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of `(C, H, W)` without anti-aliasing, in float32; the same as PyTorch's `interpolate`.

    Each new pixel mixes the four old ones around its centre, however many lie between two new ones.
    """
    for axis, size in ((1, height), (2, width)):
        old_size = image.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * (old_size / size) - 0.5, 0, old_size - 1)
        low = position.astype(np.intp)
        weight = (position - low).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
        before, after = image.take(low, axis), image.take(np.minimum(low + 1, old_size - 1), axis)
        image = before * (1 - weight) + after * weight
    return image


__all__ = ["U2NetImageProcessorPil"]
