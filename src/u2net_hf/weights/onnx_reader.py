"""The weights of an ONNX export of the authors' network, under the official names.

The published files have nameless weights, with the BatchNorms folded in: what a weight is follows from how its
convolution is wired. Whatever a U²-Net does not have is refused.
"""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

# What feeds a convolution: the parts of a concatenation, each a sum of convolutions, given by number; -1 is the image.
Sources = tuple[frozenset[int], ...]
IMAGE = -1
FROM_IMAGE: Sources = (frozenset({IMAGE}),)
MAX_PARTS = 64  # of a concatenation


@dataclass
class _Convolution:
    """A convolution of an ONNX graph."""

    node: str
    weight: np.ndarray
    bias: np.ndarray
    dilation: int
    sources: Sources
    stride: int = 1
    has_relu: bool = False


@dataclass
class _OnnxGraph:
    """Reads the convolutions of an ONNX graph and how they are wired, and refuses what a U²-Net does not have."""

    constants: dict[str, np.ndarray] = field(default_factory=dict)
    sources: dict[str, Sources] = field(default_factory=dict)
    weight_scales: dict[str, np.ndarray] = field(default_factory=dict)  # of 8-bit weights, by the product they are in
    convolutions: list[_Convolution] = field(default_factory=list)
    poolings: int = 0

    def visit(self, node: onnx.NodeProto) -> None:
        """Take up one node, after those that feed it."""
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        operands = [self.sources[name] for name in node.input if name in self.sources]
        match node.op_type:
            case "Constant" if "value" in attributes:
                self.constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            case "Reshape" | "Identity" if node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
            case "DequantizeLinear" if node.input[0] in self.constants:
                self.constants[node.output[0]] = self._dequantize(node, attributes.get("axis", 1))
            case _ if not operands:
                self._note_weight_scale(node)
            case "Shape" | "Sigmoid":  # the sizes for Resize, and the end: nothing of these feeds a convolution
                pass
            case "Conv" | "ConvInteger":
                self._add_convolution(node, attributes)
            case "Concat":
                self.sources[node.output[0]] = self._join(node, [part for operand in operands for part in operand])
            case "Add" if len(operands) == 2 and len(operands[0]) == len(operands[1]) == 1:
                self.sources[node.output[0]] = (self._add(node, operands[0][0], operands[1][0]),)
            case "Add" | "Mul":
                self._rescale(node, operands)
            case "Identity" | "Cast" | "DynamicQuantizeLinear":
                self.sources[node.output[0]] = operands[0]
            case "Relu" | "MaxPool" | "Resize" if not any(IMAGE in part for part in operands[0]):
                self._check_parameters(node, attributes)
                self.sources[node.output[0]] = operands[0]
            case _:
                raise ValueError(f"The ONNX node {_label(node)} is no part of a U²-Net.")

    def _join(self, node: onnx.NodeProto, parts: Sequence[frozenset[int]]) -> Sources:
        """A U²-Net joins maps that differ, and at most its side outputs; nothing grows without limit."""
        if len(parts) > MAX_PARTS or len(set(parts)) < len(parts):
            raise ValueError(f"The ONNX node {_label(node)} joins too many maps, or one with itself.")
        return tuple(parts)

    def _add(self, node: onnx.NodeProto, one: frozenset[int], other: frozenset[int]) -> frozenset[int]:
        """A U²-Net adds the first and the last convolution of a block."""
        if len(one | other) != 2:
            raise ValueError(f"The ONNX node {_label(node)} should add two convolutions.")
        return one | other

    def _add_convolution(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        weight, bias = (self.constants.get(name) for name in (*node.input, "", "")[1:3])
        if weight is None or weight.ndim != 4:
            raise ValueError(f"The ONNX node {_label(node)} has no constant 4-dimensional weight.")
        dilation, padding = attributes.get("dilations", [1, 1])[0], list(attributes.get("pads", [0, 0, 0, 0]))
        # The stem of IS-Net halves the image.
        stride = 2 if attributes.get("strides") == [2, 2] and self.sources[node.input[0]] == FROM_IMAGE else 1
        plain = {"strides": [stride] * 2, "dilations": [dilation] * 2, "group": 1, "auto_pad": b"NOTSET"}
        if any(attributes.get(key, value) != value for key, value in plain.items()) or set(padding) != {
            dilation * (weight.shape[-1] // 2)
        }:
            raise ValueError(f"The ONNX node {_label(node)} is no convolution of a U²-Net: {dict(attributes)}.")
        if node.op_type == "ConvInteger":  # inputs: image, weight, zero point of the image, zero point of the weight
            zero_point = self.constants.get((*node.input, "", "")[3], np.zeros(1, dtype=np.uint8))
            self._check_length(node, zero_point, weight)
            weight, bias = weight.astype(np.float32) - zero_point.reshape(-1, 1, 1, 1).astype(np.float32), None
        bias = np.zeros(len(weight)) if bias is None else bias
        self.sources[node.output[0]] = (frozenset({len(self.convolutions)}),)
        sources = self.sources[node.input[0]]
        self.convolutions.append(_Convolution(_label(node), weight, bias, dilation, sources, stride))

    def _check_parameters(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        if node.op_type == "Relu":
            self.convolutions[self._single(node, self.sources[node.input[0]])].has_relu = True
        elif node.op_type == "MaxPool":
            self.poolings += 1
            if not list(attributes["kernel_shape"]) == list(attributes.get("strides", [])) == [2, 2]:
                raise ValueError(f"The ONNX node {_label(node)} does not pool 2x2: {dict(attributes)}.")
        elif node.op_type == "Resize":
            mode = attributes.get("mode"), attributes.get("coordinate_transformation_mode", b"half_pixel")
            if mode not in {(b"linear", b"half_pixel"), (b"linear", b"pytorch_half_pixel")}:
                raise ValueError(f"The ONNX node {_label(node)} resizes otherwise than a U²-Net: {mode}.")

    def _dequantize(self, node: onnx.NodeProto, axis: int) -> np.ndarray:
        values, scale, *zero_point = (self.constants[name] for name in node.input)
        shape = [-1 if index == axis else 1 for index in range(values.ndim)] if scale.size > 1 else [1] * values.ndim
        offset = zero_point[0].reshape(shape).astype(np.float32) if zero_point else np.float32(0)
        scale = scale.reshape(shape)
        if np.broadcast_shapes(values.shape, scale.shape, np.shape(offset)) != values.shape:
            raise ValueError(f"The ONNX node {_label(node)} has scales of another shape than its values.")
        return (values.astype(np.float32) - offset) * scale

    def _note_weight_scale(self, node: onnx.NodeProto) -> None:
        """8-bit: the product of the image's scale, known only when run, and a weight's scale."""
        scales = [self.constants[name] for name in node.input if name in self.constants]
        if node.op_type == "Mul" and len(scales) == 1:
            self.weight_scales[node.output[0]] = scales[0]

    def _rescale(self, node: onnx.NodeProto, operands: Sequence[Sources]) -> None:
        """8-bit: the integer output of a convolution times its scale, plus its bias."""
        factors = self.weight_scales if node.op_type == "Mul" else self.constants
        constant = next((factors[name] for name in node.input if name in factors), None)
        if constant is None or len(operands) != 1:
            raise ValueError(f"The ONNX node {_label(node)} is no part of a U²-Net.")
        convolution = self.convolutions[self._single(node, operands[0])]
        if convolution.has_relu:
            raise ValueError(f"The ONNX node {_label(node)} should come before the ReLU.")
        self._check_length(node, constant, convolution.weight)
        if node.op_type == "Mul":
            convolution.weight = convolution.weight * constant.reshape(-1, 1, 1, 1)
            convolution.bias = convolution.bias * constant.ravel()
        else:
            convolution.bias = convolution.bias + constant.ravel()
        self.sources[node.output[0]] = operands[0]

    def _check_length(self, node: onnx.NodeProto, constant: np.ndarray, weight: np.ndarray) -> None:
        if constant.size not in (1, len(weight)):
            raise ValueError(f"The ONNX node {_label(node)} has {constant.size} factors for {len(weight)} channels.")

    def _single(self, node: onnx.NodeProto, sources: Sources) -> int:
        """The number of the one convolution that feeds a node."""
        if len(sources) != 1 or len(sources[0]) != 1 or IMAGE in sources[0]:
            raise ValueError(f"The ONNX node {_label(node)} should be fed by one convolution.")
        return next(iter(sources[0]))


def read_onnx(source: Path) -> tuple[dict[str, torch.Tensor], set[str], dict[str, int]]:
    """Read an ONNX export of the authors' network: state dict, names of the dilated stages, and all dilations.

    Names are not needed. The convolutions of the stages form one chain, each fed by the one before it, so that there
    is one order for them; it gives the heights of the stages, and these say what must feed each convolution. The
    weights are named after that only if all of it is so.
    """
    try:
        content = onnx.load(source)
    except Exception as error:  # protobuf's own error, or one of the weights' files is missing
        raise ValueError(f"Expected an ONNX file. ({type(error).__name__}: {error})") from error
    graph = _OnnxGraph({tensor.name: numpy_helper.to_array(tensor) for tensor in content.graph.initializer})
    for image in content.graph.input:
        if image.name not in graph.constants:
            graph.sources[image.name] = FROM_IMAGE
    _check_connections(content.graph)
    for node in _in_order(content.graph.node):
        graph.visit(node)

    named, heights = _name_convolutions(graph.convolutions)
    dilated_stages = {
        stage for stage, height in heights.items() if height > 2 and named[f"{stage}.rebnconv2.conv_s1"].dilation == 2
    }
    poolings = len(heights) // 2 + sum(height - 2 for stage, height in heights.items() if stage not in dilated_stages)
    if graph.poolings != poolings:
        raise ValueError(f"The ONNX graph pools {graph.poolings} times, expected {poolings}.")
    state_dict = {}
    for name, convolution in named.items():
        state_dict[f"{name}.weight"] = torch.tensor(convolution.weight, dtype=torch.float32)
        state_dict[f"{name}.bias"] = torch.tensor(convolution.bias, dtype=torch.float32)
    return state_dict, dilated_stages, {name: convolution.dilation for name, convolution in named.items()}


def _check_connections(graph: onnx.GraphProto) -> None:
    """Check that whatever is used is there: a graph without its last convolution would be that of another network."""
    there = {"", *(value.name for value in (*graph.input, *graph.initializer))}
    there.update(name for node in graph.node for name in node.output)
    for node in graph.node:
        for name in node.input:
            if name not in there:
                raise ValueError(f"The ONNX node {_label(node)} is fed by {name!r}, which nothing makes.")
    for value in graph.output:
        if value.name not in there:
            raise ValueError(f"Nothing makes the output {value.name!r} of the ONNX graph.")


def _in_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes in an order of execution, as the standard asks; converters to half precision append casts at the end.

    Raises:
        ValueError: If there is none.
    """
    maker = {name: number for number, node in enumerate(nodes) for name in node.output}
    needs = {number: {maker[name] for name in node.input if name in maker} for number, node in enumerate(nodes)}
    try:
        return [nodes[number] for number in graphlib.TopologicalSorter(needs).static_order()]
    except graphlib.CycleError as error:
        raise ValueError("The ONNX graph runs in a circle.") from error


def _name_convolutions(convolutions: list[_Convolution]) -> tuple[dict[str, _Convolution], dict[str, int]]:
    """The convolutions under their official names, and the height of each stage's block."""
    feeding = {number for convolution in convolutions for part in convolution.sources for number in part}
    ends = [number for number in range(len(convolutions)) if number not in feeding]
    # One last convolution fuses the side outputs of a U²-Net; in an IS-Net the side outputs themselves are the ends,
    # and the first of them, side1, comes from the last stage.
    fusion = ends if len(ends) == 1 else []
    ends.sort(key=lambda number: max(max(part) for part in convolutions[number].sources), reverse=True)
    sides = [n for part in convolutions[ends[0]].sources for n in part if n != IMAGE] if fusion else ends
    stem = [number for number, convolution in enumerate(convolutions) if convolution.stride == 2]
    trunk = [number for number in range(len(convolutions)) if number not in {*stem, *sides, *fusion}]

    heights: list[int] = []
    while (start := 2 * sum(heights)) < len(trunk):
        # An input convolution, then the encoder, fed by one convolution each; the decoder is fed by two.
        height = 0
        for number in trunk[start + 1 :]:
            if [len(part) for part in convolutions[number].sources] != [1]:
                break
            height += 1
        heights.append(max(height, 1))
    depth = len(sides)
    if len(heights) != 2 * depth - 1 or 2 * sum(heights) != len(trunk) or depth < 2:
        raise ValueError(f"The ONNX graph's {len(trunk)} convolutions and {depth} side outputs form no nested U.")
    stages = [f"stage{n}" for n in range(1, depth + 1)] + [f"stage{n}d" for n in range(depth - 1, 0, -1)]
    height_of = dict(zip(stages, heights, strict=True))

    order, wiring = [*stem, *trunk, *sides, *fusion], _wiring(height_of, bool(stem), bool(fusion))
    names = {IMAGE: "pixel_values"} | dict(zip(order, wiring, strict=True))
    named = {names[number]: convolutions[number] for number in order}
    for name, convolution in named.items():
        _check_wiring(name, convolution, names, wiring[name])
    return named, height_of


def _check_wiring(
    name: str, convolution: _Convolution, names: Mapping[int, str], expected: tuple[frozenset[str], ...]
) -> None:
    found = tuple(frozenset(names[number] for number in part) for part in convolution.sources)
    if found != expected:
        words = [" | ".join(" + ".join(sorted(part)) for part in parts) for parts in (expected, found)]
        raise ValueError(f"The ONNX node {convolution.node} as {name} should be fed by {words[0]}, found {words[1]}.")
    if convolution.has_relu != name.endswith(".conv_s1"):
        raise ValueError(
            f"The ONNX node {convolution.node} as {name} has {'a' if convolution.has_relu else 'no'} ReLU."
        )


def _wiring(heights: Mapping[str, int], has_stem: bool, has_fusion: bool) -> dict[str, tuple[frozenset[str], ...]]:
    """What feeds each convolution of a U²-Net, in the order of execution (figures 2 and 5 of the paper)."""
    wiring: dict[str, tuple[frozenset[str], ...]] = {}
    outputs: dict[str, frozenset[str]] = {}
    hidden: tuple[frozenset[str], ...] = (frozenset({"pixel_values"}),)
    if has_stem:
        wiring["conv_in"], hidden = hidden, (frozenset({"conv_in"}),)
    for stage, height in heights.items():
        if stage.endswith("d"):
            hidden += (outputs[stage.removesuffix("d")],)
        levels = [f"{stage}.rebnconv{level}.conv_s1" for level in ("in", *range(1, height + 1))]
        wiring[levels[0]] = hidden
        for before, level in itertools.pairwise(levels):
            wiring[level] = (frozenset({before}),)
        last = levels[-1]
        for skip in reversed(levels[1:-1]):
            name = skip.replace(".conv_s1", "d.conv_s1")
            wiring[name] = (frozenset({last}), frozenset({skip}))
            last = name
        outputs[stage] = frozenset({levels[0], last})
        hidden = (outputs[stage],)
    depth = len(heights) // 2 + 1
    for number in range(1, depth + 1):
        wiring[f"side{number}"] = (outputs[f"stage{number}d" if number < depth else f"stage{number}"],)
    if has_fusion:
        wiring["outconv"] = tuple(frozenset({f"side{number}"}) for number in range(1, depth + 1))
    return wiring


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or '-> ' + ', '.join(node.output)}"
