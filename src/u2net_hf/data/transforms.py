"""Random changes of an image and its mask together, and the recipes made of them.

A transform takes the image, its mask and any further maps (a weight map, instance labels) as one tuple of Pillow
images, and gives such a tuple back: `image, mask = recipe((image, mask), rng)`. Photos (mode RGB), soft masks (L) and
float maps (F) are interpolated bilinearly; labels (I and all other modes) take the nearest value. The image stays
8-bit: the image processor of the model scales and normalizes it.

All randomness comes from `rng`. With `sample_generator` a sample is the same on one process and on many, in any order
and after a resume.
"""

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from PIL.Image import Resampling, Transpose
from torch.nn import functional as F

Pictures = tuple[Image.Image, ...]
"""An image, its mask and any further maps, of one size."""


class Transform(Protocol):
    """`(pictures, rng) -> pictures`."""

    def __call__(self, pictures: Pictures, rng: np.random.Generator, /) -> Pictures:
        """Transform an image, its mask and any further maps alike."""


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random generator of one sample in one epoch: the same wherever and whenever it is made."""
    return np.random.default_rng((seed, epoch, index))


def authors_recipe(resolution: int = 320) -> "Compose":
    """The recipe of U²-Net (Qin et al., 2020): resize, random crop of nine tenths, horizontal flip.

    At 320 the crop is 288, as released. Two slips of the released code are not repeated: its flip is vertical though
    the paper's is horizontal, and its crop never reaches the last row and column.

    Args:
        resolution: Side of the resized image; the output is a square of nine tenths of it.
    """
    return Compose((Resize(resolution), RandomCrop(round(0.9 * resolution)), RandomHorizontalFlip()))


def strong_recipe(resolution: int = 320) -> "Compose":
    """A stronger recipe for photos: scale and proportions, flip, rotation, color, blur and JPEG.

    Args:
        resolution: Side of the output, a square.
    """
    return Compose(
        (
            RandomResizedCrop(resolution),
            RandomHorizontalFlip(),
            RandomApply(RandomDeformation(resolution, rotation=15), p=0.5),
            RandomApply(ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03), p=0.8),
            RandomApply(RandomBlur(), p=0.2),
            RandomApply(RandomJPEG(), p=0.3),
        )
    )


def unet_recipe(
    resolution: int, shift: float = 20, rotation: float = 180, elastic_std: float = 10, gray: float = 0.2
) -> "Compose":
    """The recipe of U-Net (Ronneberger et al., 2015): shift, rotation, elastic deformation and gray value.

    The image is sampled only once, where the output needs it; beyond its border it is mirrored. So the output may be
    a tile of a larger image, at a random place, or larger than the image.

    Args:
        resolution: Side of the output in pixels, a square: the input tile of the network.
        shift: Largest shift in pixels of a tile that cannot move within the image.
        rotation: Largest rotation in degrees.
        elastic_std: Standard deviation in pixels of the displacements on the 3x3 grid; 0 for none.
        gray: Largest relative change of brightness and of contrast.
    """
    deformation = RandomDeformation(resolution, shift=shift, rotation=rotation, elastic_std=elastic_std)
    return Compose((deformation, ColorJitter(brightness=gray, contrast=gray)))


def cells_recipe(
    resolution: int, scale: tuple[float, float] = (0.6, 1.8), rotation: float = 180, elastic_std: float = 4
) -> "Compose":
    """A recipe for objects under any microscope: scale, rotation, mirroring, deformation, stain and exposure.

    The mask is a label map. Images are inverted half of the time: dark objects on white are as good as bright ones on
    black. Their hues turn all around the circle: no stain is special.

    Args:
        resolution: Side of the output in pixels, a square.
        scale: Smallest and largest magnification.
        rotation: Largest rotation in degrees.
        elastic_std: Standard deviation in pixels of the displacements on the 3x3 grid; 0 for none.
    """
    deformation = RandomDeformation(
        resolution, shift=20, rotation=rotation, elastic_std=elastic_std, scale=scale, mirror=True, tries=10
    )
    transforms: tuple[Transform, ...] = (
        deformation,
        RandomApply(ColorJitter(brightness=0.3, contrast=0.4, saturation=0.4, hue=0.5), p=0.8),
        RandomApply(Invert(), p=0.5),
        RandomApply(RandomBlur((0.3, 1.5)), p=0.2),
        RandomApply(RandomNoise(0.06), p=0.3),
    )
    return Compose(transforms)


@dataclass(frozen=True)
class Compose:
    """Several transforms, one after the other, on a mask as `load_corpus` gives it: L (0 to 255), or I (classes)."""

    transforms: tuple[Transform, ...]

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Apply all.

        Raises:
            ValueError: If the image and its maps differ in size.
        """
        sizes = [f"{picture.width}x{picture.height}" for picture in pictures]
        if len(set(sizes)) > 1:
            raise ValueError(f"The image, its mask and its maps must have one size, got {', '.join(sizes)}.")
        for transform in self.transforms:
            pictures = transform(pictures, rng)
        return pictures


