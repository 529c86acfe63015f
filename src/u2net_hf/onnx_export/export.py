"""Networks as ONNX files, checked against torch, in the folder layout that transformers.js reads.

    onnx/model.onnx            float32
    onnx/model_fp16.onnx       float16
    onnx/model_quantized.onnx  int8
    config.json
    preprocessor_config.json

The folder is for ONNX Runtime and transformers.js alone. transformers.js knows neither network: it must be told the
name of one that it runs alike, and Python would not find the network by that name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..models.families import FAMILIES, family_of
from ..utils.files import new_folder, temporary_folder
from ..utils.progress import progress_bar
from ..weights.loading import load_pretrained, load_whole_model
from ..weights.published import resolve
from .calibration import Photo, find_photos, network_inputs, shipped_photos
from .layout import BROWSER_DTYPES, FILE_NAMES, ONNX_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .graphs import LogitsGraph

# Largest and mean difference of the probabilities from those of torch that are let through. With few bits edges move
# by a pixel, and single probabilities may differ by anything.
TOLERANCES = {"float32": (1e-4, 1e-5), "float16": (1.0, 0.01), "int8": (1.0, 0.03)}
NUM_CHECKED = 4
OPSET = 17  # ONNX Runtime reads it since its release 1.12
OPSETS = range(14, 21)


@dataclass(frozen=True)
class ExportedGraph:
    """An ONNX file, and how far its probabilities are from those of torch over the images that it was checked on."""

    path: Path
    dtype: str
    num_bytes: int
    max_difference: float
    mean_difference: float


def export_onnx(
    model_name_or_path: str | Path,
    output_dir: str | Path,
    *,
    dtypes: Sequence[str] = ("float32", "float16", "int8"),
    opset: int = OPSET,
    calibration_images: str | Path | Sequence[str | Path] | None = None,
    overwrite: bool = False,
) -> list[ExportedGraph]:
    """Write a network as ONNX files, checked against torch, in a folder that transformers.js loads.

    A U²-Net becomes a graph from "pixel_values" `(batch, channels, height, width)` to "saliency"
    `(batch, 1, height, width)`, probabilities in [0, 1], for `pipeline("background-removal")` of transformers.js. A
    U-Net becomes one to "logits" `(batch, labels, height, width)`, for `pipeline("image-segmentation")`. Batch, height
    and width are free.

    transformers.js prepares images a little differently, and its masks deviate by that: in Node.js it resizes photos
    without anti-aliasing, in a browser as the canvas does. It has no mirrored borders and no tiles: for a U-Net with
    valid convolutions there is no `preprocessor_config.json`, so that it refuses to run the graph.

    Args:
        model_name_or_path: A published name ("u2netp"), a folder written by `save_pretrained`, or a Hub id.
        output_dir: Folder to make. Its parents are made too.
        dtypes: Which of "float32", "float16" and "int8" to write. transformers.js loads the first one unless told
            otherwise; it calls "int8" "q8". "float16" is for GPUs, "int8" for CPUs.
        opset: Version of the ONNX operators, 14 to 20.
        calibration_images: Photos like those that the network will see, files or folders: a few dozen. They give the
            8-bit numbers their ranges, and the first ones are used for the check. Never take photos on which the
            result is to be measured. By default, for a U²-Net, parts of a photo that is shipped with the package.
        overwrite: Whether to write into a folder that holds files already. An export in it is replaced, with graphs
            that are not written again; other files stay.

    Returns:
        One entry per file, in the order of `dtypes`.

    Raises:
        FileExistsError: If `output_dir` is a file, holds files and `overwrite` is off, or holds a model for Python.
        ImageError: If a photo cannot be read.
        RuntimeError: If ONNX Runtime is not installed, or a graph does not compute what the network computes. Nothing
            is written then.
        ValueError: If an argument is wrong, or "int8" is asked of a U-Net without photos or of an IS-Net.
    """
    photos = None if calibration_images is None else find_photos(calibration_images)
    dtypes = _check_arguments(dtypes, opset)
    output_dir = Path(output_dir)
    if any(output_dir.glob("*.safetensors")):
        raise FileExistsError(f"{output_dir} holds a model for Python, whose config.json would be lost.")
    with new_folder(output_dir, overwrite=overwrite, merge=True) as folder:
        model, image_processor = _load(model_name_or_path)
        differences = _write_graphs(folder / ONNX_FOLDER, model, image_processor, dtypes, opset, photos)
        is_map = _finds_objects(model) or model.config.num_labels == 1
        _write_json(folder / "config.json", _browser_config(model, is_map, dtypes[0]))
        if getattr(model.config, "padding", "same") == "same":
            _write_json(folder / "preprocessor_config.json", _browser_processor(model, is_map, image_processor))
        written = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    for name in {"preprocessor_config.json", *(f"{ONNX_FOLDER}/{name}" for name in FILE_NAMES.values())} - written:
        (output_dir / name).unlink(missing_ok=True)  # of an older export
    paths = {dtype: output_dir / ONNX_FOLDER / FILE_NAMES[dtype] for dtype in dtypes}
    return [ExportedGraph(paths[dtype], dtype, paths[dtype].stat().st_size, *differences[dtype]) for dtype in dtypes]


def export_graph(
    model_name_or_path: str | Path,
    path: str | Path,
    dtype: str = "float32",
    *,
    opset: int = OPSET,
    calibration_images: str | Path | Sequence[str | Path] | None = None,
) -> ExportedGraph:
    """Write a network as one ONNX file, whole or not at all, checked against torch.

    The graph is that of [`export_onnx`], which tells the arguments and errors.

    Args:
        model_name_or_path: A published name, a folder, or a Hub id.
        path: File to write; one that is there is replaced.
        dtype: "float32", "float16" or "int8".
        opset: Version of the ONNX operators.
        calibration_images: Photos for "int8".

    Returns:
        The file, and how far its probabilities are from those of torch.
    """
    path = Path(path)
    photos = None if calibration_images is None else find_photos(calibration_images)
    _check_arguments([dtype], opset)
    with temporary_folder(path) as folder:
        model, image_processor = _load(model_name_or_path)
        differences = _write_graphs(folder / ONNX_FOLDER, model, image_processor, [dtype], opset, photos)
        os.replace(folder / ONNX_FOLDER / FILE_NAMES[dtype], path)
    return ExportedGraph(path, dtype, path.stat().st_size, *differences[dtype])


def _write_graphs(
    folder: Path,
    model: PreTrainedModel,
    image_processor: Any,
    dtypes: list[str],
    opset: int,
    photos: list[Photo] | None,
) -> dict[str, tuple[float, float]]:
    """Write the graphs and return the largest and the mean difference of each one from torch."""
    from .graphs import LogitsGraph, SaliencyGraph, fold_batch_norm, write_float16, write_float32, write_int8

    if "int8" in dtypes and getattr(model.config, "stem_channels", None) is not None:
        raise ValueError("int8 of IS-Net is not offered, since it loses .07 of max F on SOD: leave int8 out.")
    finds_objects = _finds_objects(model)
    if photos is None and not finds_objects and "int8" in dtypes:
        raise ValueError(
            "int8 of this network needs calibration_images: a few dozen images like those that it will see. Give "
            "some, or leave int8 out."
        )
    if photos is None:
        photos = shipped_photos() if finds_objects else []
    folder.mkdir()
    files = {dtype: folder / name for dtype, name in FILE_NAMES.items()}
    network = SaliencyGraph(model, image_processor) if finds_objects else LogitsGraph(model)
    network.eval()
    folded = fold_batch_norm(network)
    checked = [*network_inputs(photos[:NUM_CHECKED], image_processor)]
    write_float32(files["float32"], folded, opset)
    if "float16" in dtypes:
        write_float16(files["float16"], files["float32"])
    if "int8" in dtypes:
        batches = network_inputs(progress_bar(photos, desc="Calibrating", unit="photo"), image_processor)
        write_int8(files["int8"], files["float32"], folded, batches, checked[:2])
    if "float32" not in dtypes:
        files["float32"].unlink()

    drawn = _draw(model, image_processor)  # in sizes that the photos do not have; 8 bits know the photos' range only
    return {
        dtype: _compare(files[dtype], dtype, network, checked if dtype == "int8" else [*checked, *drawn])
        for dtype in dtypes
    }


@torch.inference_mode()
def _compare(path: Path, dtype: str, network: LogitsGraph, batches: list[torch.Tensor]) -> tuple[float, float]:
    """The largest and the mean difference between the probabilities of a graph and of torch, if they are small."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    maxima, means = [], []
    for batch in batches:
        expected = network(batch)
        found = torch.from_numpy(session.run(None, {"pixel_values": batch.numpy()})[0])
        if found.shape != expected.shape:
            raise RuntimeError(f"The {dtype} graph gives {tuple(found.shape)}, torch {tuple(expected.shape)}.")
        difference = (network.probabilities(found) - network.probabilities(expected)).abs()
        maxima.append(difference.max().item())
        means.append(difference.mean().item())
    largest, mean = max(maxima), float(np.mean(means))
    largest_allowed, mean_allowed = TOLERANCES[dtype]
    if not (largest <= largest_allowed and mean <= mean_allowed):  # in this form NaN is refused too
        raise RuntimeError(
            f"The {dtype} graph differs from torch by up to {largest:.2g}, in the mean by {mean:.2g}; allowed are "
            f"{largest_allowed:g} and {mean_allowed:g}. Nothing is written."
        )
    return largest, mean


