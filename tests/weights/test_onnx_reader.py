"""Tests of `u2net_hf.weights.onnx_reader` on tiny networks, through `read_checkpoint`."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from random_networks import TINY, maps, random_model
from torch import nn

from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.convert import read_checkpoint


def export(model: U2NetForImageSegmentation, path: Path) -> Path:
    """Export as the authors' networks were: seven (here: five) maps after the sigmoid, BatchNorm folded."""

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits, sides = self.model(pixel_values, output_side_logits=True, return_dict=False)
            return tuple(tensor.sigmoid() for tensor in (logits, *sides))

    image = torch.rand(1, model.config.num_channels, 64, 64)
    torch.onnx.export(Maps().eval(), (image,), str(path), dynamo=False, opset_version=17)
    return path


def load(path: Path) -> U2NetForImageSegmentation:
    config, state_dict = read_checkpoint(path)
    model = U2NetForImageSegmentation(config)
    model.load_state_dict(state_dict)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> U2NetForImageSegmentation:
    torch.manual_seed(0)
    return random_model()


@pytest.fixture(scope="module")
def onnx_file(model: U2NetForImageSegmentation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export(model, tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
def test_onnx_computes_what_the_exported_network_does(
    size: tuple[int, int], model: U2NetForImageSegmentation, onnx_file: Path
) -> None:
    converted = load(onnx_file)
    assert not converted.config.use_batch_norm
    assert converted.config.encoder_stages == TINY["encoder_stages"]
    # Dilation 2 on the lowest of two levels is what RSU-2 has too.
    assert converted.config.decoder_stages == TINY["decoder_stages"]
    image = torch.randn(2, 3, *size)
    torch.testing.assert_close(maps(converted, image), maps(model, image), rtol=1e-4, atol=1e-5)


def scramble(content: onnx.ModelProto) -> None:
    """Another order of execution, and of initializers, and names that say nothing."""
    graph, chance = content.graph, random.Random(0)
    names: dict[str, str] = {"": ""}

    def rename(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}")

    nodes, known = list(graph.node), {value.name for value in (*graph.input, *graph.initializer)} | {""}
    ordered = []
    while nodes:
        ready = [node for node in nodes if set(node.input) <= known]
        node = chance.choice(ready)
        nodes.remove(node)
        known |= set(node.output)
        ordered.append(node)
    initializers = chance.sample(list(graph.initializer), len(graph.initializer))
    for node in ordered:
        node.name = ""
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
    for value in (*graph.input, *graph.output, *initializers):
        value.name = rename(value.name)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(ordered)
    graph.initializer.extend(initializers)


def test_onnx_names_and_order_do_not_matter(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx.load(onnx_file)
    scramble(content)
    onnx.checker.check_model(content)
    onnx.save(content, tmp_path / "scrambled.onnx")
    config, state_dict = read_checkpoint(tmp_path / "scrambled.onnx")
    expected_config, expected = read_checkpoint(onnx_file)
    assert config.to_dict() == expected_config.to_dict()
    assert state_dict.keys() == expected.keys()
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in expected.items())


def nodes(graph: onnx.GraphProto, op_type: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == op_type]


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))


def dilate(graph: onnx.GraphProto) -> None:
    node = nodes(graph, "Conv")[3]  # stage1.rebnconv3
    set_attribute(node, "dilations", [2, 2])
    set_attribute(node, "pads", [2, 2, 2, 2])


def swap_concatenated(graph: onnx.GraphProto) -> None:
    node = next(node for node in nodes(graph, "Concat") if len(node.input) == 2 and "Relu" in node.input[0])
    node.input[:] = [node.input[1], node.input[0]]


def drop_relu(graph: onnx.GraphProto) -> None:
    nodes(graph, "Relu")[4].op_type = "Identity"


def drop_pooling(graph: onnx.GraphProto) -> None:
    node = nodes(graph, "MaxPool")[0]
    del node.attribute[:]
    node.op_type = "Identity"