@dataclass(frozen=True)
class RandomApply:
    """Apply a transform with probability `p`."""

    transform: Transform
    p: float

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Apply the transform or give the pictures back."""
        return self.transform(pictures, rng) if rng.random() < self.p else pictures


# Where the pixels are: image and maps alike.


@dataclass(frozen=True)
class Resize:
    """Resize to a square of `size` pixels, whatever the proportions were, with anti-aliasing."""

    size: int

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Resize; nothing is random."""
        return tuple(picture.resize((self.size, self.size), _resampling(picture)) for picture in pictures)


@dataclass(frozen=True)
class RandomCrop:
    """Crop a square of `size` pixels; all positions are equally likely, the last ones too."""

    size: int

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Crop.

        Raises:
            ValueError: If the image is smaller than the crop.
        """
        width, height = pictures[0].size
        if min(width, height) < self.size:
            raise ValueError(
                f"Cannot crop {self.size}x{self.size} from an image of {width}x{height}; resize it first."
            )
        left = int(rng.integers(width - self.size, endpoint=True))
        top = int(rng.integers(height - self.size, endpoint=True))
        return tuple(picture.crop((left, top, left + self.size, top + self.size)) for picture in pictures)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a random part of the image and resize it to a square of `size` pixels.

    The part has a share of the image's area between `scale`; its sides' shares of the image's sides have a proportion
    between `ratio`. So the proportions of what is shown stay around those that resizing the whole image gives.
    """

    size: int
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Cut out and resize."""
        width, height = pictures[0].size
        scale = rng.uniform(*self.scale)
        ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        part_width = width * min(1.0, math.sqrt(scale * ratio))
        part_height = height * min(1.0, math.sqrt(scale / ratio))
        left, top = rng.uniform(0, width - part_width), rng.uniform(0, height - part_height)
        box = (left, top, min(left + part_width, width), min(top + part_height, height))
        return tuple(picture.resize((self.size, self.size), _resampling(picture), box) for picture in pictures)


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Swap left and right with probability `p`."""

    p: float = 0.5

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Flip or give the pictures back."""
        if rng.random() >= self.p:
            return pictures
        return tuple(picture.transpose(Transpose.FLIP_LEFT_RIGHT) for picture in pictures)


@dataclass(frozen=True)
class RandomDeformation:
    """Shift, rotate and deform, and give a square of `size` pixels of the result; images are mirrored at their border.

    The square lies anywhere in the image if that is larger; else in its middle, moved by up to `shift` pixels.
    `rotation` is the largest angle in degrees, `elastic_std` the standard deviation of `elastic_field` in pixels of
    the square, `scale` the smallest and the largest magnification (all ratios between are equally likely). `mirror`
    swaps left and right half of the time. The square is placed up to `tries` times, until its mask is not empty.
    """

    size: int
    shift: float = 0.0
    rotation: float = 0.0
    elastic_std: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    mirror: bool = False
    tries: int = 1

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Draw one deformation and sample all pictures with it."""
        smallest, largest = self.scale
        step = math.exp(-rng.uniform(math.log(smallest), math.log(largest))) if self.scale != (1, 1) else 1.0
        top, left = self._place(pictures, self.size * step, rng)
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        middle = (self.size - 1) / 2
        offsets = torch.arange(self.size, dtype=torch.float32) - middle
        down, right = offsets[:, None], offsets[None, :]
        if self.mirror and rng.random() < 0.5:
            right = -right
        rows = math.cos(angle) * down - math.sin(angle) * right
        columns = math.sin(angle) * down + math.cos(angle) * right
        if self.elastic_std:
            row_field, column_field = elastic_field(self.size, self.elastic_std, rng)
            rows, columns = rows + row_field, columns + column_field
        rows, columns = top + middle * step + step * rows, left + middle * step + step * columns
        return tuple(sample_at(picture, rows, columns) for picture in pictures)

    def _place(self, pictures: Pictures, side: float, rng: np.random.Generator) -> tuple[int, int]:
        """First row and column of the square, which has `side` pixels of the image."""
        image, mask = pictures[0], pictures[min(1, len(pictures) - 1)]
        for _ in range(self.tries):
            top, left = self._draw_corner(image.height, side, rng), self._draw_corner(image.width, side, rng)
            if self.tries == 1 or mask.crop((left, top, round(left + side), round(top + side))).getbbox():
                break
        return top, left

    def _draw_corner(self, length: int, side: float, rng: np.random.Generator) -> int:
        """First row or column of the square: whole, so that a shift alone copies the pixels."""
        free = (length - side) / 2
        return round(free + rng.uniform(-1, 1) * max(free, self.shift))


