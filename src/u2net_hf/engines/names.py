"""The engines by name, for everyone who offers a choice of them; nothing heavy is imported for it."""

from __future__ import annotations

from enum import StrEnum


class EngineName(StrEnum):
    """What can run a network; `auto` is the one that `choice.py` takes."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


# What of this package brings an engine along; torch is always there.
EXTRAS = {EngineName.onnxruntime: "onnx", EngineName.openvino: "openvino"}
