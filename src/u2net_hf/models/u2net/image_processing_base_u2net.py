"""What both image processors of U²-Net share: their options, and turning logits into saliency maps."""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import ImagesKwargs

from .pixels_u2net import IMAGENET_MEAN, IMAGENET_STD, InputOptions

if TYPE_CHECKING:
    # `save_pretrained` copies every file that is named like this along with the options.
    from .image_processing_pil_u2net import U2NetImageProcessorPil  # noqa: F401
    from .image_processing_u2net import U2NetImageProcessor  # noqa: F401

# For processes without this package: with Pillow, with torchvision. A single name would make `pipeline` ask users of
# the package to trust the code of the folder.
AUTO_MAP = {
    "AutoImageProcessor": [
        "image_processing_pil_u2net.U2NetImageProcessorPil",
        "image_processing_u2net.U2NetImageProcessor",
    ]
}


class U2NetImageProcessorKwargs(ImagesKwargs, total=False):
    r"""Options of the U²-Net image processors beside the library's own.

    do_antialias (`bool`, *optional*, defaults to `True`):
        Whether to smooth the image when it is made smaller. The authors' scikit-image did not: `False` reproduces
        their saliency maps.
    do_scale_by_max (`bool`, *optional*, defaults to `True`):
        Whether to divide the image by its largest value, as the authors do, so that dark photos become brighter.
        A black image stays black.
    """

    do_antialias: bool
    do_scale_by_max: bool


class U2NetImageProcessorBase:
    """Defaults and post-processing of [`U2NetImageProcessor`] and [`U2NetImageProcessorPil`]."""

    # `save_pretrained` copies the code of a class that names its Auto class.
    _auto_class = "AutoImageProcessor"
    valid_kwargs = U2NetImageProcessorKwargs
    default_to_square = True
    do_convert_rgb = True
    do_resize = InputOptions.do_resize
    size = dict(zip(("height", "width"), InputOptions.size, strict=True))
    resample = PILImageResampling(InputOptions.resample)
    do_antialias = InputOptions.do_antialias
    do_rescale = InputOptions.do_rescale
    rescale_factor = InputOptions.rescale_factor
    do_scale_by_max = InputOptions.do_scale_by_max
    do_normalize = InputOptions.do_normalize
    image_mean = list(IMAGENET_MEAN)
    image_std = list(IMAGENET_STD)

    def to_dict(self) -> dict[str, Any]:
        """The options as a dictionary, with the code that processes without this package find beside it."""
        return super().to_dict() | {"auto_map": AUTO_MAP}

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
        logits = outputs.logits.float()
        maps = logits.sigmoid() if logits.shape[1] == 1 else 1 - logits.softmax(dim=1)[:, :1]
        if do_min_max:
            low, high = maps.amin(dim=(1, 2, 3), keepdim=True), maps.amax(dim=(1, 2, 3), keepdim=True)
            maps = torch.where(high > low, (maps - low) / (high - low), maps)
        return [resized[0] for resized in resize_each(maps, target_sizes)]

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
            return [(saliency > 0.5).long().cpu() for saliency in self.post_process_saliency(outputs, target_sizes)]
        return [logits.max(dim=0).indices.cpu() for logits in resize_each(outputs.logits.float(), target_sizes)]


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
