"""Image processors of U-Net, with Pillow and NumPy or with torchvision: the way from images to tiles."""

from collections.abc import Callable
from typing import Any, Self, Unpack, cast

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature, get_size_dict
from transformers.image_utils import ChannelDimension, ImageInput, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs
from transformers.utils import TensorType, logging

from .configuration_unet import UNetConfig
from .instances_unet import InstanceOptions
from .post_processing_unet import UNetPostProcessing
from .tiling_unet import Pixels, cut_windows, plan_image

logger = logging.get_logger(__name__)

# For processes without this package: with Pillow, with torchvision. A single name would make `pipeline` ask users of
# the package to trust the code of the folder.
AUTO_MAP = {
    "AutoImageProcessor": [
        "image_processing_unet.UNetImageProcessorPil",
        "image_processing_unet.UNetImageProcessor",
    ]
}


class UNetImageProcessorKwargs(ImagesKwargs, total=False):
    r"""Options of the U-Net image processors beside the library's own; the first four are those of [`UNetConfig`].

    num_channels (`int`, *optional*, defaults to 3):
        Channels of the network's input: 1 makes images gray, 3 makes them RGB, other numbers leave them as they are.
    padding (`str`, *optional*, defaults to `"same"`):
        `"same"` or `"valid"`, the convolutions of the network.
    upsampling (`str`, *optional*, defaults to `"transpose"`):
        `"transpose"` or `"bilinear"`, the upsampling of the network.
    depth (`int`, *optional*, defaults to 4):
        Number of 2x2 poolings in the network.
    tile_size (`int` or `dict[str, int]`, *optional*):
        Size of the network's inputs (`{"height": ..., "width": ...}`; an integer means a square) into which images
        are cut. Without it each image is one input.
    percentiles (`list[float]`, *optional*):
        Two percentiles of an image's values, such as `[1, 99.8]`: the first becomes 0, the second 1, what lies beyond
        is cut off. So exposure and bit depth are of no matter. It replaces `do_rescale`. All channels share one range,
        that of the whole image. Without it intensities stay as they are.
    instances (`dict`, *optional*):
        Options of [`InstanceOptions`] (`{}` for the defaults), of a network whose labels are levels of depth, see
        `post_process_instance_segmentation`. Without it the processor is one for semantic segmentation.
    """

    num_channels: int
    padding: str
    upsampling: str
    depth: int
    tile_size: int | list[int] | tuple[int, ...] | dict[str, int] | None
    percentiles: list[float] | tuple[float, ...] | None
    instances: dict[str, Any] | None


