"""What an ONNX file of others would take, told from its shapes: some small files ask for all memory there is."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.u2net.pixels_u2net import InputOptions
from ..weights.loading import reading

if TYPE_CHECKING:
    import onnx

INPUT, SALIENCY, LOGITS = "pixel_values", "saliency", "logits"
LARGEST_SHAPE = 4096  # bytes; larger constants are weights, whose values say nothing of sizes
# A U²-Net holds 261 values at once for each pixel of its input, an IS-Net 64.
MOST_BYTES_PER_PIXEL = 300 * 4
MOST_BYTES = 2**30  # what any graph may take, such as one with more channels and a small input
FREE_SIZE = 1024  # height and width to look at, where images are not resized


def check_names(path: Path, inputs: Collection[str], outputs: Collection[str], output: str = SALIENCY) -> None:
    """Check by its inputs and outputs that a graph is that of a U²-Net; or of a U-Net, whose `output` is "logits".

    Raises:
        ValueError: If it is another one.
    """
    if INPUT not in inputs or output not in outputs:
        found = f"{', '.join(sorted(inputs))} to {', '.join(sorted(outputs))}"
        kind = "U²-Net" if output == SALIENCY else "U-Net"
        raise ValueError(f"{path} is no exported {kind}: expected a graph from {INPUT} to {output}, found {found}")


def check_graph(path: Path, options: InputOptions) -> None:
    """Check before it is run that a graph takes no more memory than a U²-Net would.

    Args:
        path: The ONNX file.
        options: How images become its input; the sizes are those for one image.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is another graph or damaged, or takes too much, or an amount that cannot be told beforehand.
    """
    import onnx

    with reading(path):
        model = onnx.load(path, load_external_data=False)
        if not model.HasField("graph"):
            raise ValueError("it holds no graph")
    graph = model.graph
    check_names(path, {value.name for value in graph.input}, {value.name for value in graph.output})
    with reading(path):
        _refuse_hidden_parts(model)
        for tensor in graph.initializer:
            if len(tensor.raw_data) > LARGEST_SHAPE:
                tensor.ClearField("raw_data")
        height, width = options.size if options.do_resize else (FREE_SIZE, FREE_SIZE)
        _fix_input_size(graph.input, height, width)
        sizes = _sizes(onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True))
        most = max(MOST_BYTES, MOST_BYTES_PER_PIXEL * height * width)
        if (needed := max(_held_at_once(graph.node, sizes), default=0)) > most:
            raise ValueError(f"its values take {needed / 2**30:.3g} GiB at once, more than those of any U²-Net")


def _fix_input_size(inputs: Iterable[onnx.ValueInfoProto], height: int, width: int) -> None:
    """Put numbers where a graph leaves the sizes of its inputs free: batch, channels, height, width."""
    for value in inputs:
        for dimension, size in zip(value.type.tensor_type.shape.dim, (1, 3, height, width), strict=False):
            if not dimension.HasField("dim_value"):
                dimension.dim_value = size


def _sizes(graph: onnx.ModelProto) -> dict[str, int]:
    """Bytes of each value whose shape could be inferred, in 32 bits at least: engines widen what has fewer."""
    from onnx import helper

    sizes = {}
    for value in (*graph.graph.input, *graph.graph.value_info, *graph.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dimension.HasField("dim_value") for dimension in kind.shape.dim):
            itemsize = max(4, helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
            sizes[value.name] = itemsize * math.prod(dimension.dim_value for dimension in kind.shape.dim)
    return sizes


def _refuse_hidden_parts(graph: onnx.ModelProto) -> None:
    """Refuse what has values of its own that are not among those of the graph."""
    attributes = (attribute for node in graph.graph.node for attribute in node.attribute)
    hides = any(attribute.HasField("g") or attribute.graphs for attribute in attributes)
    if hides or graph.functions or graph.graph.sparse_initializer:
        raise ValueError("it has graphs in its nodes, functions or sparse weights, which no U²-Net needs")


def _held_at_once(nodes: Iterable[onnx.NodeProto], sizes: dict[str, int]) -> Iterator[int]:
    """Bytes held while each node is computed: what was made before and is still needed, and what it makes.

    Raises:
        ValueError: If a size is not known.
    """
    nodes = list(nodes)
    last_use = {name: number for number, node in enumerate(nodes) for name in (*node.output, *node.input)}
    held: dict[str, int] = {}
    for number, node in enumerate(nodes):
        if unknown := [name for name in node.output if name and name not in sizes]:
            raise ValueError(f"how large {unknown[0]!r} becomes cannot be told beforehand")
        held |= {name: sizes[name] for name in node.output if name}
        yield sum(held.values())
        for name in {*node.input, *node.output}:
            if last_use[name] == number:
                held.pop(name, None)
