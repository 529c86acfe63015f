"""A U-Net in each engine: tiles to logits, and for photos soft maps.

Images are cut, mirrored and put together by the image processor of the network, whichever engine runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.modeling_outputs import SemanticSegmenterOutput

from ..models.unet.image_processing_unet import UNetImageProcessorPil
from ..models.unet.modeling_unet import UNetForSemanticSegmentation
from ..weights.loading import load_pretrained, load_whole_model
from ..weights.published import resolve
from .exported_network import load_graph
from .fused_unet import FusedUNet
from .graph_check import LOGITS
from .interface import Graph
from .names import EngineName
from .torch_engine import ProcessorEngine, choose_dtype, name_of, usable_device


class ExportedUNet:
    """A U-Net in ONNX Runtime or OpenVINO.

    Args:
        engine: What runs it.
        logits: Gives the logits of tiles.
        dtype: Type of its numbers.
    """

    def __init__(self, engine: EngineName, logits: Graph, dtype: str) -> None:
        self.engine, self.logits, self.dtype = engine, logits, dtype

    def __call__(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """From float32 tiles `(tiles, channels, height, width)` to their logits, float32."""
        return torch.from_numpy(self.logits(pixel_values.float().contiguous().numpy()))


TileNetwork = FusedUNet | ExportedUNet


class UNetEngine(ProcessorEngine):
    """A U-Net with its image processor, which makes soft maps of all that is not background; see [`Engine`].

    Args:
        network: The network.
        image_processor: Its [`UNetImageProcessorPil`].
    """

    def __init__(self, network: TileNetwork, image_processor: Any) -> None:
        self.network, self.image_processor = network, image_processor

    def _runs_in(self) -> tuple[EngineName, str]:
        dtype = self.network.dtype
        return self.network.engine, name_of(dtype) if isinstance(dtype, torch.dtype) else dtype

    def _run(self, pixel_values: torch.Tensor) -> SemanticSegmenterOutput:
        return SemanticSegmenterOutput(logits=self.network(pixel_values))


def load(name_or_path: str | Path, engine: str, device: str | None, dtype: str) -> UNetEngine:
    """Load a U-Net; the arguments and errors are those of [`u2net_hf.engines.load_engine`]."""
    network = load_tile_network(name_or_path, engine, device, dtype)
    return UNetEngine(network, load_pretrained(UNetImageProcessorPil, resolve(name_or_path)))


def load_tile_network(
    name_or_path: str | Path, engine: str = "torch", device: str | None = None, dtype: str = "float32"
) -> TileNetwork:
    """Load the network alone.

    Args:
        name_or_path: A published name ("nuclei"), a folder written by `save_pretrained`, or a Hub id, of a U-Net.
        engine: "torch" or "auto", which is the same here; or "onnxruntime" or "openvino", for which the network is
            exported once, into the cache.
        device: Where torch runs it; by default the accelerator if there is one.
        dtype: As [`u2net_hf.engines.load_engine`] takes it; not "int8", for which a U-Net's images would have to be
            at hand.

    Raises:
        OSError: If there is no such model.
        RuntimeError: If the engine is not installed.
        ValueError: If an argument is wrong, or the model is damaged.
    """
    if engine in (EngineName.torch, EngineName.auto):
        place = usable_device(device)
        number_type = choose_dtype(dtype, place)
        model = load_whole_model(UNetForSemanticSegmentation, resolve(name_or_path), dtype=torch.float32)
        return FusedUNet(model, number_type, place)
    if dtype == "int8":
        raise ValueError(f"{name_or_path} is a U-Net, which {engine} does not run in int8: choose auto or float32")
    graph, _, chosen = load_graph(name_or_path, engine, device, dtype, LOGITS)
    return ExportedUNet(EngineName(engine), graph, chosen)
