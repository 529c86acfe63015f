"""Image processors of U²-Net, with Pillow and NumPy or with torchvision: photos and masks in, soft maps out."""

from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_transforms import group_images_by_shape, reorder_images
from transformers.image_utils import ChannelDimension, ImageInput, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils import TensorType, logging

from .pixels_u2net import IMAGENET_MEAN, IMAGENET_STD, InputOptions, height_and_width, saliency, to_pixel_values

logger = logging.get_logger(__name__)

# For processes without this package: with Pillow, with torchvision. A single name would make `pipeline` ask users of
# the package to trust the code of the folder.
AUTO_MAP = {
    "AutoImageProcessor": [
        "image_processing_u2net.U2NetImageProcessorPil",
        "image_processing_u2net.U2NetImageProcessor",
    ]
}


class U2NetImageProcessorKwargs(ImagesKwargs, total=False):
    r"""Options of the U²-Net image processors beside the library's own.

    do_antialias (`bool`, *optional*, defaults to `True`):
        Whether to smooth the image when it is made smaller. The authors' scikit-image did not: `False` reproduces
        their saliency maps.
    do_truncate (`bool`, *optional*, defaults to `False`):
        Whether to cut gray levels that were resized without anti-aliasing off to whole ones, as the authors of IS-Net
        do. Pictures without `do_rescale` stay as they are.
    do_scale_by_max (`bool`, *optional*, defaults to `True`):
        Whether to divide the image by its largest value, as the authors do, so that dark photos become brighter.
        A black image stays black.
    """

    do_antialias: bool
    do_truncate: bool
    do_scale_by_max: bool


