"""The overlap-tile strategy (figure 2 of the paper): which windows of an image the network sees, and where their
outputs belong. Rows and columns are planned alike, one side of the image at a time.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from transformers.image_utils import SizeDict

from .configuration_unet import nearest_valid_sizes, valid_context

Pixels: TypeAlias = np.ndarray | torch.Tensor


class Tiling(NamedTuple):
    """How one side of an image (its rows or its columns) is covered by tiles.

    Args:
        starts: The pixel at which the kept output of each tile begins.
        kept: Pixels of each tile's output that are kept.
        context: Pixels that a tile's input reaches further than its kept output, on either side.
        surplus: Pixels of the network's output that are not kept, on either side: those of a padded network which
            depend on what lies beyond the tile.
    """

    starts: list[int]
    kept: int
    context: int
    surplus: int


def plan_tiles(length: int, tile_size: int | None, depth: int, padding: str, upsampling: str) -> Tiling:
    """Cover one side of an image.

    The pooling cells of a network lie on a grid of 2**depth pixels. Tiles that begin on one and the same grid compute
    the same numbers as the untiled network does, others do not: so neighbors are a multiple of 2**depth apart. For
    the network of the paper (tiles of 572, outputs of 388) these are 384 pixels, and outputs overlap by 4.

    Args:
        length: Height or width of the image in pixels.
        tile_size: Height or width of the tiles, the network's inputs; `None` for one tile that covers the image.
        depth: Number of 2x2 poolings in the network.
        padding: "same" or "valid", the network's convolutions.
        upsampling: "transpose" or "bilinear", the network's upsampling.

    Returns:
        The tiles. Where their inputs leave the image it is to be mirrored.

    Raises:
        ValueError: If the network cannot work on tiles of that size.
    """
    step = 2**depth
    half_context = valid_context(depth, upsampling) // 2
    if tile_size is None and padding == "same":
        return Tiling([0], kept=length, context=0, surplus=0)
    if tile_size is None:
        covering = nearest_valid_sizes(length + 2 * half_context, depth, upsampling)[1]
        return Tiling([0], kept=covering - 2 * half_context, context=half_context, surplus=0)
    if padding == "same":
        # What zero padding can reach: 6 (7) * step - 2 (3) pixels, rounded up to the grid.
        context = (7 if upsampling == "bilinear" else 6) * step
        smallest = 2 * context + step
        below, above = tile_size - tile_size % step, tile_size + -tile_size % step
    else:
        context = half_context
        smallest = nearest_valid_sizes(2 * context + step, depth, upsampling)[1]
        below, above = nearest_valid_sizes(tile_size, depth, upsampling)
    if tile_size != above or tile_size < smallest:
        legal = f"{below} or {above}" if below and below >= smallest else f"at least {max(above, smallest)}"
        raise ValueError(
            f"`tile_size` {tile_size} does not suit a network with padding={padding!r}, upsampling={upsampling!r} and "
            f"depth={depth}: use {legal}."
        )
    kept = tile_size - 2 * context
    stride = kept - kept % step
    return Tiling(
        starts=list(range(0, max(length - kept, 0) + stride, stride)),
        kept=kept,
        context=context,
        surplus=context if padding == "same" else 0,
    )


def plan_image(
    image_size: tuple[int, int],
    tile_size: SizeDict | None,
    depth: int,
    padding: str,
    upsampling: str,
    **kwargs: object,
) -> tuple[Tiling, Tiling]:
    """Cover an image of a size (height, width): `plan_tiles` from top to bottom and from left to right.

    The arguments are options of the image processors; further ones are of no matter here.
    """
    height, width = (tile_size.height, tile_size.width) if tile_size else (None, None)
    rows = plan_tiles(image_size[0], height, depth, padding, upsampling)
    return rows, plan_tiles(image_size[1], width, depth, padding, upsampling)


def cut_windows(image: Pixels, rows: Tiling, columns: Tiling, extra: tuple[int, int]) -> list[Pixels]:
    """Cut the window of every tile out of a mirrored image, row by row of tiles.

    Args:
        image: `(channels, height, width)`.
        rows: The tiles from top to bottom.
        columns: The tiles from left to right.
        extra: Pixels by which windows reach further than the kept outputs, at top and bottom and at left and right:
            `context` gives the network's inputs, `surplus` the region of its outputs.

    Returns:
        Windows of shape `(channels, kept height + 2 extra, kept width + 2 extra)`; views where they can be.
    """
    row_windows, column_windows = (
        [_mirrored(start - more, start + side.kept + more, length) for start in side.starts]
        for side, more, length in zip((rows, columns), extra, image.shape[-2:], strict=True)
    )
    return [image[:, row][:, :, column] for row, column in product(row_windows, column_windows)]


def _mirrored(start: int, stop: int, length: int) -> slice | np.ndarray:
    """Index the pixels `start` to `stop` (exclusive) of a side of `length` that is mirrored endlessly at both ends.

    The pixel at the border is not repeated, as in the authors' code. A side of one pixel repeats it.
    """
    if start >= 0 and stop <= length:
        return slice(start, stop)
    period = max(2 * (length - 1), 1)
    indices = np.abs(np.arange(start, stop)) % period
    return np.minimum(indices, period - indices)


def stitch(outputs: torch.Tensor, rows: Tiling, columns: Tiling, height: int, width: int) -> torch.Tensor:
    """Put the network's outputs for the tiles of one image together.

    Args:
        outputs: `(tiles, channels, output height, output width)`, in the order of `cut_windows`.
        rows: The tiles from top to bottom.
        columns: The tiles from left to right.
        height: Height of the image.
        width: Width of the image.

    Returns:
        The map of the whole image, `(channels, height, width)`.
    """
    whole = outputs.new_empty(outputs.shape[1], height, width)
    top, left = rows.surplus, columns.surplus
    kept = outputs[..., top : top + rows.kept, left : left + columns.kept]
    for (row, column), tile in zip(product(rows.starts, columns.starts), kept, strict=True):
        # Where tiles overlap they are equal. The last ones may reach beyond the image.
        place = whole[:, row : row + rows.kept, column : column + columns.kept]
        place.copy_(tile[:, : place.shape[1], : place.shape[2]])
    return whole


def average_rotations(network: Callable[[torch.Tensor], torch.Tensor], pixel_values: torch.Tensor) -> torch.Tensor:
    """Average what a network says of an image in the eight positions of a square: four rotations, each mirrored too.

    The paper's results are "averaged over 7 rotated versions of the input data" (section 4). Each tile is turned in
    itself, on the grid of its pooling cells, so tiles still fit together as they do without averaging.

    Args:
        network: Gives the logits `(tiles, num_labels, output height, output width)` of `(tiles, channels, height,
            width)`.
        pixel_values: Tiles of any number and size.

    Returns:
        The logits of the mean probabilities, of the shape that the network gives; float32.
    """
    total = torch.zeros((), device=pixel_values.device)
    for turns, mirrored in product(range(4), (False, True)):
        view = torch.rot90(pixel_values, turns, (-2, -1))
        logits = network(view.flip(-1) if mirrored else view).float()
        probabilities = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
        total = total + torch.rot90(probabilities.flip(-1) if mirrored else probabilities, -turns, (-2, -1))
    mean = (total / 8).clamp(torch.finfo(torch.float32).tiny, 1)
    return mean.logit(eps=1e-7) if mean.shape[1] == 1 else mean.log()


__all__ = ["Tiling", "average_rotations", "cut_windows", "plan_image", "plan_tiles", "stitch"]