def _load(model_name_or_path: str | Path) -> tuple[PreTrainedModel, Any]:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageSegmentation

    source = resolve(model_name_or_path)
    config = load_pretrained(AutoConfig, source)
    family_of(config.model_type, model_name_or_path)
    model = load_whole_model(AutoModelForImageSegmentation, source, dtype=torch.float32)
    return model, load_pretrained(AutoImageProcessor, source)


def _finds_objects(model: PreTrainedModel) -> bool:
    """Whether the graph of the model gives a soft map of the salient object, not the logits of its labels."""
    return FAMILIES[model.config.model_type].output == "saliency"


def _check_arguments(dtypes: Sequence[str], opset: int) -> list[str]:
    """The dtypes as a list without repetitions, if an export to them is possible here."""
    chosen = [*dict.fromkeys([dtypes] if isinstance(dtypes, str) else dtypes)]
    if not chosen or not set(chosen) <= set(FILE_NAMES):
        raise ValueError(f"dtypes must be one or more of {', '.join(FILE_NAMES)}, got {chosen}.")
    if opset not in OPSETS:
        raise ValueError(f"opset must be from {OPSETS[0]} to {OPSETS[-1]}, got {opset}.")
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise RuntimeError("The export needs ONNX Runtime: pip install 'u2net-hf[onnx]'") from error
    return chosen


