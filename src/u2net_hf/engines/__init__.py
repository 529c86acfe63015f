"""What runs a network: PyTorch, ONNX Runtime or OpenVINO behind one small interface.

`load_engine("u2netp")` gives what `predict.saliency_maps` takes. Nothing is imported before it is needed, and
transformers only for what no other way can load: a U²-Net needs nothing but the files of its folder. A U-Net has its
images cut and put together by its own image processor in every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .names import EngineName

if TYPE_CHECKING:
    from .interface import Engine


def load_engine(
    name_or_path: str | Path | Sequence[str | Path],
    engine: str = "torch",
    *,
    device: str | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> Engine:
    """Load a network that finds salient objects, or a U-Net, ready to predict soft maps.

    Args:
        name_or_path: A published name ("u2netp"), a folder written by `save_pretrained`, or a Hub id; for ONNX Runtime
            and OpenVINO also a folder written by `u2net_hf.onnx_export.export.export_onnx`. Several of them give the
            mean of their maps.
        engine: "torch"; or "onnxruntime" or "openvino", for which the network is exported once, into the cache; or
            "auto", see [`u2net_hf.engines.choice.choose_engine`].
        device: Where torch runs it ("cpu", "cuda:1", ...), by default the accelerator if there is one. The other
            engines run on the CPU.
        dtype: "float32"; "bfloat16" or "float16" for torch, on processors that have it; "auto": for torch
            bfloat16 on such processors, else float32. "int8" for ONNX Runtime and OpenVINO, and "bfloat16" for
            OpenVINO, are fast and less exact: measure what they cost with `u2net-hf evaluate-sod`.
        trust_remote_code: Whether torch may run code that comes with a model, for networks that neither this package
            nor transformers has. It is never asked for.

    Raises:
        OSError: If there is no such model.
        RuntimeError: If the engine is not installed.
        ValueError: If an argument is wrong, the files of the model are damaged or do not fit together, it needs code
            of its own, or makes no saliency maps.
    """
    if not isinstance(name_or_path, str | Path):
        from .mean_engine import MeanEngine

        options: dict[str, Any] = {"device": device, "dtype": dtype, "trust_remote_code": trust_remote_code}
        engines = [load_engine(one, engine, **options) for one in name_or_path]
        if not engines:
            raise ValueError("load_engine needs at least one model")
        return engines[0] if len(engines) == 1 else MeanEngine(engines)
    if engine == EngineName.auto:
        from .choice import choose_engine

        engine = choose_engine([name_or_path], dtype, device)[0]
    if engine not in tuple(EngineName):
        raise ValueError(f"engine must be one of {', '.join(EngineName)}, got {engine!r}")
    from .model_files import find_model

    if find_model(name_or_path).config.get("model_type") == "unet":
        from . import unet_engine

        return unet_engine.load(name_or_path, engine, device, dtype)
    if engine == EngineName.torch:
        from . import torch_engine

        return torch_engine.load(name_or_path, device, dtype, trust_remote_code)
    from . import exported_network

    return exported_network.load(name_or_path, engine, device, dtype)