class UNetImageProcessorBase(UNetPostProcessing, BaseImageProcessor):
    """Options, pre- and post-processing of [`UNetImageProcessor`] and [`UNetImageProcessorPil`]."""

    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoImageProcessor"
    valid_kwargs = UNetImageProcessorKwargs
    num_channels = 3
    padding = "same"
    upsampling = "transpose"
    depth = 4
    tile_size: SizeDict | None = None
    percentiles: list[float] | None = None
    instances: dict[str, Any] | None = None
    do_resize = False
    size: SizeDict | None = None
    resize: Callable[..., Pixels]  # of the backend
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    # The paper gives no statistics. A network without BatchNorm wants inputs around zero: [0, 1] becomes [-1, 1].
    image_mean = 0.5
    image_std = 0.5

    @classmethod
    def from_config(cls, config: UNetConfig, **kwargs: Unpack[UNetImageProcessorKwargs]) -> Self:
        """Make the image processor of a network.

        Args:
            config ([`UNetConfig`]): Configuration of the network.
            kwargs: Any other option, such as `tile_size`.
        """
        network = {name: getattr(config, name) for name in ("num_channels", "padding", "upsampling", "depth")}
        return cls(**network, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The options as a dictionary, with the code that processes without this package find beside it."""
        return super().to_dict() | {"auto_map": AUTO_MAP}

    def _standardize_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        kwargs = super()._standardize_kwargs(**kwargs)
        for name, choices in (("padding", ("same", "valid")), ("upsampling", ("transpose", "bilinear"))):
            if kwargs[name] not in choices:
                raise ValueError(f"`{name}` must be one of {choices}, got {kwargs[name]!r}.")
        for name in ("num_channels", "depth"):
            if kwargs[name] < 1:
                raise ValueError(f"`{name}` must be at least 1, got {kwargs[name]}.")
        for name in ("tile_size", "size"):
            if kwargs[name] is not None:
                kwargs[name] = SizeDict(**get_size_dict(kwargs[name], param_name=name))
                if not kwargs[name].height or not kwargs[name].width:
                    raise ValueError(f'`{name}` must be {{"height": ..., "width": ...}}, got {dict(kwargs[name])}.')
        if kwargs["percentiles"] is not None:
            kwargs["percentiles"] = list(kwargs["percentiles"])
            if len(kwargs["percentiles"]) != 2 or not 0 <= kwargs["percentiles"][0] < kwargs["percentiles"][1] <= 100:
                raise ValueError(f"`percentiles` must be two ascending ones in [0, 100], got {kwargs['percentiles']}.")
        if kwargs["instances"] is not None:
            InstanceOptions(**kwargs["instances"])
        plan_image((1, 1), **kwargs)  # is `tile_size` one that the network can take?
        return kwargs

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Unpack[UNetImageProcessorKwargs],
    ) -> BatchFeature:
        """Prepare images, and their segmentation maps, for the network.

        Args:
            images (`ImageInput`):
                One image or a list of them, of any kind. Numbers of 8 bits are expected; those of 16 bits are brought
                to the same range, floating-point numbers in [0, 1] need `do_rescale=False`. Arrays of two dimensions
                are gray images. What is transparent becomes white.
            segmentation_maps (`ImageInput`, *optional*):
                One map of class indices per image, of the image's size: arrays or images with one channel.
            kwargs: Options of the processor, for this call only. Post-processing relies on those of the processor.

        Returns:
            [`BatchFeature`] with `pixel_values` of shape `(tiles, channels, height, width)`: the tiles of the first
            image row by row, then those of the second; without `tile_size` there is one per image. With maps also
            `labels` of shape `(tiles, output height, output width)`, int64.

        Raises:
            ValueError: If an image or a map does not fit, or if images of several sizes give inputs of several sizes
                and `return_tensors` is set.
        """
        return super().preprocess(images, segmentation_maps, **kwargs)

    def _preprocess_image_like_inputs(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None,
        return_tensors: str | TensorType | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        pixel_values, labels = [], []
        image_list = self._prepare_image_like_inputs(_with_channel_axis(images), **kwargs)
        maps = self._prepare_maps(segmentation_maps, image_list, kwargs["device"])
        for image, label_map in zip(image_list, maps, strict=True):
            image = self._scale(image, **kwargs)
            rows, columns = plan_image((image.shape[-2], image.shape[-1]), **kwargs)
            pixel_values += cut_windows(image, rows, columns, (rows.context, columns.context))
            if label_map is not None:
                if kwargs["do_resize"]:
                    label_map = self.resize(_to_float(label_map), kwargs["size"], PILImageResampling.NEAREST)
                windows = cut_windows(label_map, rows, columns, (rows.surplus, columns.surplus))
                labels += [_to_int64(window[0]) for window in windows]

        input_sizes = sorted({tuple(tile.shape[-2:]) for tile in pixel_values})
        if return_tensors is not None and len(input_sizes) > 1:
            raise ValueError(
                f"Images of several sizes cannot be one batch: they give inputs of {input_sizes}. Set `tile_size` to "
                "cut them into tiles of one size or `do_resize` and `size` to resize them, or process them one by one."
            )
        data = {"pixel_values": pixel_values} | ({"labels": labels} if segmentation_maps is not None else {})
        return BatchFeature(data=data, tensor_type=return_tensors)

    def process_image(
        self,
        image: Image.Image | Pixels,
        num_channels: int | None = None,
        input_data_format: str | ChannelDimension | None = None,
        device: torch.device | str | None = None,
        **kwargs: object,
    ) -> Pixels:
        """Bring one image to `(num_channels, height, width)`, float32; or a map, if `num_channels` is not given."""
        if num_channels is None:
            label_map = super().process_image(image, do_convert_rgb=False, device=device)
            if "float" in str(label_map.dtype):
                raise ValueError(f"`segmentation_maps` must hold class indices, got {label_map.dtype}.")
            return _to_int64(label_map)
        if isinstance(image, Image.Image) and image.mode.startswith(("I", "F")):
            # Pillow's own conversion would cut values off at 255.
            image = np.array(image, dtype=np.uint16 if image.mode.startswith("I;16") else np.float32)[None]
            input_data_format = ChannelDimension.FIRST
        if not isinstance(image, Image.Image) and str(image.dtype).endswith("uint16"):
            image = _to_float(image) / 257  # 65535 becomes 255
        pixels = _to_float(
            super().process_image(
                image, do_convert_rgb=num_channels in (1, 3), input_data_format=input_data_format, device=device
            )
        )
        if num_channels == 1:
            red, green, blue = pixels  # ITU-R 601 luma, in a form that leaves gray values exactly as they are
            pixels = (red + 0.587 * (green - red) + 0.114 * (blue - red))[None]
        if len(pixels) != num_channels:
            raise ValueError(
                f"`images` must have {num_channels} channels for a processor with num_channels={num_channels}, "
                f"got (channels, height, width) {tuple(pixels.shape)}."
            )
        return pixels

    def _prepare_maps(
        self, segmentation_maps: ImageInput | None, images: list[Pixels], device: torch.device | str | None
    ) -> list[Pixels | None]:
        """Bring segmentation maps to `(1, height, width)`; one `None` per image if there are none."""
        if segmentation_maps is None:
            return [None] * len(images)
        maps = self._prepare_image_like_inputs(segmentation_maps, expected_ndims=2, device=device)
        shapes, expected = ([tuple(one.shape) for one in maps], [(1, *image.shape[-2:]) for image in images])
        if shapes != expected:
            raise ValueError(
                "`segmentation_maps` must have one channel and the sizes of the images: expected (channels, height, "
                f"width) {expected}, got {shapes}."
            )
        for one in maps:
            if one.max() == 255 and not ((one > 0) & (one < 255)).any():
                logger.warning_once(
                    "A segmentation map holds nothing but 0 and 255. Class indices are expected, and the loss ignores "
                    "255: divide a mask of 0 and 255 by 255."
                )
        return maps

    def _scale(
        self,
        image: Pixels,
        do_resize: bool,
        size: SizeDict,
        resample: PILImageResampling | int | None,
        percentiles: list[float] | None,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | tuple[float, ...],
        image_std: float | tuple[float, ...],
        **kwargs: object,
    ) -> Pixels:
        """Resize, rescale and normalize one image, as far as the options say."""
        if percentiles:
            image = _stretch(image, *percentiles)
        if do_resize:
            image = self.resize(image, size, resample)
        scale, shift = rescale_factor if do_rescale and not percentiles else 1, 0
        if do_normalize:  # (image * scale - mean) / std, in two passes over the image
            std = _per_channel(image_std, image)
            scale, shift = scale / std, _per_channel(image_mean, image) / std
        image = image * scale
        image -= shift
        return image


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

    def resize(
        self, image: np.ndarray, size: SizeDict, resample: PILImageResampling | int | None = None, **kwargs: object
    ) -> np.ndarray:
        """Resize `(channels, height, width)` in float32: Pillow's whole gray levels would lose those of 16 bits."""
        channels = [
            Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32)).resize(
                (size["width"], size["height"]), resample
            )
            for channel in image
        ]
        return np.stack([np.asarray(channel) for channel in channels])


