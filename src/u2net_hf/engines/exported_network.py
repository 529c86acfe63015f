"""The ONNX file of a network: in a folder that `export_onnx` has written, or exported once into the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import constants

from .._version import __version__
from ..weights.published import resolve
from .model_files import ModelFiles, find_model

FILE_NAMES = {"float32": ("fp32", "model.onnx"), "int8": ("int8", "model_quantized.onnx")}


def find_exported(name_or_path: str | Path, dtype: str) -> tuple[Path, ModelFiles]:
    """Find the ONNX file of a network, and export the network the first time.

    Args:
        name_or_path: As in [`u2net_hf.engines.load_engine`].
        dtype: "float32" or "int8".

    Returns:
        The file, and the files that say how images become its input.

    Raises:
        OSError: If there is no such model, or the cache cannot be written.
        ValueError: If the model is no U²-Net, or an exported folder holds no graph of that type.
    """
    files = find_model(name_or_path)
    file_name = FILE_NAMES[dtype][1]
    if (files.folder / "onnx").is_dir() and not any(files.folder.glob("*.safetensors")):
        path = files.folder / "onnx" / file_name
        if not path.is_file():
            raise ValueError(f"{files.name} holds no {path.name}: export it with --dtype {FILE_NAMES[dtype][0]}")
        return path, files
    if not files.is_u2net:
        raise ValueError(f"{files.name} is no U²-Net; only the engine torch can run it")
    return _export_once(files, dtype), files


def _export_once(files: ModelFiles, dtype: str) -> Path:
    """Export into the cache, under a name that changes with the weights and with this package."""
    precision = FILE_NAMES[dtype][0]
    weights = [*files.folder.glob("*.safetensors"), *files.folder.glob("*.bin")]
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(weights)]
    folder = Path(constants.HF_HOME) / "u2net_hf" / "exports" / _digest(files.folder.resolve())
    path = folder / f"{precision}-{_digest((__version__, states))}.onnx"
    if path.is_file():
        return path
    from huggingface_hub.utils import WeakFileLock

    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / ".lock"):
        if not path.is_file():  # another process may have made it meanwhile
            from ..onnx_export.export import export_graph

            export_graph(resolve(files.name), path, precision)
            for other in folder.glob(f"{precision}-*.onnx"):
                if other != path:  # of weights that are no longer there
                    other.unlink(missing_ok=True)
    return path


def _digest(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()[:16]
