"""From a photo and its soft map to what is asked for: mask, cut-out, another background, fine edges.

Fine edges: how much of each pixel is object (alpha matting), and the object's own color there. A soft map of 320 by
320 cannot resolve hair. Where the map is unsure, the alpha is solved from the photo's colors, and the old background's
share is taken out of them, which else would surround the object as a halo. The methods are pymatting's: closed-form
matting (Levin, Lischinski and Weiss, "A closed-form solution to natural image matting", 2008) and multi-level
foreground estimation (Germer et al., "Fast multi-level foreground estimation", 2020).
"""

import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageOps

from .photo_u2net import match_profile, on_ground, open_image, standard_mode, to_rgb
from .pixels_u2net import resize_map

FOREGROUND, BACKGROUND, UNKNOWN = 1.0, 0.0, 0.5
VISIBLE = 26  # the least of 255 levels that counts as object where a result is cropped
UNAVAILABLE = "matting needs another package: pip install 'u2net-hf[matting]' (or pymatting alone)"


@dataclass(frozen=True)
class RenderOptions:
    """What is made of a photo and its soft map.

    Args:
        mask: The soft map itself, as an image of mode "L", instead of a cut-out.
        background: What the object is put before (see [`cut_out`]); `None` leaves it transparent.
        threshold: A value in [0, 1]: pixels of at least this saliency are kept fully, others not at all.
        matting: Whether to refine the edge (with a threshold, that of what it keeps) and to take the old background
            out of its colors; see [`refine_alpha`].
        crop: Cut the result to the object (see [`crop_to_object`]) with so much around it, as a share of the object's
            longer side; `None` leaves the photo's size.

    Raises:
        ValueError: If the threshold is outside [0, 1], the crop below 0, or a mask is asked for with a background.
    """

    mask: bool = False
    background: str | Image.Image | None = None
    threshold: float | None = None
    matting: bool = False
    crop: float | None = None

    def __post_init__(self) -> None:
        if self.crop is not None and not 0 <= self.crop < float("inf"):
            raise ValueError(f"crop must be 0 or more, a share of the object's longer side, got {self.crop}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")
        if self.mask and self.background is not None:
            raise ValueError("a mask has no background: choose one of them")

    @property
    def needs_photo(self) -> bool:
        """Whether the result is made of the photo's pixels, or of the soft map alone."""
        return self.matting or not self.mask


def render(image: Image.Image, soft_map: np.ndarray, options: RenderOptions, *, in_place: bool = False) -> Image.Image:
    """Make a mask or a cut-out of an image and its soft map.

    Args:
        image: The photo.
        soft_map: An array (h, w) with values in [0, 1], of the photo's size or of any other: it is enlarged as in
            [`render_mask`].
        options: What to make.
        in_place: Whether `image` itself may become the result.
    """
    if options.matting:
        soft_map = resize_map(soft_map, image.height, image.width)
        kept = soft_map if options.threshold is None else soft_map >= options.threshold
        image, alpha = _refine_edge(image, kept)
        mask = mask_image(alpha)
    else:
        mask = render_mask(soft_map, image.size, options.threshold)
    own = image.getchannel("A") if image.mode == "RGBA" and not options.mask else None
    result = mask if options.mask else cut_out(image, mask, background=options.background, in_place=in_place)
    return result if options.crop is None else crop_to_object(result, mask, options.crop, own)


def crop_to_object(
    result: Image.Image, mask: Image.Image, margin: float, own_alpha: Image.Image | None = None
) -> Image.Image:
    """Cut a result of the size of its mask (both in full size) to the object, with a margin around it.

    Args:
        result: A mask or a cut-out, whose metadata are kept; it keeps its size too if there is no object.
        mask: How much of each pixel is object, of mode "L". At least a tenth of white counts, so that haze does not.
        margin: A share of the object's longer side. At the picture's borders there may be less of it.
        own_alpha: Transparency that the photo had, of mode "L": what is not visible is no object.
    """
    seen = mask if own_alpha is None else ImageChops.multiply(mask, own_alpha)
    box = seen.point([0] * VISIBLE + [255] * (256 - VISIBLE)).getbbox()
    left, top, right, bottom = box or (0, 0, *seen.size)
    pixels = round(margin * max(right - left, bottom - top))
    return result.crop(
        (
            max(0, left - pixels),
            max(0, top - pixels),
            min(seen.width, right + pixels),
            min(seen.height, bottom + pixels),
        )
    )


