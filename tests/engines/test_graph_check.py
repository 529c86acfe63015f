"""What an ONNX file would take, against sizes worked out by hand; none of the graphs is run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from u2net_hf.engines.graph_check import check_graph
from u2net_hf.models.u2net.pixels_u2net import InputOptions

node = helper.make_node
INPUT = 3 * 32 * 32 * 4  # bytes of the image
OPTIONS = InputOptions.from_dict({"size": {"height": 32, "width": 32}})
HUGE = np.array([1, 1, 2**20, 2**20], np.int64)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray] | None = None,
    output: str = "saliency",
) -> Path:
    """A graph from an image of any size to a map."""
    image = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    made = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    weights = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", [image], [made], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def doublings(count: int) -> list[onnx.NodeProto]:
    """Each joins the map before it with itself: the last has 2^count times the input, and that before it half."""
    names = ["pixel_values", *(f"x{number}" for number in range(1, count)), "saliency"]
    return [node("Concat", [names[n]] * 2, [names[n + 1]], axis=1) for n in range(count)]


def test_a_gibibyte_is_allowed_and_no_more(tmp_path: Path) -> None:
    assert 1.5 * 2**15 * INPUT <= 2**30 < 1.5 * 2**16 * INPUT
    check_graph(save(tmp_path / "a.onnx", doublings(15)), OPTIONS)
    with pytest.raises(ValueError, match=r"a\.onnx cannot be read.*its values take 1\.12 GiB at once"):
        check_graph(save(tmp_path / "a.onnx", doublings(16)), OPTIONS)


def test_what_is_no_longer_needed_does_not_count(tmp_path: Path) -> None:
    """A hundred maps of 0.4 GiB, two at a time."""
    joined = doublings(15)
    joined[-1].output[0] = "y0"
    chain = [node("Relu", [f"y{n}"], [f"y{n + 1}" if n < 99 else "saliency"]) for n in range(100)]
    check_graph(save(tmp_path / "a.onnx", [*joined, *chain]), OPTIONS)


def test_large_images_may_take_more(tmp_path: Path) -> None:
    large = InputOptions.from_dict({"size": {"height": 4096, "width": 4096}})
    check_graph(save(tmp_path / "a.onnx", doublings(6)), large)  # 96 times the input, 18 of 19 GiB
    with pytest.raises(ValueError, match=r"its values take 36 GiB at once"):
        check_graph(save(tmp_path / "a.onnx", doublings(7)), large)


BOMBS = {
    "tile": ([node("Tile", ["pixel_values", "by"], ["saliency"])], {"by": np.array([1, 1, 9999, 9999], np.int64)}),
    "shape": (
        [node("ConstantOfShape", ["by"], ["x"]), node("Identity", ["pixel_values"], ["saliency"])],
        {"by": HUGE},
    ),
    "half": (
        [
            node("Cast", ["pixel_values"], ["x"], to=TensorProto.FLOAT16),
            node("Concat", ["x"] * 99_999, ["y"], axis=1),
            node("Cast", ["y"], ["saliency"], to=TensorProto.FLOAT),
        ],
        {},
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused(bomb: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"its values take .* GiB at once, more than those of any U²-Net"):
        check_graph(save(tmp_path / "a.onnx", *BOMBS[bomb]), OPTIONS)


def branch(name: str) -> onnx.GraphProto:
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([node("Identity", ["pixel_values"], [name])], name, [], [made])


ODD = {
    # A shape that is an image's values: known when it is run.
    "cannot be told beforehand": [
        node("Cast", ["pixel_values"], ["x"], to=TensorProto.INT64),
        node("Reshape", ["x", "minus"], ["shape"]),
        node("Expand", ["pixel_values", "shape"], ["saliency"]),
    ],
    "graphs in its nodes": [
        node("If", ["yes"], ["saliency"], then_branch=branch("one"), else_branch=branch("other")),
    ],
    "out of bounds": [node("Conv", [], ["saliency"])],  # OpenVINO would end the process
}


@pytest.mark.parametrize("problem", ODD)
def test_what_cannot_be_judged_is_refused(problem: str, tmp_path: Path) -> None:
    constants = {"yes": np.array(True), "minus": np.array([-1], np.int64)}
    with pytest.raises(ValueError, match=problem):
        check_graph(save(tmp_path / "a.onnx", ODD[problem], constants), OPTIONS)
