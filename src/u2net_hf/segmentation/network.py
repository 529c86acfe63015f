"""A U-Net that finds objects, applied to pages of any size tile by tile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.image_utils import SizeDict
from transformers.modeling_outputs import SemanticSegmenterOutput

from ..models.unet.configuration_unet import UNetConfig, nearest_valid_sizes
from ..models.unet.instances_unet import InstanceOptions, expected_depth
from ..models.unet.tiling_unet import Tiling, average_rotations, cut_windows, plan_image
from ..weights.loading import load_pretrained
from ..weights.published import resolve
from .intensities import Intensities
from .planes import Plane

if TYPE_CHECKING:
    from ..engines.unet_engine import TileNetwork

# Side of the tiles of a page with more pixels than such a tile has, where the model's own processor names none.
TILE_SIZE = 1024


@dataclass(frozen=True)
class CellNetwork:
    """A network for objects, with its image processor.

    Args:
        model: What runs the network, see [`u2net_hf.engines.unet_engine.TileNetwork`].
        processor: Its [`UNetImageProcessorPil`].
        options: How its maps become objects.
        average_rotations: Whether to average over the eight positions of a square: eight times as slow.
    """

    model: TileNetwork
    processor: Any
    options: InstanceOptions
    average_rotations: bool = False

    @torch.inference_mode()
    def maps(self, page: Intensities, foreground: Plane, depth: Plane) -> None:
        """Write the probability of not being background, and the expected depth, of each pixel of a page."""
        height, width = page.plane.size
        rows, columns = self._plan((height, width))
        # Row numbers, cut as rows are: where the network sees beyond the page, it is mirrored.
        numbers = np.arange(height)[None, :, None]
        windows = cut_windows(numbers, rows, Tiling([0], 1, 0, 0), (rows.context, 0))
        for top, window in zip(rows.starts, windows, strict=True):
            first = int(window.min())
            strip = page.rows(first, int(window.max()) + 1)[:, window.ravel() - first]
            tiles = cut_windows(strip, Tiling([0], strip.shape[1], 0, 0), columns, (0, columns.context))
            for left, tile in zip(columns.starts, tiles, strict=True):
                probabilities = self._probabilities(tile)[
                    :, rows.surplus : rows.surplus + rows.kept, columns.surplus : columns.surplus + columns.kept
                ][:, : height - top, : width - left]
                place = slice(top, top + probabilities.shape[1]), slice(left, left + probabilities.shape[2])
                objects = probabilities[0] if len(probabilities) == 1 else 1 - probabilities[0]
                foreground.open()[place] = objects
                depth.open()[place] = expected_depth(probabilities)

    def _plan(self, size: tuple[int, int]) -> tuple[Tiling, Tiling]:
        options = {name: getattr(self.processor, name) for name in ("tile_size", "depth", "padding", "upsampling")}
        if options["tile_size"] is None and size[0] * size[1] > TILE_SIZE**2:
            side = TILE_SIZE
            if self.processor.padding == "valid":
                below, above = nearest_valid_sizes(TILE_SIZE, self.processor.depth, self.processor.upsampling)
                side = below or above
            options["tile_size"] = SizeDict(height=side, width=side)
        return plan_image(size, **options)

    def _probabilities(self, tile: Any) -> np.ndarray:
        """Of the labels, `(num_labels, height, width)`, by a tile `(channels, height, width)`."""
        pixel_values = torch.from_numpy(np.ascontiguousarray(tile))[None]
        logits = average_rotations(self.model, pixel_values) if self.average_rotations else self.model(pixel_values)
        (probabilities,) = self.processor.post_process_probabilities(SemanticSegmenterOutput(logits=logits))
        result: np.ndarray = probabilities.cpu().numpy()
        return result


def load_network(
    name_or_path: str | Path,
    *,
    engine: str = "torch",
    device: str | None = None,
    dtype: str = "float32",
    average_rotations: bool = False,
    instances: Mapping[str, Any] | None = None,
) -> CellNetwork:
    """Load a U-Net that finds objects.

    Args:
        name_or_path: A published name ("nuclei"), a folder written by `save_pretrained`, or a Hub id. Its labels are
            levels of depth, see `post_process_instance_segmentation`; with two, the second is the object.
        engine: "torch", "onnxruntime" or "openvino".
        device: Where torch runs it ("cpu", "cuda:1", ...); by default the accelerator if there is one.
        dtype: As [`u2net_hf.engines.load_engine`] takes it, but not "int8".
        average_rotations: See [`CellNetwork`].
        instances: Options of [`InstanceOptions`] that differ from the model's own.

    Raises:
        ValueError: If it is no such network, or the engine cannot run it so.
        RuntimeError: If the engine is not installed.
        OSError: If there is no such model.
    """
    source = resolve(name_or_path)
    from transformers import AutoConfig

    from ..engines.unet_engine import load_tile_network
    from ..models.unet.image_processing_unet import UNetImageProcessorPil

    config: Any = load_pretrained(AutoConfig, source)
    if not isinstance(config, UNetConfig):
        raise ValueError(f"{name_or_path}: is a {config.model_type}; objects are found by a U-Net, for example nuclei")
    processor: Any = load_pretrained(UNetImageProcessorPil, source)
    if processor.instances is None and (config.num_labels or 2) > 2:
        raise ValueError(
            f"{name_or_path}: has {config.num_labels} classes, and its processor does not say (by `instances`) that "
            "they are levels of depth of one kind of object; train one with --label_maps"
        )
    if processor.do_resize:
        raise ValueError(f"{name_or_path}: resizes its images; objects are found at the size that they have")
    model = load_tile_network(name_or_path, engine, device, dtype)
    options = InstanceOptions(**(processor.instances or {}) | dict(instances or {}))
    return CellNetwork(model, processor, options, average_rotations)