def insert_after(op_type: str, graph: onnx.GraphProto, tensor: str, *constants: str) -> None:
    """Put a node between a tensor and all that it feeds."""
    for node in graph.node:
        node.input[:] = ["inserted" if name == tensor else name for name in node.input]
    position = max((i + 1 for i, node in enumerate(graph.node) if tensor in node.output), default=0)
    graph.node.insert(position, helper.make_node(op_type, [tensor, *constants], ["inserted"], name="inserted"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: insert_after("Relu", g, g.input[0].name), r"The ONNX node Relu inserted is no part"),
        (lambda g: insert_after("Relu", g, nodes(g, "Add")[0].output[0]), r"Relu inserted should be fed by one conv"),
        (lambda g: insert_after("Relu", g, nodes(g, "Conv")[-1].output[0]), r"as outconv has a ReLU"),
        (
            lambda g: insert_after("Add", g, nodes(g, "Relu")[0].output[0], nodes(g, "Conv")[0].input[2]),
            r"before the ReLU",
        ),
        (lambda g: insert_after("Sigmoid", g, nodes(g, "Conv")[-2].output[0]), r"form no nested U"),
        (dilate, r"Wrong dilation: stage1\.rebnconv3\.conv_s1 has 2, expected 1"),
        (swap_concatenated, r"as stage1\.rebnconv3d\.conv_s1 should be fed by stage1\.rebnconv4\.conv_s1 \| stage1"),
        (drop_relu, r"as stage1\.rebnconv4\.conv_s1 has no ReLU"),
        (drop_pooling, r"pools \d+ times, expected \d+"),
        (lambda g: set_attribute(nodes(g, "Conv")[0], "strides", [2, 2]), r"form no nested U"),
        (lambda g: set_attribute(nodes(g, "Conv")[0], "pads", [0, 0, 0, 0]), r"is no convolution of a U²-Net"),
        (lambda g: set_attribute(nodes(g, "MaxPool")[0], "kernel_shape", [3, 3]), r"does not pool 2x2"),
        (lambda g: set_attribute(nodes(g, "Resize")[0], "mode", "nearest"), r"resizes otherwise"),
        (lambda g: set_attribute(nodes(g, "Resize")[0], "coordinate_transformation_mode", "align_corners"), "resizes"),
        (lambda g: setattr(nodes(g, "Relu")[0], "op_type", "Tanh"), r"The ONNX node Tanh .* is no part of a U²-Net"),
        (lambda g: g.node.remove(nodes(g, "Conv")[-1]), r"The ONNX node Sigmoid .* is fed by .*, which nothing makes"),
        (lambda g: g.initializer.remove(g.initializer[0]), r"The ONNX node Conv .* which nothing makes"),
        (lambda g: g.node.remove(nodes(g, "Sigmoid")[0]), r"Nothing makes the output"),
        (lambda g: g.ClearField("node"), r"Nothing makes the output"),
    ],
)
def test_onnx_that_does_not_fit_is_refused(
    change: Callable[[onnx.GraphProto], Any], message: str, onnx_file: Path, tmp_path: Path
) -> None:
    content = onnx.load(onnx_file)
    change(content.graph)
    onnx.save(content, tmp_path / "changed.onnx")
    with pytest.raises(ValueError, match=rf"changed\.onnx does not hold .*{message}"):
        read_checkpoint(tmp_path / "changed.onnx")


def test_onnx_with_the_bias_in_a_node_of_its_own(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx.load(onnx_file)
    for node in nodes(content.graph, "Conv")[:2]:
        insert_after("Add", content.graph, node.output[0], node.input[2])
        for other in content.graph.node:
            other.input[:] = [f"{name} {node.name}" if name == "inserted" else name for name in other.input]
            other.output[:] = [f"{name} {node.name}" if name == "inserted" else name for name in other.output]
        del node.input[2]
    onnx.save(content, tmp_path / "apart.onnx")
    _, state_dict = read_checkpoint(tmp_path / "apart.onnx")
    for name, tensor in read_checkpoint(onnx_file)[1].items():
        assert torch.equal(state_dict[name], tensor)


OPERATORS = ("Conv", "Relu", "MaxPool", "Resize", "Concat", "Add", "Sigmoid", "Shape", "Constant")


@pytest.mark.parametrize("part", ["input", "output", "attribute"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx_nodes_without_inputs_outputs_or_attributes(
    operator: str, part: str, onnx_file: Path, tmp_path: Path
) -> None:
    content = onnx.load(onnx_file)
    for node in nodes(content.graph, operator)[-1:]:
        node.ClearField(part)
    onnx.save(content, tmp_path / "stripped.onnx")
    with contextlib.suppress(ValueError):  # where nothing depends on it there is nothing to complain of
        read_checkpoint(tmp_path / "stripped.onnx")


@pytest.mark.parametrize("suffix", [".pth", ".onnx"])
def test_damaged_files_are_refused(
    suffix: str, model: U2NetForImageSegmentation, onnx_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"damaged{suffix}"
    torch.save(model.state_dict(), file)
    whole = onnx_file.read_bytes() if suffix == ".onnx" else file.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=rf"damaged\{suffix} does not hold the weights of a U²-Net\."):
            read_checkpoint(file)


def test_onnx_that_would_grow_without_limit_is_refused(onnx_file: Path, tmp_path: Path) -> None:
    """20 nodes that join a map with itself stand for 40, which would fill all memory: 2 kB of file."""
    content = onnx.load(onnx_file)
    first = nodes(content.graph, "Conv")[0].output[0]
    start = next(number for number, node in enumerate(content.graph.node) if first in node.output)
    del content.graph.node[start + 1 :], content.graph.output[:]
    for number in range(20):
        content.graph.node.append(helper.make_node("Concat", [first] * 2, [f"double{number}"], axis=1))
        first = f"double{number}"
    onnx.save(content, tmp_path / "bomb.onnx")
    with pytest.raises(ValueError, match=r"Concat -> double0 joins too many maps, or one with itself"):
        read_checkpoint(tmp_path / "bomb.onnx")


def test_onnx_scales_do_not_make_weights_larger(onnx_file: Path, tmp_path: Path) -> None:
    """Four scales of 64 values, one along each axis, would make 16 million values of one."""
    content = onnx.load(onnx_file)
    graph, name = content.graph, "value"
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 1, 1), np.int8), name))
    graph.initializer.append(numpy_helper.from_array(np.ones(64, np.float32), "scale"))
    for axis in range(4):
        node = helper.make_node("DequantizeLinear", [name, "scale"], [f"value{axis}"], axis=axis)
        graph.node.insert(axis, node)
        name = f"value{axis}"
    onnx.save(content, tmp_path / "bomb.onnx")
    with pytest.raises(ValueError, match=r"DequantizeLinear -> value0 has scales of another shape than its values"):
        read_checkpoint(tmp_path / "bomb.onnx")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_what_is_no_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "page.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"page\.onnx"):
        read_checkpoint(tmp_path / "page.onnx")