def render_mask(soft_map: np.ndarray, size: tuple[int, int], threshold: float | None = None) -> Image.Image:
    """Make a mask of a soft map (h, w), of the size (W, H), by Pillow's filter BILINEAR.

    A soft mask is enlarged in 8 bits, which is faster than in float32; values differ by 1 of 255 at most. The
    threshold is applied to the map enlarged in float32.
    """
    if threshold is not None:
        return mask_image(resize_map(soft_map, size[1], size[0]) >= threshold)
    mask = mask_image(soft_map)
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def _refine_edge(image: Image.Image, soft_map: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """Refine the edge of a map, and take the background's color out of the image's pixels there.

    What is partly transparent already keeps its colors: they hold no background.
    """
    photo = on_ground(image)
    alpha, colors = refine_alpha(photo, soft_map)
    refined = Image.fromarray(colors)
    if image.has_transparency_data:
        own = image.convert("RGBA")
        opacity = own.getchannel("A")
        refined = Image.composite(refined, own.convert("RGB"), opacity.point([0] * 255 + [255]))
        refined.putalpha(opacity)
    refined.info = dict(photo.info)
    return refined, alpha


def mask_image(soft_map: np.ndarray) -> Image.Image:
    """Convert a soft map (H, W), or a boolean mask, to an 8-bit image of mode "L"; values beyond [0, 1] are clipped.

    Raises:
        ValueError: If the map has another number of dimensions or holds a NaN.
    """
    if soft_map.ndim != 2:
        raise ValueError(f"soft_map must have the shape (height, width), got {soft_map.shape}")
    if soft_map.size and np.isnan(soft_map.min()):
        raise ValueError("soft_map holds NaN: the network's weights or its precision are at fault")
    scaled = np.multiply(soft_map, 255, dtype=np.float32)
    np.rint(scaled, out=scaled)
    return Image.fromarray(np.clip(scaled, 0, 255, out=scaled).astype(np.uint8))


def open_background(text: str) -> Image.Image:
    """Read what stands for a background: a color, as an image of one pixel, or else the image file of that name.

    Args:
        text: A color as CSS writes it ("white", "#00ff88", "rgb(0, 255, 136)"), or a path.

    Raises:
        ValueError: If it is neither, or a color with transparency.
    """
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        if not os.path.exists(text):
            message = f'background {text!r}: neither a color ("white", "#00ff88") nor an existing image file'
            raise ValueError(message) from None
        return to_rgb(open_image(text))
    if len(color) == 4 and color[3] < 255:
        raise ValueError(f"background {text!r}: must be opaque; without a background the result is transparent")
    return Image.new("RGB", (1, 1), color[:3])


def cut_out(
    image: Image.Image,
    alpha: np.ndarray | Image.Image,
    *,
    background: str | Image.Image | None = None,
    in_place: bool = False,
) -> Image.Image:
    """Cut an object out of an image, or put it before another background.

    The colors of pixels that become fully transparent are erased (set to 0): what was removed is not hidden in the
    file, and the file is about half as large. Scale the result with a filter that weighs by alpha, as Pillow and
    browsers do; other filters draw a dark fringe.

    Args:
        image: The picture, of size (W, H). Transparency of its own is kept: the two alphas are multiplied.
        alpha: How much of each pixel belongs to the object: an array (H, W) in [0, 1], or an image of mode "L".
        background: A color, a path, or an image, which is scaled and cropped about its center to cover the picture.
            Its colors are converted to the color profile of `image`.
        in_place: Whether `image` itself may become the result, which saves a copy of it.

    Returns:
        An image with the metadata of `image`: RGBA, or opaque RGB if there is a background.

    Raises:
        ValueError: If sizes differ, or the background is neither a color nor an image.
    """
    original, image = image, standard_mode(image)
    mask = alpha if isinstance(alpha, Image.Image) else mask_image(alpha)
    if mask.size != image.size or mask.mode != "L":
        expected = f"mode L and size {image.size}"
        raise ValueError(f"alpha must be of {expected} like the image, got mode {mask.mode} and size {mask.size}")
    if image.mode == "RGBA":
        mask = ImageChops.multiply(mask, image.getchannel("A"))
    if background is None:
        result = image if in_place or image is not original else image.copy()
        result.putalpha(mask)
        result.paste((0, 0, 0, 0), mask=mask.point([255] + [0] * 255, "1"))
    else:
        backdrop = open_background(background) if isinstance(background, str) else to_rgb(background)
        result = _cover(match_profile(backdrop, image.info.get("icc_profile")), image.size)
        result.paste(image, mask=mask)
    result.info = dict(image.info)
    return result


def _cover(backdrop: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale and crop a backdrop about its center to cover a size; a single pixel is a color."""
    if backdrop.size == (1, 1):
        return Image.new("RGB", size, backdrop.getpixel((0, 0)))
    return ImageOps.fit(backdrop, size)


class MattingUnavailableError(RuntimeError):
    """The package that does the matting is not installed."""


def refine_alpha(
    image: Image.Image,
    soft_map: np.ndarray,
    *,
    foreground_threshold: float = 0.94,
    background_threshold: float = 0.04,
    margin: float = 0.01,
    max_size: int = 1024,
) -> tuple[np.ndarray, np.ndarray]:
    """Refine a soft map to the alpha of the photo, and estimate the colors of the object without its background.

    The alpha is solved at no more than `max_size` pixels a side and enlarged bilinearly; the colors are estimated at
    full size. That takes seconds on a CPU, and the first call of a process a few more, to compile pymatting.

    Args:
        image: The photo, of mode "RGB" and size (W, H).
        soft_map: How salient each pixel is, an array (H, W) in [0, 1].
        foreground_threshold: Pixels above it belong to the object; lower it if parts of the object become transparent.
        background_threshold: Pixels below it are background; raise it if remains of the background stay.
        margin: By how much both are shrunk before they are taken for sure, as a share of the photo's longer side; the
            band between is solved. Raise it for hair and fur, lower it for hard and thin things.
        max_size: The longer side in pixels at which the alpha is solved; time and memory grow with its square.

    Returns:
        The alpha, an array (H, W), float32 in [0, 1], and the colors of the object, (H, W, 3), uint8, which are the
        photo's where the alpha is 1. If no pixel is surely object, none surely background, or none between, the soft
        map and the photo's colors as they are.

    Raises:
        MattingUnavailableError: If pymatting is not installed.
        ValueError: If the image and map do not fit, or an option is out of its range.
    """
    if image.mode != "RGB" or soft_map.shape != (image.height, image.width):
        got = f"mode {image.mode}, size {image.size} and a map of shape {soft_map.shape}"
        raise ValueError(f"matting needs an RGB image and a map of shape (height, width), got {got}")
    if not 0 <= background_threshold < foreground_threshold <= 1:
        got = f"{background_threshold} and {foreground_threshold}"
        raise ValueError(f"the thresholds must be 0 <= background_threshold < foreground_threshold <= 1, got {got}")
    if not 0 <= margin < 0.5 or max_size < 16:
        raise ValueError(f"margin must be in [0, 0.5) and max_size at least 16, got {margin} and {max_size}")
    pymatting = _import_pymatting()
    soft_map = soft_map.astype(np.float32)
    colors = np.asarray(image)

    scale = min(1.0, max_size / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    trimap = cutoff_trimap(resize_map(soft_map, size[1], size[0]), foreground_threshold, background_threshold, margin)
    if len(np.unique(trimap)) < 3:
        return soft_map, colors
    reduced = image if size == image.size else image.resize(size, Image.Resampling.BOX)
    alpha = pymatting.estimate_alpha_cf(np.asarray(reduced) / 255.0, trimap)
    alpha = np.clip(resize_map(alpha.astype(np.float32), image.height, image.width), 0, 1)

    estimate = pymatting.estimate_foreground_ml(colors.astype(np.float32) / 255, alpha)
    estimate = np.rint(np.clip(estimate, 0, 1) * 255).astype(np.uint8)
    whole = alpha > 1 - 0.5 / 255  # what becomes 255 in 8 bits
    return alpha, np.where(whole[..., None], colors, estimate)


def cutoff_trimap(
    soft_map: np.ndarray, foreground_threshold: float, background_threshold: float, margin: float
) -> np.ndarray:
    """Cut a soft map (H, W) into sure object (1), sure background (0) and unknown (0.5), as float64.

    The sure parts end `margin` times the longer side before the pixels on the other side of their threshold; the
    picture's border does not shrink them, since an object may go on beyond it.
    """
    try:  # imports in a `try` are not asked for where this file is loaded from the Hub
        from scipy.ndimage import distance_transform_edt
    except ImportError as error:
        raise MattingUnavailableError(UNAVAILABLE) from error
    distance = margin * max(soft_map.shape)

    def shrink(part: np.ndarray) -> np.ndarray:
        return distance_transform_edt(part) > distance if not part.all() else part

    trimap = np.full(soft_map.shape, UNKNOWN)
    trimap[shrink(soft_map > foreground_threshold)] = FOREGROUND
    trimap[shrink(soft_map < background_threshold)] = BACKGROUND
    return trimap


def _import_pymatting() -> Any:
    try:
        import pymatting
    except ImportError as error:
        raise MattingUnavailableError(UNAVAILABLE) from error
    # Its solver prints hints to standard output, where the cut-out may be written. (Redirecting that for a while would
    # disturb other threads.)
    vars(sys.modules[pymatting.ichol.__module__])["print"] = lambda *_: None
    return pymatting
