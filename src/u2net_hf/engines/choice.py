"""The engine `auto`: which of those that are installed is the fastest for a task, by docs/benchmarks.md.

Once loaded, PyTorch's fused network is the fastest in float32 and bfloat16 on all classes of processors that were
measured, and OpenVINO in int8. From cold ONNX Runtime is done with a photo before PyTorch is imported. The engines'
maps in float32 are equal within 1e-4 (each export is checked for it); a type of numbers is never changed for speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from .exported_network import is_exported
from .names import EngineName

# Up to so many photos the second that PyTorch takes to be imported outweighs what it earns on each.
FEW_PHOTOS = 8


def choose_engine(
    models: Sequence[str | Path], dtype: str = "auto", device: str | None = None, num_photos: int | None = None
) -> tuple[EngineName, str]:
    """Choose an engine.

    Args:
        models: As in [`u2net_hf.engines.load_engine`].
        dtype: The wanted type of numbers, or "auto".
        device: Where the user wants torch to run, if anywhere.
        num_photos: How many will be asked of it, if that is known.

    Returns:
        The engine, and why.

    Raises:
        OSError, ValueError: As `load_engine`, if there is no such model.
    """
    if dtype == "int8":
        installed = [name for name in (EngineName.openvino, EngineName.onnxruntime) if find_spec(name)]
        return (installed or [EngineName.onnxruntime])[0], "the fastest one installed for int8"
    on_cpu = device in (None, "cpu") and dtype in ("auto", "float32") and find_spec(EngineName.onnxruntime)
    if on_cpu and num_photos is not None and num_photos <= FEW_PHOTOS and all(map(is_exported, models)):
        return EngineName.onnxruntime, "starts soonest, and the network is exported already"
    return EngineName.torch, "the fastest once it is loaded"
