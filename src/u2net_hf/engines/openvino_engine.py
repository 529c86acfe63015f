"""OpenVINO as an engine: without torch once the network is exported."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from ..models.u2net.pixels_u2net import InputOptions
from ..weights.loading import reading
from .cpu import num_threads
from .exported_network import find_exported
from .graph_check import LOGITS, SALIENCY, check_names
from .interface import PixelEngine
from .model_files import ModelFiles
from .names import EngineName

# Type of the numbers: of the file, and of the sums in it.
DTYPES = {"float32": ("float32", "f32"), "bfloat16": ("float32", "bf16"), "int8": ("int8", "f32")}


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    """The one core of this process, which keeps it to its end.

    Each core sets the stack on which the process handles signals, and puts the former one back when it goes. Cores
    that do not go in the reverse order leave a stack that is gone: the next signal, such as Ctrl-C, ends the process.
    """
    return openvino.Core()


class OpenVinoGraph:
    """An exported network on the CPU.

    Args:
        path: The ONNX file.
        dtype: "float32" or "bfloat16" for a float32 file, "int8" for such a file.
        output: Name of its output.
    """

    def __init__(self, path: Path, dtype: str, output: str) -> None:
        core = _core()
        self.dtype = dtype
        if dtype == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this processor does not compute in bfloat16: choose float32 or int8")
        with reading(path):
            self.graph = core.read_model(path)
        inputs, outputs = (
            {name for node in nodes for name in node.get_names()} for nodes in (self.graph.inputs, self.graph.outputs)
        )
        check_names(path, inputs, outputs, output)
        # Networks of one fixed shape run faster; a folder needs two, for whole batches and the last one.
        self.network = lru_cache(maxsize=2)(self._compile)

    def _compile(self, shape: tuple[int, ...]) -> Any:
        network = self.graph.clone()
        network.reshape(list(shape))
        options: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": DTYPES[self.dtype][1]}
        options |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": num_threads()}
        return _core().compile_model(network, "CPU", options)

    def __call__(self, pixel_values: np.ndarray) -> np.ndarray:
        """From `(batch, channels, height, width)` to the output."""
        output: np.ndarray = self.network(pixel_values.shape)(pixel_values)[0].copy()
        return output


class OpenVinoEngine(PixelEngine):
    """An exported U²-Net on the CPU; the arguments are those of [`OpenVinoGraph`].

    Args:
        path: The ONNX file.
        input_options: How images become pixel values.
        dtype: Type of the numbers.
    """

    name = EngineName.openvino

    def __init__(self, path: Path, input_options: InputOptions, dtype: str) -> None:
        super().__init__(input_options, dtype)
        self.graph = OpenVinoGraph(path, dtype, SALIENCY)

    def probabilities(self, pixel_values: np.ndarray) -> np.ndarray:
        """See [`PixelEngine`]."""
        return self.graph(pixel_values)[:, 0]


def load_logits(name_or_path: str | Path, dtype: str = "float32") -> tuple[OpenVinoGraph, str]:
    """Load a U-Net: what gives its logits, and the type of its numbers; arguments and errors are those of `load`."""
    path, _, chosen = _find(name_or_path, dtype, LOGITS)
    return OpenVinoGraph(path, chosen, LOGITS), chosen


def load(name_or_path: str | Path, dtype: str = "float32") -> OpenVinoEngine:
    """Load a network for OpenVINO; the arguments and errors are those of [`u2net_hf.engines.load_engine`]."""
    path, files, chosen = _find(name_or_path, dtype)
    return OpenVinoEngine(path, files.input_options, chosen)


def _find(name_or_path: str | Path, dtype: str, output: str = SALIENCY) -> tuple[Path, ModelFiles, str]:
    chosen = "float32" if dtype == "auto" else dtype  # in bfloat16 it computes layers that need more digits, too
    if chosen not in DTYPES:
        raise ValueError(f"dtype of the engine openvino must be auto, {', '.join(DTYPES)}, got {dtype!r}")
    return *find_exported(name_or_path, DTYPES[chosen][0], output), chosen
