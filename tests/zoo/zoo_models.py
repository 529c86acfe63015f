"""Model folders: crafted configurations, processors and weights, code that must not run."""

import json
import pickle
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

MISSING = object()
TEN = 10**9
ODD_VALUES: tuple[Any, ...] = (MISSING, None, -1, 0, TEN, 1.5, "3", [], {}, True, float("nan"))
STAGES: tuple[Any, ...] = (
    None,
    [],
    {},
    "RSU-7",
    [["RSU-4", 2]],
    [["RSU-4", 2, 4]] * 3,
    [["RSU-99999999", 2, 4], ["RSU-3", 3, 5], ["RSU-3F", 4, 6]],
    [["RSU-4", TEN, TEN], ["RSU-3", TEN, TEN], ["RSU-3F", TEN, TEN]],
    [["RSU-4", 2, 4], ["RSU-3", 3, 5], [["RSU-3F"], 4, 6]],
    [["RSU-4", None, 4], ["RSU-3", "3", 5], ["RSU-3F", -4, 6]],
    [["RSU-4", 2, 4]] * 100_000,
    [["RSU-4", 2, 4], ["RSU-3", 3, 5], ["RSU-3F", 4, 7]],
)
TEXTS = {
    "empty": b"",
    "list": b"[]",
    "null": b"null",
    "cut": b'{"model_type": "u2',
    "deep": b"[" * 100_000,
    "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "not-utf8": b'{"model_type": "\xff"}',
    "utf-16": '{"model_type": "u2net"}'.encode("utf-16"),
    "bom": b'\xef\xbb\xbf{"model_type": "u2net"}',
    "huge-number": b'{"model_type": "u2net", "num_channels": ' + b"9" * 10_000 + b"}",
    "controls": b'{"model_type": "\\u001b[31m\\u202e"}',
    "huge": b'{"x": "' + b"x" * 20_000_000 + b'"}',
}
CODE = "open('CODE RAN', 'w')\nraise SystemExit('code ran')\n"


class RunsCode:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("CODE RAN", "w")


def _json_changes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for key in ("model_type", "num_channels", "out_channels", "use_batch_norm", "stem_channels", "fuse_side_maps"):
        for value in ODD_VALUES:
            yield f"config-{key}", "config.json", {key: value}
    for key in (
        "side_loss_weights",
        "id2label",
        "label2id",
        "num_labels",
        "dtype",
        "architectures",
        "quantization_config",
    ):
        for value in (None, -1, TEN, "x", [], {}, {"0": "\x1b[31m"}, ["\x1b]0;x\x07"]):
            yield f"config-{key}", "config.json", {key: value}
    for key in ("encoder_stages", "decoder_stages"):
        for value in STAGES:
            yield f"config-{key}", "config.json", {key: value}
    for model_type in ("bert", "unet", "isnet", "../../etc/passwd", "\x1b[31m", "x" * 9999):
        yield "config-model_type", "config.json", {"model_type": model_type}
    sides = (0, -1, 1, 1.5, TEN, 9000, "32", None, [32], True, float("nan"), {"height": 32})
    sizes = [{"height": side, "width": side} for side in sides]
    for size in (*sizes, {"height": 1, "width": 8000}, {"shortest_edge": 32}, 32, "32", [32, 32], None, {}):
        yield "processor-size", "preprocessor_config.json", {"size": size}
    odd = (
        float("nan"),
        float("inf"),
        0,
        -1,
        1e-40,
        1e39,
        None,
        "0.5",
        [],
        [0.5],
        [0.5] * 4,
        [[0.5] * 3],
        [None] * 3,
        {},
    )
    for key in ("image_mean", "image_std", "rescale_factor", "resample"):
        for value in odd:
            yield f"processor-{key}", "preprocessor_config.json", {key: value}
    for key in ("do_resize", "do_rescale", "do_normalize", "do_antialias", "do_scale_by_max"):
        for value in (False, None, "no", 7, [], MISSING):
            yield f"processor-{key}", "preprocessor_config.json", {key: value}
    for kind in (None, "X", "ViTImageProcessor", "\x1b[31m", 7):
        yield "processor-type", "preprocessor_config.json", {"image_processor_type": kind}


def _changed(base: Path, folder: Path, file: str, changes: dict[str, Any]) -> None:
    shutil.copytree(base, folder)
    content = json.loads((base / file).read_text()) | changes
    content = {key: value for key, value in content.items() if value is not MISSING}
    (folder / file).write_text(json.dumps(content))