def _draw(model: PreTrainedModel, image_processor: Any) -> list[torch.Tensor]:
    """Inputs of two sizes, one and two images: a bright disc before waves of color."""
    from .graphs import legal_size

    size = image_processor.size or {"height": 320, "width": 320}
    batches = []
    for batch_size in (1, 2):
        sides = size["height"] // batch_size, size["width"] * 3 // (4 * batch_size)
        height, width = legal_size(model, *(max(side, 1) for side in sides))
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        phases = np.arange(batch_size * model.config.num_channels).reshape(batch_size, -1, 1, 1)
        images = np.where(x**2 + y**2 < 0.4, 2, np.sin(4 * x + 3 * y + phases) - 0.5)
        batches.append(torch.from_numpy(images.astype(np.float32)))
    return batches


def _browser_config(model: PreTrainedModel, is_map: bool, dtype: str) -> dict[str, Any]:
    """What transformers.js must know of a network.

    It runs "isnet", the successor of U²-Net, as a graph whose output is a soft map, and "segformer" as one whose
    output are the logits of several labels.
    """
    return {
        "model_type": "isnet" if is_map else "segformer",
        "id2label": model.config.id2label,
        "label2id": model.config.label2id,
        "transformers.js_config": {"dtype": BROWSER_DTYPES[dtype]},
    }


def _browser_processor(model: PreTrainedModel, is_map: bool, image_processor: Any) -> dict[str, Any]:
    """The options of an image processor that transformers.js has too."""
    options = ["do_resize", "size", "resample", "do_rescale", "rescale_factor"]
    options += ["do_normalize", "image_mean", "image_std"]
    values = image_processor.to_dict()
    name = {"image_processor_type": "SegformerImageProcessor"}
    if is_map:  # the plain processor, under the name that every release of transformers.js knows
        name = {"feature_extractor_type": "ImageFeatureExtractor"}
    return {
        **name,
        "do_convert_rgb": model.config.num_channels == 3,
        **{option: values[option] for option in options if values.get(option) is not None},
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
