"""What is done with images and masks before a network learns from them: a recipe for each kind of image."""

from .deformation import RandomDeformation
from .transforms import (
    ColorJitter,
    Compose,
    Invert,
    RandomApply,
    RandomBlur,
    RandomCrop,
    RandomHorizontalFlip,
    RandomJPEG,
    RandomNoise,
    RandomResizedCrop,
    Resize,
    Transform,
)


def authors_recipe(resolution: int = 320) -> Compose:
    """The recipe of U²-Net (Qin et al., 2020): resize, random crop of nine tenths, horizontal flip.

    At 320 the crop is 288, as released. Two slips of the released code are not repeated: its flip is vertical though
    the paper's is horizontal, and its crop never reaches the last row and column.

    Args:
        resolution: Side of the resized image; the output is a square of nine tenths of it.
    """
    return Compose((Resize(resolution), RandomCrop(round(0.9 * resolution)), RandomHorizontalFlip()))


def strong_recipe(resolution: int = 320) -> Compose:
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
) -> Compose:
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
) -> Compose:
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
