"""What goes into U²-Net and what comes out, on Pillow and NumPy alone: photo to input, soft map to the photo's size.

The image processors, and every engine that runs the network, go through these functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

# Of the network's input: at this size a U²-Net takes tens of gigabytes.
MAX_SIDE = 8192
FLOAT32 = np.finfo(np.float32)  # networks compute in float32
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputOptions:
    """How an image becomes the network's input: the options of the image processor, with their defaults.

    Args:
        size: Height and width of the input.
        resample: One of Pillow's filters; used with `do_antialias` only.
        do_antialias: Whether to smooth an image that is made smaller.
        do_truncate: Whether to cut off what is behind the decimal point of resized values of 8 bits; anti-aliasing
            rounds them.
        do_scale_by_max: Whether to divide the image by its largest value; a black image stays black.
        image_mean: Subtracted from each channel, after rescaling; one number or one per channel.
        image_std: What each channel is divided by then.
    """

    do_resize: bool = True
    size: tuple[int, int] = (320, 320)
    resample: int = Image.Resampling.BILINEAR
    do_antialias: bool = True
    do_truncate: bool = False
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_scale_by_max: bool = True
    do_normalize: bool = True
    image_mean: float | Sequence[float] = IMAGENET_MEAN
    image_std: float | Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, least in (("image_mean", -FLOAT32.max), ("image_std", FLOAT32.tiny)):
            values = np.atleast_1d(getattr(self, name))
            is_numbers = values.dtype.kind in "fiu" and values.ndim == 1 and values.size > 0
            if not is_numbers or not ((values >= least) & (values <= FLOAT32.max)).all():
                above = " above 0" if name == "image_std" else ""
                raise ValueError(f"`{name}` must be finite{above}, got {getattr(self, name)!r}.")
        if not (isinstance(self.rescale_factor, int | float) and 0 < self.rescale_factor <= FLOAT32.max):
            raise ValueError(f"`rescale_factor` must be finite and above 0, got {self.rescale_factor!r}.")
        if self.resample not in list(Image.Resampling):
            raise ValueError(f"`resample` must be one of Pillow's filters, 0 to 5, got {self.resample!r}.")

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> "InputOptions":
        """Take the options from a `preprocessor_config.json`; what it does not say keeps its default.

        Raises:
            ValueError: If `size` has not a height and a width: the images of a batch need one size.
        """
        known = {field.name: options[field.name] for field in fields(cls) if options.get(field.name) is not None}
        if "size" in known:
            known["size"] = height_and_width(known["size"])
        return cls(**known)


def height_and_width(size: Any) -> tuple[int, int]:
    """Read `size`, a mapping that must name a height and a width.

    Raises:
        ValueError: If `size` has other keys, or one of them is no whole number from 1 to `MAX_SIDE`.
    """
    sides = [size.get("height"), size.get("width")] if hasattr(size, "get") else []
    if not sides or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        found = dict(size) if sides else size
        raise ValueError(f'`size` must be {{"height": ..., "width": ...}}, each from 1 to {MAX_SIDE}, got {found!r}.')
    return sides[0], sides[1]


def to_pixel_values(image: "Image.Image | np.ndarray", options: InputOptions) -> np.ndarray:
    """Make the network's input of an image.

    Args:
        image: An RGB picture, or an array `(C, H, W)`.
        options: How.

    Returns:
        Float32 array `(C, height, width)`.
    """
    if options.do_resize:
        resize = resize_with_antialiasing if options.do_antialias else resize_bilinear
        image = resize(image, *options.size, *([options.resample] if options.do_antialias else []))
        if options.do_truncate and not options.do_antialias and options.do_rescale:
            image = np.trunc(as_array(image))
    return normalize(as_array(image), options)


def as_array(image: "Image.Image | np.ndarray") -> np.ndarray:
    """An image as an array `(C, H, W)`: a view of its pixels."""
    return np.asarray(image).transpose(2, 0, 1) if isinstance(image, Image.Image) else image


def normalize(image: np.ndarray, options: InputOptions) -> np.ndarray:
    """Rescale, divide by the maximum and normalize `(C, H, W)`: all of it is one factor and one term per channel."""
    factor = options.rescale_factor if options.do_rescale else 1.0
    if options.do_scale_by_max and (peak := float(image.max()) * factor) > 0:
        factor /= peak
    if not options.do_normalize:
        return np.multiply(image, np.float32(factor), order="C", dtype=np.float32)
    mean, std = (np.reshape(value, (-1, 1, 1)) for value in (options.image_mean, options.image_std))
    values = np.multiply(image, np.float32(factor / std), order="C", dtype=np.float32)
    values -= np.float32(mean / std)
    return values


def resize_with_antialiasing(
    image: "Image.Image | np.ndarray", height: int, width: int, resample: int
) -> "Image.Image | np.ndarray":
    """Resize by Pillow, whose filters widen with the step where the image becomes smaller.

    8-bit images stay in 8 bits, as a picture; other arrays `(C, H, W)` become float32, channel by channel.
    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and len(image) == 3:
        image = Image.fromarray(image.transpose(1, 2, 0))
    if isinstance(image, Image.Image):
        return image.resize((width, height), resample)
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in image]
    return np.stack([np.asarray(channel.resize((width, height), resample)) for channel in channels])


def resize_bilinear(image: "Image.Image | np.ndarray", height: int, width: int) -> np.ndarray:
    """Bilinear resize to `(C, height, width)` without anti-aliasing, in float32; the same as PyTorch's `interpolate`.

    Each new pixel mixes the four old ones around its center, however many lie between two new ones.
    """
    values = as_array(image)
    for axis, size in ((1, height), (2, width)):
        old_size = values.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * (old_size / size) - 0.5, 0, old_size - 1)
        low = position.astype(np.intp)
        weight = (position - low).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
        before, after = values.take(low, axis), values.take(np.minimum(low + 1, old_size - 1), axis)
        values = before * (1 - weight) + after * weight
    return values


def saliency(logits: "torch.Tensor") -> "torch.Tensor":
    """Soft maps `(B, 1, H, W)` in [0, 1] of logits `(B, C, H, W)`: the sigmoid of one channel; of several the
    probability of everything but channel 0, the background."""
    return logits.sigmoid() if logits.shape[1] == 1 else 1 - logits.softmax(dim=1)[:, :1]


def resize_map(soft_map: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a soft map `(h, w)` to `(height, width)`, in float32.

    Pillow's BILINEAR filter: linear between the four neighbors of a pixel's center where the map grows, as PyTorch's
    `interpolate`, and the mean over a triangle of twice the step where it shrinks, as that with `antialias=True`.
    """
    if soft_map.shape == (height, width):
        return soft_map
    picture = Image.fromarray(np.ascontiguousarray(soft_map, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def stretch(soft_map: np.ndarray) -> np.ndarray:
    """Stretch a map to [0, 1], as the authors do; a flat map stays as it is."""
    low, high = soft_map.min(), soft_map.max()
    return (soft_map - low) / (high - low) if high > low else soft_map
