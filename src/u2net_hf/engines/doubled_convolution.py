"""A convolution over an image upsampled by two, carried out at the small size.

Bilinear upsampling by two (half-pixel centers) inserts zeros between the pixels and filters with [1, 3, 3, 1] / 4
along both axes. Filters commute, so

    conv3x3(upsample(low)) = filter(conv_transpose3x3(low, stride 2)) - edges,

where the transposed convolution multiplies a quarter as often as the convolution that it stands for. Outside of the
image the left side has zeros, while the filter sees the image go on. `edges` takes that back: a convolution of the
four border lines, which changes the outermost pixels only. The two sides are equal up to rounding.
"""

import torch
from torch.nn import functional as F


def convolve_doubled(low: torch.Tensor, transposed: torch.Tensor, smoothing: torch.Tensor) -> torch.Tensor:
    """`conv3x3(upsample(low))` with zeros around, without the upsampled map.

    Args:
        low: `(B, in, H, W)`.
        transposed: `(in, out, 3, 3)`, the convolution's weight with its taps in the other order.
        smoothing: [`bilinear_filter`].

    Returns:
        `(B, out, 2 H, 2 W)`.
    """
    scattered = F.conv_transpose2d(F.pad(low, (1, 1, 1, 1), mode="replicate"), transposed, stride=2, padding=1)
    result = F.conv2d(scattered, smoothing, groups=len(smoothing))
    # Beyond its border the upsampled map goes on as it ends: its border lines, seen through the outer taps, are
    # too much. The corners belong to the rows.
    taps = transposed.flip(2, 3).transpose(0, 1)
    rows = F.pad(_double_lines(low[:, :, 0], low[:, :, -1]), (1, 1), mode="replicate")
    columns = F.pad(_double_lines(low[..., 0], low[..., -1]), (1, 1))
    top, bottom = F.conv1d(rows, torch.cat((taps[:, :, 0], taps[:, :, 2])), groups=2).chunk(2, dim=1)
    left, right = F.conv1d(columns, torch.cat((taps[..., 0], taps[..., 2])), groups=2).chunk(2, dim=1)
    result[:, :, 0] -= top
    result[:, :, -1] -= bottom
    result[..., 0] -= left
    result[..., -1] -= right
    return result


def bilinear_filter(weight: torch.Tensor) -> torch.Tensor:
    """The filter of bilinear upsampling by two, for each output channel of `weight`: `(out, 1, 4, 4)`."""
    line = torch.tensor([0.25, 0.75, 0.75, 0.25], dtype=weight.dtype, device=weight.device)
    return torch.outer(line, line).expand(len(weight), 1, 4, 4).contiguous()


def _double_lines(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two sets of lines `(B, C, L)`, upsampled by two and concatenated: `(B, 2 C, 2 L)`."""
    return F.interpolate(torch.cat((first, second), dim=1), scale_factor=2, mode="linear", align_corners=False)