def test_onnx_with_8_bit_weights_for_integer_convolutions(onnx_file: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    quantization.quantize_dynamic(onnx_file, tmp_path / "8-bit.onnx", weight_type=quantization.QuantType.QUInt8)
    assert len(nodes(onnx.load(tmp_path / "8-bit.onnx").graph, "ConvInteger")) > 40
    config, state_dict = read_checkpoint(tmp_path / "8-bit.onnx")
    expected_config, expected = read_checkpoint(onnx_file)
    assert config.to_dict() == expected_config.to_dict()
    for name, tensor in expected.items():
        if name.endswith(".bias"):
            torch.testing.assert_close(state_dict[name], tensor)
        else:
            step = (tensor.max().clamp(min=0) - tensor.min().clamp(max=0)) / 255
            assert (state_dict[name] - tensor).abs().max() <= 0.51 * step


@pytest.mark.parametrize("per_channel", [False, True])
def test_onnx_with_8_bit_weights_for_float_convolutions(per_channel: bool, onnx_file: Path, tmp_path: Path) -> None:
    content = onnx.load(onnx_file)
    graph = content.graph
    name = nodes(graph, "Conv")[1].input[1]  # stage1.rebnconv1
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    integers = np.random.default_rng(0).integers(-127, 127, tensor.dims, dtype=np.int8)
    scale = np.array([0.1, 0.2, 0.3] if per_channel else 0.1, dtype=np.float32)
    zero_point = np.array([3, 0, -4] if per_channel else 5, dtype=np.int8)
    graph.initializer.remove(tensor)
    for suffix, values in (("integers", integers), ("scale", scale), ("zero_point", zero_point)):
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_{suffix}"))
    inputs = [f"{name}_{suffix}" for suffix in ("integers", "scale", "zero_point")]
    graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], axis=0))
    onnx.save(content, tmp_path / "8-bit.onnx")
    _, state_dict = read_checkpoint(tmp_path / "8-bit.onnx")
    expected = np.stack([
        (integers[row].astype(float) - np.atleast_1d(zero_point)[row % zero_point.size])
        * np.atleast_1d(scale)[row % scale.size]
        for row in range(3)
    ])  # fmt: skip
    np.testing.assert_allclose(state_dict["stage1.rebnconv1.conv_s1.weight"], expected, rtol=1e-6)


def test_onnx_in_half_precision_becomes_float32(onnx_file: Path, tmp_path: Path) -> None:
    content = onnx.load(onnx_file)
    for tensor in content.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    onnx.save(content, tmp_path / "half.onnx")
    _, state_dict = read_checkpoint(tmp_path / "half.onnx")
    for name, tensor in read_checkpoint(onnx_file)[1].items():
        assert state_dict[name].dtype == torch.float32
        torch.testing.assert_close(state_dict[name], tensor.half().float())
