"""Random changes of an image and its mask together, of which recipes are made.

A transform takes the image, its mask and any further maps (a weight map, instance labels) as one tuple of Pillow
images, and gives such a tuple back: `image, mask = recipe((image, mask), rng)`. Photos (mode RGB), soft masks (L) and
float maps (F) are interpolated bilinearly; labels (I and all other modes) take the nearest value. The image stays
8-bit: the image processor of the model scales and normalizes it.

All randomness comes from `rng`. With `sample_generator` a sample is the same on one process and on many, in any order
and after a resume.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from PIL.Image import Resampling, Transpose

Pictures = tuple[Image.Image, ...]
"""An image, its mask and any further maps, of one size."""

Transform = Callable[[Pictures, np.random.Generator], Pictures]
"""Transforms an image, its mask and any further maps alike: `(pictures, rng) -> pictures`."""


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random generator of one sample in one epoch: the same wherever and whenever it is made."""
    return np.random.default_rng((seed, epoch, index))


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
        return tuple(picture.resize((self.size, self.size), resampling(picture)) for picture in pictures)


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
        return tuple(picture.resize((self.size, self.size), resampling(picture), box) for picture in pictures)


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Swap left and right with probability `p`."""

    p: float = 0.5

    def __call__(self, pictures: Pictures, rng: np.random.Generator) -> Pictures:
        """Flip or give the pictures back."""
        if rng.random() >= self.p:
            return pictures
        return tuple(picture.transpose(Transpose.FLIP_LEFT_RIGHT) for picture in pictures)


def resampling(picture: Image.Image) -> Resampling:
    """How the values of a picture are taken between its pixels."""
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