class U2NetImageProcessorBase(BaseImageProcessor):
    """Defaults, masks and post-processing of [`U2NetImageProcessor`] and [`U2NetImageProcessorPil`]."""

    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoImageProcessor"
    valid_kwargs = U2NetImageProcessorKwargs
    default_to_square = True
    do_convert_rgb = True
    do_resize = InputOptions.do_resize
    size = dict(zip(("height", "width"), InputOptions.size, strict=True))
    resample = PILImageResampling(InputOptions.resample)
    do_antialias = InputOptions.do_antialias
    do_truncate = InputOptions.do_truncate
    do_rescale = InputOptions.do_rescale
    rescale_factor = InputOptions.rescale_factor
    do_scale_by_max = InputOptions.do_scale_by_max
    do_normalize = InputOptions.do_normalize
    image_mean = list(IMAGENET_MEAN)
    image_std = list(IMAGENET_STD)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        InputOptions.from_dict(vars(self) | ({} if self.do_resize else {"size": None}))  # which refuses what cannot be

    def to_dict(self) -> dict[str, Any]:
        """The options as a dictionary, with the code that processes without this package find beside it."""
        return super().to_dict() | {"auto_map": AUTO_MAP}

    def preprocess(
        self, images: ImageInput, segmentation_maps: ImageInput | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Prepare images, and their masks, for the network.

        Args:
            images (`ImageInput`):
                One image or a list of them, of any kind. Numbers of 8 bits are expected; those of 16 bits are brought
                to the same range, floating-point numbers in [0, 1] need `do_rescale=False`. Arrays of two dimensions
                are gray images. What is transparent becomes white.
            segmentation_maps (`ImageInput`, *optional*):
                One map of class indices per image, of the image's size: arrays or images with one channel.
            kwargs: Options of the processor, for this call only.

        Returns:
            [`BatchFeature`] with `pixel_values` of shape `(batch_size, 3, height, width)`, with maps also `labels` of
            shape `(batch_size, height, width)`, int64: resized to the nearest pixel.

        Raises:
            ValueError: If a map does not fit its image.
        """
        return super().preprocess(images, segmentation_maps, **kwargs)

    def _preprocess_image_like_inputs(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        return_tensors: str | TensorType | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        image_list = self._prepare_image_like_inputs(with_channel_axis(images), **kwargs)
        data = dict(self._preprocess(image_list, return_tensors=None, **kwargs))
        if segmentation_maps is not None:
            size = height_and_width(kwargs["size"]) if kwargs["do_resize"] else None
            data["labels"] = self._prepare_labels(segmentation_maps, image_list, size)
        return BatchFeature(data=data, tensor_type=return_tensors)

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: str | ChannelDimension | None = None,
        device: "torch.device | None" = None,
        **kwargs: Any,
    ) -> "np.ndarray | torch.Tensor":
        """Bring one image to `(3, height, width)`, or a map (without `do_convert_rgb`) to `(1, height, width)`."""
        if do_convert_rgb and isinstance(image, Image.Image) and image.mode.startswith(("I", "F")):
            # Pillow's own conversion would cut values off at 255.
            image = np.array(image, dtype=np.uint16 if image.mode.startswith("I;16") else np.float32)[None]
            input_data_format = ChannelDimension.FIRST
        if do_convert_rgb and str(getattr(image, "dtype", "")).endswith("uint16"):
            image = (image.float() if isinstance(image, torch.Tensor) else image.astype(np.float32)) / 257
        return super().process_image(
            image, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format, device=device
        )

    def _prepare_labels(
        self, segmentation_maps: ImageInput, images: "list[np.ndarray | torch.Tensor]", size: tuple[int, int] | None
    ) -> "list[np.ndarray | torch.Tensor]":
        """Bring maps to class indices `(height, width)`."""
        maps = self._prepare_image_like_inputs(segmentation_maps, expected_ndims=2, do_convert_rgb=False)
        shapes, expected = ([tuple(one.shape) for one in maps], [(1, *image.shape[-2:]) for image in images])
        if shapes != expected:
            raise ValueError(
                "`segmentation_maps` must have one channel and the sizes of the images: expected (channels, height, "
                f"width) {expected}, got {shapes}."
            )
        labels = []
        for one in map(torch.as_tensor, maps):
            if one.is_floating_point():
                raise ValueError(f"`segmentation_maps` must hold class indices, got {one.dtype}.")
            if one.max() == 255 and not ((one > 0) & (one < 255)).any():
                logger.warning_once(
                    "A segmentation map holds nothing but 0 and 255. Class indices are expected, and the loss ignores "
                    "255: divide a mask of 0 and 255 by 255."
                )
            resized = one if size is None else F.interpolate(one[None].double(), size, mode="nearest-exact")[0]
            labels.append(resized[0].long() if isinstance(images[0], torch.Tensor) else resized[0].long().numpy())
        return labels

    def post_process_saliency(
        self,
        outputs: Any,
        target_sizes: "list[tuple[int, int]] | torch.Tensor | None" = None,
        do_min_max: bool = False,
    ) -> list[torch.Tensor]:
        """Turn the fused logits into soft saliency maps at the original sizes.

        Args:
            outputs ([`SaliencyOutput`]):
                Output of [`U2NetForImageSegmentation`]; for several channels the map is the probability of everything
                but channel 0, the background.
            target_sizes (`list[tuple[int, int]]`, *optional*):
                `(height, width)` of each image; without it the maps keep the size of the logits.
            do_min_max (`bool`, *optional*, defaults to `False`):
                Whether to stretch each map to [0, 1], as the authors do before they resize it. It invents objects
                on images that show none. A flat map stays as it is.

        Returns:
            `list[torch.Tensor]`: One float32 map in [0, 1] of shape `(height, width)` per image, on the device of the
            logits. Maps are resized bilinearly, with anti-aliasing where they become smaller, as Pillow does.

        Raises:
            ValueError: If there are not as many target sizes as maps.
        """
        maps = saliency(outputs.logits.float())
        if do_min_max:
            low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
            maps = torch.where(high > low, (maps - low) / (high - low), maps)
        # Interpolating ones gives a little more than 1 at some sizes.
        return [resized[0].clamp(0, 1) for resized in resize_each(maps, target_sizes)]

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: "list[tuple[int, int]] | torch.Tensor | None" = None
    ) -> list[torch.Tensor]:
        """Turn the fused logits into label maps, as `pipeline("image-segmentation")` asks for.

        Args:
            outputs ([`SaliencyOutput`]): Output of [`U2NetForImageSegmentation`].
            target_sizes (`list[tuple[int, int]]`, *optional*): `(height, width)` of each image.

        Returns:
            `list[torch.Tensor]`: One int64 map of shape `(height, width)` per image, on the CPU. With one output
            channel 1 stands where the saliency is above 0.5; with several, the channel with the highest logit.

        Raises:
            ValueError: If there are not as many target sizes as maps.
        """
        if outputs.logits.shape[1] == 1:
            return [(one > 0.5).long().cpu() for one in self.post_process_saliency(outputs, target_sizes)]
        return [logits.max(dim=0).indices.cpu() for logits in resize_each(outputs.logits.float(), target_sizes)]


class U2NetImageProcessorPil(U2NetImageProcessorBase, PilBackend):
    r"""Image processor of U²-Net with the Pillow backend: the authors' input, 320x320 by default.

    An image is made RGB, resized bilinearly, rescaled to [0, 1], divided by its maximum and normalized with the
    ImageNet statistics. All steps are options with the names of the library, and `do_antialias`, `do_truncate` and
    `do_scale_by_max` (see `U2NetImageProcessorKwargs`).

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
        resample: PILImageResampling | int | None,
        do_antialias: bool,
        do_truncate: bool,
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
                if do_truncate and not do_antialias and do_rescale:
                    batch = batch.trunc()
            if do_rescale:
                batch = self.rescale(batch, rescale_factor)
            if do_scale_by_max:
                peak = batch.amax(dim=(-3, -2, -1), keepdim=True)
                batch = torch.where(peak > 0, batch / peak, batch)
            if do_normalize:
                batch = self.normalize(batch.float(), image_mean, image_std)
            processed[shape] = batch
        return BatchFeature(data={"pixel_values": reorder_images(processed, places)}, tensor_type=return_tensors)


def with_channel_axis(images: ImageInput) -> ImageInput:
    """Give gray images, arrays of two dimensions, a channel axis."""
    if isinstance(images, list | tuple):
        return cast(ImageInput, [with_channel_axis(image) for image in images])
    return images[None] if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 2 else images


def resize_each(maps: torch.Tensor, target_sizes: "list[tuple[int, int]] | torch.Tensor | None") -> list[torch.Tensor]:
    """Resize each map of `(B, C, H, W)` to its own `(height, width)`: a list of `(C, height, width)`."""
    if target_sizes is None:
        return list(maps)
    if len(target_sizes) != len(maps):
        raise ValueError(f"`target_sizes` has {len(target_sizes)} sizes for {len(maps)} saliency maps.")
    resized = []
    for one, (height, width) in zip(maps, target_sizes, strict=True):
        size = (int(height), int(width))
        if size != one.shape[-2:]:
            smaller = size[0] < one.shape[-2] or size[1] < one.shape[-1]
            one = F.interpolate(one[None], size=size, mode="bilinear", align_corners=False, antialias=smaller)[0]
        resized.append(one)
    return resized


__all__ = ["U2NetImageProcessor", "U2NetImageProcessorPil"]
