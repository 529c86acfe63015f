"""ONNX Runtime as an engine: neither torch nor transformers is needed once the network is exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from ..models.u2net.pixels_u2net import InputOptions
from ..weights.loading import reading
from .cpu import num_threads
from .exported_network import check_names, find_exported
from .interface import PixelEngine
from .names import EngineName

DTYPES = ("float32", "float16", "int8")


class OnnxRuntimeEngine(PixelEngine):
    """An exported U²-Net on the CPU.

    Args:
        path: The ONNX file.
        input_options: How images become pixel values.
        dtype: "float32", "float16" or "int8", as the file is.
    """

    name = EngineName.onnxruntime

    def __init__(self, path: Path, input_options: InputOptions, dtype: str) -> None:
        super().__init__(input_options, dtype)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # it raises what it would also print, in colors
        options.intra_op_num_threads = num_threads()
        if input_options.do_resize:  # sizes that are known beforehand need not be computed
            for axis, size in zip(("height", "width"), input_options.size, strict=True):
                options.add_free_dimension_override_by_name(axis, size)
        with reading(path):
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        check_names(path, {node.name for node in inputs}, {node.name for node in outputs})

    def probabilities(self, pixel_values: np.ndarray) -> np.ndarray:
        """See [`PixelEngine`]."""
        return self.session.run(["saliency"], {"pixel_values": pixel_values})[0][:, 0]


def load(name_or_path: str | Path, dtype: str = "float32") -> OnnxRuntimeEngine:
    """Load a network for ONNX Runtime; the arguments and errors are those of [`u2net_hf.engines.load_engine`]."""
    chosen = "float32" if dtype == "auto" else dtype
    if chosen not in DTYPES:
        raise ValueError(f"dtype of the engine onnxruntime must be auto, {', '.join(DTYPES)}, got {dtype!r}")
    path, files = find_exported(name_or_path, chosen)
    return OnnxRuntimeEngine(path, files.input_options, chosen)