def _with_code(base: Path, root: Path) -> Iterator[Path]:
    """Folders that bring code along: in Python, and pickled."""
    auto = {name: f"code.{name}" for name in ("AutoConfig", "AutoModel", "AutoModelForImageSegmentation")}
    for kind in ("u2net", "strange"):
        folder = root / f"code-{kind}"
        _changed(base, folder, "config.json", {"model_type": kind, "auto_map": auto})
        processor = {"auto_map": {"AutoImageProcessor": "code.AutoModel"}, "image_processor_type": "Strange"}
        _changed(folder, root / f"code-{kind}-processor", "preprocessor_config.json", processor)
        for made in (folder, root / f"code-{kind}-processor"):
            (made / "code.py").write_text(CODE)
            yield made
    for name, content in {
        "code-bin": pickle.dumps(RunsCode()),
        "noise-bin": b"noise" * 99,
        "torch-bin": None,
        "code-index": None,
    }.items():
        folder = root / name
        shutil.copytree(base, folder)
        (folder / "model.safetensors").unlink()
        weights = folder / "pytorch_model.bin"
        if name == "code-index":
            files = {"stage1.rebnconvin.conv_s1.weight": "../tiny-u2net/model.safetensors"}
            (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
        elif content is None:
            torch.save({"model": RunsCode()}, weights)
        else:
            weights.write_bytes(content)
        yield folder


def _weights(base: Path) -> Iterator[tuple[str, bytes]]:
    """Contents of model.safetensors."""
    data = (base / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    tensor = next(name for name in header if name != "__metadata__")

    def with_header(changed: dict[str, Any]) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + size :]

    yield "empty", b""
    yield "noise", b"noise" * 999
    yield "zeros", bytes(999)
    for part in (1, 4, 8, 9, size, len(data) // 2, len(data) - 1):
        yield f"cut-{part}", data[:part]
    yield "longer", data + bytes(99)
    for count in (0, 1, 2**32, 2**63, 2**64 - 1, 99_999_999):
        yield f"header-{count}", struct.pack("<Q", count) + data[8:]
    yield "header-not-json", data[:8] + b"x" * size + data[8 + size :]
    yield "header-list", struct.pack("<Q", 2) + b"[]"
    yield "header-nothing", struct.pack("<Q", 2) + b"{}"
    for name, change in {
        "offsets-beyond": {"data_offsets": [0, 2**40]},
        "offsets-backwards": {"data_offsets": [8, 0]},
        "offsets-negative": {"data_offsets": [-8, 0]},
        "shape-huge": {"shape": [2**31, 2**31, 2**31]},
        "shape-negative": {"shape": [-1]},
        "dtype-odd": {"dtype": "X99"},
        "dtype-f8": {"dtype": "F8_E4M3"},
    }.items():
        yield name, with_header(header | {tensor: header[tensor] | change})
    yield (
        "name-controls",
        with_header({(f"{key}\x1b[31m" if key == tensor else key): value for key, value in header.items()}),
    )


def _tensors(base: Path) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    state = load_file(base / "model.safetensors")
    first, last = "stage1.rebnconvin.conv_s1.weight", "outconv.bias"
    yield "none", {}
    yield "missing", {name: tensor for name, tensor in state.items() if name != first}
    yield "unexpected", state | {"more": torch.zeros(3)}
    yield "wrong-shape", state | {first: torch.zeros(1, 1)}
    yield "scalar", state | {last: torch.tensor(0.0)}
    yield "no-elements", state | {last: torch.zeros(0)}
    yield (
        "nan",
        {name: tensor * float("nan") if tensor.is_floating_point() else tensor for name, tensor in state.items()},
    )
    yield "infinite", state | {last: torch.full_like(state[last], float("inf"))}
    yield (
        "negative-variance",
        {name: -tensor if name.endswith("running_var") else tensor for name, tensor in state.items()},
    )
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64):
        yield str(dtype), {name: tensor.to(dtype) for name, tensor in state.items()}
    yield "huge", {name: tensor * 1e38 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def make_models(root: Path, base: Path, unet: Path) -> list[Path]:
    """Make the folders below a folder, from a U²-Net and a U-Net that are right."""
    root.mkdir()
    made = []

    def take(name: str) -> Path:
        made.append(root / name)
        return made[-1]

    for number, (name, file, changes) in enumerate(_json_changes()):
        _changed(base, take(f"{name}-{number}"), file, changes)
    for kind in ("config", "preprocessor_config"):
        for name, content in TEXTS.items():
            shutil.copytree(base, folder := take(f"{kind}-text-{name}"))
            (folder / f"{kind}.json").write_bytes(content)
        shutil.copytree(base, folder := take(f"{kind}-missing"))
        (folder / f"{kind}.json").unlink()
        shutil.copytree(base, folder := take(f"{kind}-folder"))
        (folder / f"{kind}.json").unlink()
        (folder / f"{kind}.json").mkdir()
    for name, content in _weights(base):
        shutil.copytree(base, folder := take(f"weights-{name}"))
        (folder / "model.safetensors").write_bytes(content)
    for name, tensors in _tensors(base):
        shutil.copytree(base, folder := take(f"tensors-{name}"))
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    made += _with_code(base, root)
    for key, value in {"hidden_sizes": [], "padding": "x", "num_channels": TEN, "num_labels": -1}.items():
        _changed(unet, take(f"unet-{key}"), "config.json", {key: value})
    shutil.copytree(unet, take("unet-good"))
    take("empty").mkdir()
    shutil.copytree(base, folder := take("weights-missing"))
    (folder / "model.safetensors").unlink()
    shutil.copytree(base, take("name \x1b[31mred\u202e"))
    return made
