"""ONNX Runtime as an engine: neither torch nor transformers is needed once the network is exported."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from ..weights.loading import reading
from .cpu import num_threads
from .graph_check import INPUT, check_names
from .interface import Graph

# Type of the numbers, and that of the file.
DTYPES = {"float32": "float32", "float16": "float16", "int8": "int8"}


def open_graph(path: Path, _dtype: str, output: str, size: tuple[int, int] | None) -> Graph:
    """Open an ONNX file.

    Args:
        path: The file, which has the type of the numbers.
        output: Name of its output.
        size: Height and width of all images, if known: what depends on them need not be computed each time.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it raises what it would also print, in colors
    options.intra_op_num_threads = num_threads()
    for axis, length in zip(("height", "width"), size or (), strict=False):
        options.add_free_dimension_override_by_name(axis, length)
    with reading(path):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    check_names(path, {node.name for node in inputs}, {node.name for node in outputs}, output)
    return lambda pixel_values: session.run([output], {INPUT: pixel_values})[0]
