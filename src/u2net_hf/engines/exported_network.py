"""A network as an ONNX file, and what runs it: from a folder of `export_onnx`, or exported once into the cache."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path

import numpy as np
from huggingface_hub import constants

from .._version import __version__
from ..models.families import FAMILIES
from ..models.u2net.pixels_u2net import InputOptions
from ..onnx_export.layout import FILE_NAMES, ONNX_FOLDER
from .graph_check import SALIENCY, check_graph
from .interface import Graph, PixelEngine
from .model_files import ModelFiles, find_model
from .names import EXTRAS, EngineName
from .validation import check_model


class ExportedEngine(PixelEngine):
    """An exported U²-Net on the CPU.

    Args:
        name: What runs it.
        graph: Gives its maps `(batch, 1, height, width)`.
        input_options: How images become pixel values.
        dtype: Type of the numbers.
    """

    def __init__(self, name: EngineName, graph: Graph, input_options: InputOptions, dtype: str) -> None:
        super().__init__(input_options, dtype)
        self.name, self.graph = name, graph

    def probabilities(self, pixel_values: np.ndarray) -> np.ndarray:
        """See [`PixelEngine`]."""
        return self.graph(pixel_values)[:, 0]


def load(name_or_path: str | Path, engine: str, device: str | None, dtype: str) -> ExportedEngine:
    """Load a U²-Net; the arguments and errors are those of [`u2net_hf.engines.load_engine`]."""
    graph, files, chosen = load_graph(name_or_path, engine, device, dtype, SALIENCY)
    return ExportedEngine(EngineName(engine), graph, files.input_options, chosen)


def load_graph(
    name_or_path: str | Path, engine: str, device: str | None, dtype: str, output: str
) -> tuple[Graph, ModelFiles, str]:
    """Load what gives an `output` of a network, see [`find_exported`]; its files, and the type of its numbers."""
    if device not in (None, "cpu"):
        raise ValueError(f"{engine} runs on the CPU here, not on {device!r}: choose the engine torch")
    try:
        module = import_module(f".{engine}_engine", __package__)
    except ModuleNotFoundError as error:
        extra = EXTRAS[EngineName(engine)]
        raise RuntimeError(f"{engine} is not installed: pip install 'u2net-hf[{extra}]'") from error
    chosen = "float32" if dtype == "auto" else dtype  # OpenVINO computes layers in bfloat16 that need more digits
    if chosen not in module.DTYPES:
        raise ValueError(f"dtype of the engine {engine} must be auto, {', '.join(module.DTYPES)}, got {dtype!r}")
    path, files = find_exported(name_or_path, module.DTYPES[chosen], output)
    size = files.input_options.size if output == SALIENCY and files.input_options.do_resize else None
    return module.open_graph(path, chosen, output, size), files, chosen


def find_exported(name_or_path: str | Path, dtype: str, output: str) -> tuple[Path, ModelFiles]:
    """Find the ONNX file of a network, and export the network the first time.

    Args:
        name_or_path: As in [`u2net_hf.engines.load_engine`].
        dtype: "float32", "float16" or "int8".
        output: What the graph is to give: "saliency", or the "logits" of a U-Net.

    Returns:
        The file, and the files that say how images become its input.

    Raises:
        OSError: If there is no such model, or the cache cannot be written.
        ValueError: If the model is no network of ours, or an exported folder holds no graph of that type,
            or one that takes too much memory.
    """
    files = find_model(name_or_path)
    if _holds_export(files):
        path = files.folder / ONNX_FOLDER / FILE_NAMES[dtype]
        if not path.is_file():
            raise ValueError(f"{files.name} holds no {path.name}: export it with --dtype {dtype}")
        if output == SALIENCY:
            check_graph(path, files.input_options)
        return path, files
    if str(files.config.get("model_type")) not in FAMILIES:
        raise ValueError(f"{files.name} is no U²-Net; only the engine torch can run it")
    if files.has_fused_form:  # else transformers asks the same when the network is exported
        check_model(files)
    return _export_once(files, dtype), files


def is_exported(name_or_path: str | Path) -> bool:
    """Whether the float32 graph of a network is there already, in its folder or in the cache."""
    files = find_model(name_or_path)
    if _holds_export(files):
        return (files.folder / ONNX_FOLDER / FILE_NAMES["float32"]).is_file()
    return files.has_fused_form and _cached(files, "float32").is_file()


def _holds_export(files: ModelFiles) -> bool:
    """Whether the folder is one that `export_onnx` has written, and no model for Python."""
    return (files.folder / ONNX_FOLDER).is_dir() and not any(files.folder.glob("*.safetensors"))


def _cached(files: ModelFiles, dtype: str) -> Path:
    """Where the cache has the export: the name changes with the weights and with this package."""
    weights = [*files.folder.glob("*.safetensors"), *files.folder.glob("*.bin")]
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(weights)]
    folder = Path(constants.HF_HOME) / "u2net_hf" / "exports" / _digest(files.folder.resolve())
    return folder / f"{dtype}-{_digest((__version__, states))}.onnx"


def _export_once(files: ModelFiles, dtype: str) -> Path:
    path = _cached(files, dtype)
    if path.is_file():
        return path
    from huggingface_hub.utils import WeakFileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(path.parent / ".lock"):
        if not path.is_file():  # another process may have made it meanwhile
            from ..onnx_export.export import export_graph

            export_graph(files.name, path, dtype)
            for other in path.parent.glob(f"{dtype}-*.onnx"):
                if other != path:  # of weights that are no longer there
                    other.unlink(missing_ok=True)
    return path


def _digest(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()[:16]