def elastic_field(size: int, std: float, rng: np.random.Generator, grid: int = 3) -> torch.Tensor:
    """Draw the displacements of the U-Net paper: Gaussian on a coarse grid, bicubic in between.

    Returns:
        `torch.Tensor` of shape `(2, size, size)`: the shift of each pixel along rows and columns, in pixels. The outer
        points of the grid lie on the corner pixels.
    """
    coarse = torch.from_numpy(rng.normal(0, std, (2, grid, grid)).astype(np.float32))
    weights = _bicubic_weights(size, grid)
    return weights @ coarse @ weights.T


@lru_cache(maxsize=8)
def _bicubic_weights(size: int, grid: int) -> torch.Tensor:
    """How much each point of a coarse side counts at each pixel of a fine one, `(size, grid)`: the same each time."""
    points = torch.eye(grid)[None, :, :, None]
    return F.interpolate(points, size=(size, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T


def sample_at(picture: Image.Image, rows: torch.Tensor, columns: torch.Tensor) -> Image.Image:
    """The picture's values at given places, mirrored at its outermost pixels beyond the border.

    Args:
        picture: Of mode RGB, L or F (interpolated bilinearly) or I (nearest value).
        rows: float32 `(H, W)`, in pixels, 0 is the center of the first row.
        columns: The same for columns.

    Returns:
        A picture of `(H, W)` of the same mode.
    """
    top, bottom = _needed(rows, picture.height)
    left, right = _needed(columns, picture.width)
    values = np.asarray(picture)[top:bottom, left:right]
    height, width = values.shape[:2]
    # grid_sample counts from -1, the first pixel, to 1, the last.
    grid = torch.stack(
        (2 * (columns - left) / max(width - 1, 1) - 1, 2 * (rows - top) / max(height - 1, 1) - 1), dim=-1
    )
    channels = torch.from_numpy(np.atleast_3d(values).astype(np.float32)).permute(2, 0, 1)
    mode = "nearest" if _resampling(picture) == Resampling.NEAREST else "bilinear"
    sampled = F.grid_sample(channels[None], grid[None], mode, padding_mode="reflection", align_corners=True)[0]
    if values.dtype != np.float32:
        sampled = sampled.round_()
    result = sampled.permute(1, 2, 0).numpy().astype(values.dtype)
    return Image.fromarray(result.reshape(*rows.shape, *values.shape[2:]))


def _needed(places: torch.Tensor, length: int) -> tuple[int, int]:
    """The part of a side that places on it, or on its mirror images, ask for: all of it if they reach beyond."""
    first, last = math.floor(places.min()), math.ceil(places.max())
    return (first, last + 1) if first >= 0 and last < length else (0, length)


def _resampling(picture: Image.Image) -> Resampling:
    return Resampling.BILINEAR if picture.mode in ("RGB", "L", "F") else Resampling.NEAREST


# What the pixels are: the image alone.


class _ImageTransform:
    """A transform that leaves the mask and the maps as they are."""

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Change the image."""
        return (self.change(pictures[0], rng), *pictures[1:])

    def change(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Give the changed image."""
        raise NotImplementedError


@dataclass(frozen=True)
class ColorJitter(_ImageTransform):
    """Change brightness, contrast and saturation by factors of up to `1 ± value`, the hue by a share of its circle."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def change(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Apply the changes that are not 0."""
        for strength, enhance in (
            (self.brightness, ImageEnhance.Brightness),
            (self.contrast, ImageEnhance.Contrast),
            (self.saturation, ImageEnhance.Color),
        ):
            if strength:
                image = enhance(image).enhance(1 + rng.uniform(-strength, strength))
        if self.hue:
            hue, saturation, value = image.convert("HSV").split()
            turn = round(256 * rng.uniform(-self.hue, self.hue))
            hue = hue.point([(index + turn) % 256 for index in range(256)])
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
        return image


@dataclass(frozen=True)
class Invert(_ImageTransform):
    """Invert the colors: what was black is white."""

    def change(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Invert."""
        return ImageOps.invert(image)


@dataclass(frozen=True)
class RandomNoise(_ImageTransform):
    """Add Gaussian noise, the same in all channels, of a random standard deviation up to `std` of the range."""

    std: float = 0.05

    def change(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Add the noise."""
        noise = rng.standard_normal((image.height, image.width), np.float32) * (255 * rng.uniform(0, self.std))
        values = np.asarray(image, np.float32) + (noise if image.mode == "L" else noise[..., None])
        return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class RandomBlur(_ImageTransform):
    """Blur with a Gaussian of a random standard deviation in pixels."""

    radius: tuple[float, float] = (0.3, 1.5)

    def change(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Blur."""
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(*self.radius)))


@dataclass(frozen=True)
class RandomJPEG(_ImageTransform):
    """Compress as JPEG with a random quality, both ends included."""

    quality: tuple[int, int] = (30, 95)

    def change(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Encode and decode."""
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(*self.quality, endpoint=True)))
        with Image.open(buffer) as compressed:
            return compressed.convert(image.mode)
