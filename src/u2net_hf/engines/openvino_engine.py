"""OpenVINO as an engine: without torch once the network is exported."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import openvino

from ..weights.loading import reading
from .cpu import num_threads
from .graph_check import check_names
from .interface import Graph

# Type of the numbers, and that of the file.
DTYPES = {"float32": "float32", "bfloat16": "float32", "int8": "int8"}


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    """The one core of this process, which keeps it to its end.

    Each core sets the stack on which the process handles signals, and puts the former one back when it goes. Cores
    that do not go in the reverse order leave a stack that is gone: the next signal, such as Ctrl-C, ends the process.
    """
    return openvino.Core()


def open_graph(path: Path, dtype: str, output: str, _size: tuple[int, int] | None) -> Graph:
    """Open an ONNX file.

    Args:
        path: The file.
        dtype: "float32" or "bfloat16" for a float32 file, "int8" for such a file.
        output: Name of its output.
    """
    core = _core()
    if dtype == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("this processor does not compute in bfloat16: choose float32 or int8")
    with reading(path):
        graph = core.read_model(path)
    inputs, outputs = (
        {name for node in nodes for name in node.get_names()} for nodes in (graph.inputs, graph.outputs)
    )
    check_names(path, inputs, outputs, output)
    options: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32"}
    options |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": num_threads()}

    @lru_cache(maxsize=2)  # networks of one fixed shape run faster; a folder needs two, for whole batches and the last
    def compiled(shape: tuple[int, ...]) -> Any:
        network = graph.clone()
        network.reshape(list(shape))
        return core.compile_model(network, "CPU", options)

    return lambda pixel_values: compiled(pixel_values.shape)(pixel_values)[0].copy()
