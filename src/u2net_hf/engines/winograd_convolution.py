"""A 3x3 convolution by Winograd's minimal filtering F(2x2, 3x3): 16 products in the place of 36.

    y = A' [(G w G') * (B' x B)] A

for tiles x of 4x4 pixels that overlap by two and give 2x2 results y each (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016, equations 8 to 12). Summed over the channels, the products of all tiles are 16
matrix products. The transforms B and A only add and subtract, and cost memory traffic: it pays for many channels. In
float32 the result is as exact as that of a convolution; 16 bits would lose digits in the transforms.
"""

import torch
from torch.nn import functional as F


def transform_weight(weight: torch.Tensor) -> torch.Tensor:
    """A convolution's weight `(out, in, 3, 3)` as `(16, in, out)`, computed in float64."""
    lines = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]
    matrix = torch.tensor(lines, dtype=torch.float64, device=weight.device)
    parts = []  # of few channels, so that no large copies in float64 come and go
    for part in weight.split(32):
        parts.append(torch.einsum("ay,ocyx,bx->baco", matrix, part.double(), matrix).to(weight.dtype))
    return torch.cat(parts, dim=3).flatten(0, 1)


def convolve_by_winograd(hidden: torch.Tensor, transformed: torch.Tensor) -> torch.Tensor:
    """The 3x3 convolution with zeros around.

    Args:
        hidden: `(B, in, H, W)`, best in channels_last.
        transformed: From [`transform_weight`].

    Returns:
        `(B, out, H, W)`, in channels_last where H and W are even.
    """
    height, width = hidden.shape[-2:]
    padded = F.pad(hidden, (1, 1 + width % 2, 1, 1 + height % 2)).permute(0, 2, 3, 1)
    tiles = _transform_input(_transform_input(padded, 1), 3)  # (column, row, B, tiles down, tiles across, in)
    products = torch.bmm(tiles.reshape(16, -1, tiles.shape[-1]), transformed).view(*tiles.shape[:-1], -1)
    sums = products.new_empty(2, *products.shape[1:])
    _transform_output(products, sums)
    batch, down, across, channels = products.shape[2:]
    result = products.new_empty(batch, down, 2, across, 2, channels)
    _transform_output(sums.transpose(0, 1), result.permute(2, 4, 0, 1, 3, 5))
    return result.view(batch, 2 * down, 2 * across, channels)[:, :height, :width].permute(0, 3, 1, 2)


def _transform_input(lines: torch.Tensor, dim: int) -> torch.Tensor:
    """B' along one axis: four sums for each tile of four lines, on a new first axis."""
    count = lines.shape[dim] // 2 - 1
    even, odd = lines.unflatten(dim, (-1, 2)).unbind(dim + 1)
    first, third, second, fourth = (part.narrow(dim, at, count) for part in (even, odd) for at in (0, 1))
    result = lines.new_empty(4, *first.shape)
    torch.sub(first, third, out=result[0])
    torch.add(second, third, out=result[1])
    torch.sub(third, second, out=result[2])
    torch.sub(second, fourth, out=result[3])
    return result


def _transform_output(products: torch.Tensor, result: torch.Tensor) -> None:
    """A' along the first axis: of four products two results."""
    torch.add(products[0], products[1], out=result[0]).add_(products[2])
    torch.sub(products[1], products[2], out=result[1]).sub_(products[3])
