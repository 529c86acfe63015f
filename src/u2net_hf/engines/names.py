"""The engines by name, for everyone who offers a choice of them; nothing heavy is imported for it."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import Any


class EngineName(StrEnum):
    """What can run a network; `auto` is the one that `choice.py` takes."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


# What of this package brings an engine along; torch is always there.
EXTRAS = {EngineName.onnxruntime: "onnx", EngineName.openvino: "openvino"}


def import_engine(engine: str, device: str | None) -> Any:
    """The module of an engine that runs exported networks.

    Args:
        engine: "onnxruntime" or "openvino".
        device: Where it shall run.

    Raises:
        RuntimeError: If it is not installed.
        ValueError: If it does not run there.
    """
    if device not in (None, "cpu"):
        raise ValueError(f"{engine} runs on the CPU here, not on {device!r}: choose the engine torch")
    try:
        return import_module(f".{engine}_engine", __package__)
    except ModuleNotFoundError as error:
        extra = EXTRAS[EngineName(engine)]
        raise RuntimeError(f"{engine} is not installed: pip install 'u2net-hf[{extra}]'") from error
