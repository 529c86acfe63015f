"""Files of weights for `convert`, and exported folders with graphs that are damaged, foreign, or bombs."""

import io
import pickle
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tiny_models import tiny_u2net_config
from zoo_models import RunsCode

from u2net_hf import U2NetForImageSegmentation


def _saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _pths() -> Iterator[tuple[str, bytes]]:
    state = U2NetForImageSegmentation(tiny_u2net_config()).state_dict()
    plain = _saved(state)
    first, second = list(state)[:2]
    contents: dict[str, Any] = {
        "good": state,
        "nested": {"epoch": 1, "model_state_dict": state},
        "prefixed": {f"module.{name}": tensor for name, tensor in state.items()},
        "nested-in-itself": {"state_dict": {"state_dict": {"state_dict": {}}}},
        "empty": {},
        "list": [1],
        "number": 7,
        "none": None,
        "tensor": torch.zeros(3),
        "keys-numbers": {1: torch.zeros(3)},
        "keys-controls": {"\x1b[31mred": torch.zeros(3), "stage1.\u202e": torch.zeros(1)},
        "expanded": {name: torch.zeros(()).expand(tensor.shape) for name, tensor in state.items()},
        "scalars": {name: torch.tensor(0.0) for name in state},
        "wrong-shape": state | {first: torch.zeros(2, 2)},
        "stage-999999": state | {"stage999999.rebnconvin.conv_s1.weight": torch.zeros(1, 1, 3, 3)},
        "level-999999": state | {"stage1.rebnconv999999.conv_s1.weight": torch.zeros(1, 1, 3, 3)},
        "missing": {name: tensor for name, tensor in state.items() if name != second},
        "nan": {name: tensor * float("nan") for name, tensor in state.items()},
        "complex": {name: tensor.to(torch.complex64) for name, tensor in state.items()},
        "sparse": {name: tensor.to_sparse() if tensor.ndim else tensor for name, tensor in state.items()},
        "meta": {name: tensor.to("meta") for name, tensor in state.items()},
        "code": {"state_dict": RunsCode()},
        "array": {"a": np.zeros(3)},
    }
    cycle: dict[str, Any] = {}
    cycle["state_dict"] = cycle
    contents["cycle"] = cycle
    for name, content in contents.items():
        yield f"{name}.pth", _saved(content)
    yield "old-format.pth", _saved(state, _use_new_zipfile_serialization=False)
    yield "old-code.pth", _saved(RunsCode(), _use_new_zipfile_serialization=False)
    yield "pickle-code.pth", pickle.dumps(RunsCode())
    yield "pickle-bomb.pth", b"\x80\x02" + b"(" * 1_000_000 + b"."
    yield "pickle-memo.pth", b"\x80\x02]" + b"r\xff\xff\xff\x7f" + b"."
    for part in (0, 1, 100, len(plain) // 2, len(plain) - 1):
        yield f"cut-{part}.pth", plain[:part]
    yield "noise.pth", np.random.default_rng(0).bytes(9999)
    yield "text.pth", b"<html>404</html>"
    yield "is-onnx.pth", b"\x08\x07"
    yield "\x1b[31mred.pth", b"noise"
    yield "no-suffix", plain
    yield "upper.PTH", plain


def _graph(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], **names: str) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(names.get("input", "pixel_values"), TensorProto.FLOAT, [1, 3, 32, 32])]
    outputs = [helper.make_tensor_value_info(names.get("output", "saliency"), TensorProto.FLOAT, None)]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_model(
        helper.make_graph(nodes, "zoo", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def _graphs() -> Iterator[tuple[str, bytes]]:
    node, image = helper.make_node, "pixel_values"
    kernel = {"w": np.ones((3, 3, 3, 3), np.float32)}
    chains = {
        "identity": ([node("Identity", [image], ["saliency"])], {}),
        "conv": ([node("Conv", [image, "w"], ["saliency"], pads=[1] * 4)], kernel),
        "no-nodes": ([], {}),
        "cycle": ([node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"])], {}),
        "self-cycle": ([node("Relu", ["saliency"], ["saliency"])], {}),
        "no-inputs": ([node("Conv", [], ["saliency"])], {}),
        "no-outputs": ([node("Relu", [image], [])], {}),
        "unknown-op": ([node("Zoo", [image], ["saliency"])], {}),
        "unknown-domain": ([node("Zoo", [image], ["saliency"], domain="zoo\x1b[31m")], {}),
        "twice": ([node("Relu", [image], ["saliency"])] * 2, {}),
        "bomb-tile": (
            [node("Tile", [image, "times"], ["saliency"])],
            {"times": np.array([1, 1, 99999, 99999], np.int64)},
        ),
        "bomb-expand": (
            [node("ConstantOfShape", ["shape"], ["big"]), node("Add", [image, "big"], ["saliency"])],
            {"shape": np.array([1, 1, 2**20, 2**20], np.int64)},
        ),
        "bomb-concat": (
            [
                node("Concat", [f"x{n}" if n else image] * 2, [f"x{n + 1}" if n < 39 else "saliency"], axis=1)
                for n in range(40)
            ],
            {},
        ),
        "bomb-resize": (
            [node("Resize", [image, "", "by"], ["saliency"])],
            {"by": np.array([1, 1, 9999, 9999], np.float32)},
        ),
        "wrong-shape": ([node("Conv", [image, "w"], ["saliency"])], {"w": np.ones((3, 7, 3, 3), np.float32)}),
        "names-controls": ([node("\x1b[31mZoo", [image], ["saliency"], name="\x1b]0;x\x07")], {}),
    }
    for name, (nodes, constants) in chains.items():
        yield f"{name}.onnx", _graph(nodes, constants).SerializeToString()
    good = _graph(*chains["conv"])
    yield "other-names.onnx", _graph(*chains["identity"], input="\x1b[31mx", output="y").SerializeToString()
    for number, location in enumerate(("../../../../../../etc/passwd", "/etc/passwd", "weights.bin", "/dev/zero")):
        outside = _graph(*chains["conv"])
        tensor = outside.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        yield f"outside-{number}.onnx", outside.SerializeToString()
    for name, dims in {"huge": [2**31, 2**31], "negative": [-1, 3, 3, 3], "none": []}.items():
        odd = _graph(*chains["conv"])
        odd.graph.initializer[0].dims[:] = dims
        yield f"dims-{name}.onnx", odd.SerializeToString()
    odd = _graph(*chains["conv"])
    odd.graph.initializer[0].data_type = 99
    yield "data-type.onnx", odd.SerializeToString()
    whole = good.SerializeToString()
    for part in (0, 1, len(whole) // 2, len(whole) - 1):
        yield f"cut-{part}.onnx", whole[:part]
    yield "noise.onnx", np.random.default_rng(0).bytes(9999)
    yield "text.onnx", b"<html>404</html>"
    yield "length-bomb.onnx", b"\x3a\xff\xff\xff\xff\x07"


def _exported_by_torch(path: Path) -> None:
    torch.manual_seed(0)
    model = U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=False)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(_Maps(model), (torch.rand(1, 3, 64, 64),), str(path), dynamo=False, opset_version=17)


class _Maps(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits, sides = self.model(image, output_side_logits=True, return_dict=False)[:2]
        return tuple(tensor.sigmoid() for tensor in (logits, *sides))


def make_weights(root: Path) -> list[Path]:
    """Make files for `convert`, below a folder."""
    root.mkdir()
    for name, data in (*_pths(), *_graphs()):
        (root / name).write_bytes(data)
    _exported_by_torch(root / "good.onnx")
    (root / "folder.pth").mkdir()
    (root / "link.pth").symlink_to("nowhere")
    return sorted(root.iterdir())


def make_exports(root: Path, base: Path) -> list[Path]:
    """Make folders as `export` writes them, with those graphs, below a folder."""
    root.mkdir()
    made = []
    for name, data in _graphs():
        folder = root / name.removesuffix(".onnx")
        (folder / "onnx").mkdir(parents=True)
        (folder / "onnx" / "model.onnx").write_bytes(data)
        for file in ("config.json", "preprocessor_config.json"):
            shutil.copy(base / file, folder)
        made.append(folder)
    return made
