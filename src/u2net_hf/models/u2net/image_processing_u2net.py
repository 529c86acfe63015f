"""Image processor of U²-Net on torchvision: batched, and on the GPU if the images or `device` say so."""

from typing import Any

import torch
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_transforms import group_images_by_shape, reorder_images
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.utils import TensorType, is_torchvision_available

from .image_processing_base_u2net import U2NetImageProcessorBase
from .pixels_u2net import height_and_width

if is_torchvision_available():
    from torchvision.transforms.v2 import functional as tvF


class U2NetImageProcessor(U2NetImageProcessorBase, TorchvisionBackend):
    r"""Image processor of U²-Net with the torchvision backend.

    The same steps and options as [`U2NetImageProcessorPil`], which is used where torchvision is not installed. Values
    differ from Pillow's by one gray level at most.
    """

    def _preprocess(
        self,
        images: list[torch.Tensor],
        do_resize: bool,
        size: SizeDict,
        resample: "PILImageResampling | tvF.InterpolationMode | int | None",
        do_antialias: bool,
        do_rescale: bool,
        rescale_factor: float,
        do_scale_by_max: bool,
        do_normalize: bool,
        image_mean: float | list[float],
        image_std: float | list[float],
        disable_grouping: bool | None,
        return_tensors: str | TensorType | None,
        **kwargs: Any,
    ) -> BatchFeature:
        groups, places = group_images_by_shape(images, disable_grouping=disable_grouping)
        processed = {}
        for shape, batch in groups.items():
            if do_resize:
                height_and_width(size)
                # Without anti-aliasing the interpolation must not be rounded to whole gray levels.
                batch = batch if do_antialias else batch.float()
                batch = self.resize(batch, size, resample, antialias=do_antialias)
            if do_rescale:
                batch = self.rescale(batch, rescale_factor)
            if do_scale_by_max:
                peak = batch.amax(dim=(-3, -2, -1), keepdim=True)
                batch = torch.where(peak > 0, batch / peak, batch)
            if do_normalize:
                batch = self.normalize(batch.float(), image_mean, image_std)
            processed[shape] = batch
        return BatchFeature(data={"pixel_values": reorder_images(processed, places)}, tensor_type=return_tensors)


__all__ = ["U2NetImageProcessor"]