class UNetImageProcessor(UNetImageProcessorBase, TorchvisionBackend):
    r"""Image processor of U-Net with the torchvision backend.

    The same steps and options as [`UNetImageProcessorPil`], which is used where torchvision is not installed.
    """


def _with_channel_axis(images: ImageInput) -> ImageInput:
    """Give gray images, arrays of two dimensions, a channel axis."""
    if isinstance(images, list | tuple):
        return cast(ImageInput, [_with_channel_axis(image) for image in images])
    return images[None] if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 2 else images


def _to_float(image: Pixels) -> Pixels:
    if isinstance(image, torch.Tensor):
        return image.float()
    return np.ascontiguousarray(image).astype(np.float32, copy=False)


def _stretch(image: Pixels, low: float, high: float) -> Pixels:
    """Stretch the values between two percentiles to [0, 1]; an image of one value becomes 0."""
    values = image.cpu().numpy() if isinstance(image, torch.Tensor) else image
    darkest, brightest = (float(value) for value in np.percentile(values, (low, high)))
    return ((image - darkest) / max(brightest - darkest, 1e-6)).clip(0, 1)


def _to_int64(label_map: Pixels) -> Pixels:
    if isinstance(label_map, torch.Tensor):
        return label_map.long()
    return label_map.astype(np.int64, copy=False)


def _per_channel(value: float | tuple[float, ...], image: Pixels) -> float | Pixels:
    """A number, or numbers in the shape `(channels, 1, 1)`, to calculate with the image."""
    if isinstance(value, float | int):
        return value
    if len(value) != len(image):
        raise ValueError(f"`image_mean` and `image_std` must have {len(image)} values, one per channel, got {value}.")
    if isinstance(image, torch.Tensor):
        return torch.tensor(value, device=image.device)[:, None, None]
    return np.array(value, dtype=np.float32)[:, None, None]


__all__ = ["UNetImageProcessor", "UNetImageProcessorPil"]
