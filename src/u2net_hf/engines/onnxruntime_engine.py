"""ONNX Runtime as an engine: neither torch nor transformers is needed once the network is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from ..models.u2net.pixels_u2net import InputOptions
from ..weights.loading import reading
from .cpu import num_threads
from .exported_network import find_exported
from .graph_check import INPUT, LOGITS, SALIENCY, check_names
from .interface import PixelEngine
from .model_files import ModelFiles
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
        self.session = _open(path, SALIENCY, input_options.size if input_options.do_resize else ())

    def probabilities(self, pixel_values: np.ndarray) -> np.ndarray:
        """See [`PixelEngine`]."""
        return self.session.run([SALIENCY], {INPUT: pixel_values})[0][:, 0]


def _open(path: Path, output: str, size: Sequence[int] = ()) -> onnxruntime.InferenceSession:
    """Open an ONNX file; a height and width that are known beforehand need not be computed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it raises what it would also print, in colors
    options.intra_op_num_threads = num_threads()
    for axis, length in zip(("height", "width"), size, strict=False):
        options.add_free_dimension_override_by_name(axis, length)
    with reading(path):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    check_names(path, {node.name for node in inputs}, {node.name for node in outputs}, output)
    return session


def load_logits(name_or_path: str | Path, dtype: str = "float32") -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Load a U-Net: what gives its logits, and the type of its numbers; arguments and errors are those of `load`."""
    path, _, chosen = _find(name_or_path, dtype, LOGITS)
    session = _open(path, LOGITS)
    return lambda pixel_values: session.run([LOGITS], {INPUT: pixel_values})[0], chosen


def load(name_or_path: str | Path, dtype: str = "float32") -> OnnxRuntimeEngine:
    """Load a network for ONNX Runtime; the arguments and errors are those of [`u2net_hf.engines.load_engine`]."""
    path, files, chosen = _find(name_or_path, dtype)
    return OnnxRuntimeEngine(path, files.input_options, chosen)


def _find(name_or_path: str | Path, dtype: str, output: str = SALIENCY) -> tuple[Path, ModelFiles, str]:
    chosen = "float32" if dtype == "auto" else dtype
    if chosen not in DTYPES:
        raise ValueError(f"dtype of the engine onnxruntime must be auto, {', '.join(DTYPES)}, got {dtype!r}")
    return *find_exported(name_or_path, chosen, output), chosen
