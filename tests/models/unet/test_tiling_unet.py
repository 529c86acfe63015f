"""The overlap-tile strategy: tiles put together are the untiled image, whatever the size."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_unet_config

from u2net_hf.models.unet.modeling_unet import UNetForSemanticSegmentation
from u2net_hf.models.unet.tiling_unet import cut_windows, plan_tiles, stitch


def run_tiled(
    model: UNetForSemanticSegmentation, image: torch.Tensor, tile_size: tuple[int, int] | None
) -> torch.Tensor:
    """The logits of one image, (labels, height, width), from tiles of a size or from one that covers it."""
    config = model.config
    rows, columns = (
        plan_tiles(length, tile, config.depth, config.padding, config.upsampling)
        for length, tile in zip(image.shape[1:], tile_size or (None, None), strict=True)
    )
    tiles = torch.stack(cut_windows(image, rows, columns, (rows.context, columns.context)))
    with torch.inference_mode():
        return stitch(model(tiles).logits, rows, columns, *image.shape[1:])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(
    ("arguments", "tile_size"),
    [
        ({}, (44, 60)),
        ({}, (64, 48)),
        ({"upsampling": "bilinear"}, (52, 64)),
        ({"hidden_sizes": [3, 4]}, (18, 24)),
        ({"hidden_sizes": [3, 4, 5, 6]}, (100, 116)),
        ({"hidden_sizes": [3, 4, 5, 6], "upsampling": "bilinear"}, (132, 124)),
    ],
)
@pytest.mark.parametrize("image_size", [(57, 91), (11, 40), (1, 3)])
def test_valid_tiles_equal_the_untiled_image(
    arguments: dict[str, Any],
    tile_size: tuple[int, int],
    image_size: tuple[int, int],
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config(padding="valid", **arguments)).to(dtype).eval()
    image = torch.rand(3, *image_size, dtype=dtype)
    tiled, whole = run_tiled(model, image, tile_size), run_tiled(model, image, None)
    torch.testing.assert_close(tiled, whole, rtol=tolerance, atol=tolerance)
    assert tiled.shape == (2, *image_size)


@pytest.mark.parametrize(("upsampling", "context"), [("transpose", 24), ("bilinear", 28)])
def test_padded_tiles_equal_the_untiled_image_away_from_its_border(upsampling: str, context: int) -> None:
    model = UNetForSemanticSegmentation(tiny_unet_config(upsampling=upsampling)).double().eval()
    image = torch.rand(3, 83, 94, dtype=torch.float64)
    with torch.inference_mode():
        whole = model(image[None]).logits[0]
    margin = context + 4  # the last cell of the pooling grid may be cut by the border
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    for tile_size in ((2 * context + 12, 2 * context + 20), (96, 100)):
        tiled = run_tiled(model, image, tile_size)
        torch.testing.assert_close(tiled[inner], whole[inner], rtol=1e-12, atol=1e-12)
        assert tiled.shape == whole.shape


def test_the_valid_network_sees_the_image_mirrored_as_numpy_does() -> None:
    """The context is 20 pixels on each side, and more below and to the right, where the legal size is larger."""
    model = UNetForSemanticSegmentation(tiny_unet_config(padding="valid")).double().eval()
    image = torch.rand(3, 7, 30, dtype=torch.float64)
    mirrored = np.pad(image.numpy(), ((0, 0), (20, 20 + 1), (20, 20 + 2)), mode="reflect")
    with torch.inference_mode():
        expected = model(torch.from_numpy(mirrored)[None]).logits[0, :, :7, :30]
    torch.testing.assert_close(run_tiled(model, image, None), expected)


def test_neighbors_lie_on_the_pooling_grid() -> None:
    """Tiles of 572 give outputs of 388; 388 apart, every second tile would be pooled in other cells."""
    tiling = plan_tiles(1000, 572, depth=4, padding="valid", upsampling="transpose")
    assert (tiling.starts, tiling.kept, tiling.context, tiling.surplus) == ([0, 384, 768], 388, 92, 0)
    for length in (1, 387, 388, 389, 772, 773):
        for side in (
            plan_tiles(length, 572, 4, "valid", "transpose"),
            plan_tiles(length, 512, 4, "same", "bilinear"),
        ):
            assert all(
                (after - before) % 16 == 0 and after - before <= side.kept for before, after in pairwise(side.starts)
            )
            assert side.starts[-1] < length <= side.starts[-1] + side.kept


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_windows_are_the_mirrored_image(library: str) -> None:
    image = np.arange(3 * 5 * 9).reshape(3, 5, 9)
    padded = np.pad(image, ((0, 0), (30, 30), (30, 30)), mode="reflect")
    rows, columns = (plan_tiles(length, 22, 1, "valid", "transpose") for length in image.shape[1:])
    given = torch.from_numpy(image) if library == "torch" else image
    windows = cut_windows(given, rows, columns, (rows.context, columns.context))
    corners = [(row - 8 + 30, column - 8 + 30) for row in rows.starts for column in columns.starts]
    assert len(windows) == len(corners) == 2
    for window, (top, left) in zip(windows, corners, strict=True):
        np.testing.assert_array_equal(np.asarray(window), padded[:, top : top + 22, left : left + 22])


@pytest.mark.parametrize(
    ("tile_size", "padding", "depth", "legal"),
    [
        (570, "valid", 4, "556 or 572"),
        (188, "valid", 4, "at least 204"),
        (10, "valid", 4, "at least 204"),
        (250, "same", 4, "240 or 256"),
        (192, "same", 4, "at least 208"),
        (209, "same", 4, "208 or 224"),
        (205, "same", 4, "at least 208"),
    ],
)
def test_illegal_tiles_are_refused_with_the_nearest_legal_ones(
    tile_size: int, padding: str, depth: int, legal: str
) -> None:
    with pytest.raises(ValueError, match=rf"`tile_size` {tile_size} does not suit .*: use {legal}\.$"):
        plan_tiles(1000, tile_size, depth, padding, "transpose")
