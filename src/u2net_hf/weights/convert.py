"""The authors' weights, as `.pth` or as ONNX, made into a folder for `from_pretrained`.

A state dict needs no renaming: our modules carry the official names (`stage1.rebnconvin.conv_s1.weight`, ...), so
`model.state_dict()` loads into the authors' network as it stands, and the other way round.

The published ONNX files hold the BatchNorms folded into the convolutions, and nameless weights. They become a model
with `use_batch_norm=False`, which computes exactly what the file computes. [`restore_batch_norm`] makes it trainable.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..models.u2net.configuration_u2net import U2NetConfig
from ..models.u2net.image_processing_u2net import U2NetImageProcessorPil
from ..models.u2net.modeling_u2net import U2NetForImageSegmentation
from ..models.u2net.stages_u2net import check_architecture
from ..utils.files import new_folder
from .loading import quiet_transformers, some

StateDict = dict[str, torch.Tensor]
# Where training loops put a state dict, and what they and the wrappers of PyTorch put before (or into) its names.
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = r"^((_orig_mod|module|model|net)\.)+|(?<=\.)_orig_mod\."


def convert_checkpoint(
    source: str | Path,
    output_dir: str | Path,
    *,
    overwrite: bool = False,
    id2label: Mapping[int, str] | None = None,
    image_processor: U2NetImageProcessorPil | None = None,
) -> Path:
    """Make a folder for `from_pretrained` of a file of official weights.

    It holds what `save_pretrained` writes: `config.json`, `model.safetensors`, `preprocessor_config.json` and the code
    for processes without this package.

    The files are written to a temporary folder beside `output_dir` and moved there when all are complete.

    Args:
        source: Weights in the authors' form, see [`read_checkpoint`].
        output_dir: Folder to make. Its parents are made too.
        overwrite: Whether to write into a folder that holds files already. Files of other names stay.
        id2label: Names of the labels; by default "background" and "salient object" for a single output channel.
        image_processor: The image processor to save with the weights; by default the authors' input, 320x320.

    Returns:
        `output_dir`, ready for `U2NetForImageSegmentation.from_pretrained`.

    Raises:
        FileExistsError: If `output_dir` is a file, or holds files and `overwrite` is off.
        FileNotFoundError: If there is no file `source`.
        ValueError: If `source` does not hold a U²-Net; the message names what does not fit.
    """
    with new_folder(output_dir, overwrite=overwrite, merge=True) as folder:
        config, state_dict = read_checkpoint(source)
        if id2label is not None:
            config.id2label = dict(id2label)
            config.label2id = {label: index for index, label in id2label.items()}
            config.validate_architecture()
        model = _empty_model(config)
        model.load_state_dict(state_dict, assign=True)
        _save_model(model, folder)
        (image_processor or U2NetImageProcessorPil()).save_pretrained(folder)
    return Path(output_dir)


def read_checkpoint(source: str | Path) -> tuple[U2NetConfig, StateDict]:
    """Read official weights and infer the architecture that they belong to.

    Args:
        source: An `.onnx` file as the authors' network exports, BatchNorm folded, in floating point or with 8-bit
            weights; or a `.pth` with the authors' state dict, possibly in dictionaries under "state_dict",
            "model_state_dict" or "model", and with the prefixes that `DataParallel` ("module."), `torch.compile`
            ("_orig_mod.") and training loops ("model.", "net.") leave. Pickled code is never run.

    Returns:
        The configuration, and a float32 state dict that fits it name by name and shape by shape.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds anything else; the message names the missing, unexpected and misshapen weights.
    """
    source = Path(source)
    if not source.is_file():
        raise FileNotFoundError(f"There is no file {source}.")
    try:
        if source.suffix.lower() == ".onnx":
            from .onnx_reader import read_onnx

            state_dict, dilated_stages, dilations = read_onnx(source)
        else:
            state_dict, dilated_stages, dilations = _read_state_dict(source), None, {}
        config = infer_config(state_dict, dilated_stages)
        _check_fit(config, state_dict, dilations)
    except OSError:  # the disk's fault
        raise
    except Exception as error:  # a damaged file shows itself in a dozen ways
        reason = str(error) if isinstance(error, ValueError) else f"It is damaged. ({type(error).__name__}: {error})"
        raise ValueError(f"{source} does not hold the weights of a U²-Net. {reason}") from error
    return config, state_dict


def infer_config(state_dict: Mapping[str, torch.Tensor], dilated_stages: Collection[str] | None = None) -> U2NetConfig:
    """Infer the architecture of a U²-Net from the names and shapes of its weights.

    Args:
        state_dict: Weights under the official names.
        dilated_stages: Names of the stages that are dilated blocks ("RSU-4F"). Names and shapes do not tell them from
            pooling ones ("RSU-4"); by default they stand where the paper has them: the two deepest encoder stages and
            the deepest decoder stage.

    Raises:
        ValueError: If a weight that tells the architecture is missing.
    """
    depth = max((int(match[1]) for name in state_dict if (match := re.match(r"stage(\d+)\.", name))), default=0)
    if depth < 2:
        found = some(sorted(state_dict)) or "no tensors"
        begun = r"(.+?)stage\d+d?\.rebnconv"
        prefix = next((match[1] for name in state_dict if (match := re.match(begun, name))), None)
        hint = f" They begin with {prefix!r}: save them without it." if prefix else ""
        raise ValueError(f"Expected names such as stage1.rebnconvin.conv_s1.weight, found {found}.{hint}")
    if dilated_stages is None:
        dilated_stages = {f"stage{depth - 1}", f"stage{depth}", f"stage{depth - 1}d"}

    def shape(name: str) -> torch.Size:
        if name not in state_dict:
            raise ValueError(f"Missing: {name}.")
        if state_dict[name].ndim != 4:
            raise ValueError(f"Wrong shape: {name} is {tuple(state_dict[name].shape)}, expected four dimensions.")
        return state_dict[name].shape

    def stage(name: str) -> list[str | int]:
        levels = (re.match(rf"{name}\.rebnconv(\d+)\.", key) for key in state_dict)
        height = max((int(level[1]) for level in levels if level), default=0)
        mid_channels, out_channels = (shape(f"{name}.rebnconv{part}.conv_s1.weight")[0] for part in ("1", "in"))
        return [f"RSU-{height}{'F' if name in dilated_stages else ''}", mid_channels, out_channels]

    stem = shape("conv_in.weight") if "conv_in.weight" in state_dict else None
    architecture: dict[str, Any] = {
        "num_channels": (stem or shape("stage1.rebnconvin.conv_s1.weight"))[1],
        "stem_channels": stem[0] if stem else None,
        "fuse_side_maps": "outconv.weight" in state_dict,
        "out_channels": shape("side1.weight")[0],
        "encoder_stages": [stage(f"stage{number}") for number in range(1, depth + 1)],
        "decoder_stages": [stage(f"stage{number}d") for number in range(depth - 1, 0, -1)],
    }
    check_architecture(architecture)
    return U2NetConfig(**architecture, use_batch_norm=any(".bn_s1." in name for name in state_dict))


def restore_batch_norm(
    model: U2NetForImageSegmentation, batches: Iterable[torch.Tensor | Mapping[str, Any]]
) -> U2NetForImageSegmentation:
    """Give a model with folded BatchNorms live ones again, so that it can be fine-tuned.

    Folding keeps what the network computes and loses the statistics that training needs. They are measured again: one
    pass over some of your images gives the mean m and the variance v of each channel of each convolution's output, and
    the BatchNorm behind it gets `running_mean = m`, `running_var = v`, `weight = sqrt(v + eps)`, `bias = m`. In
    evaluation mode that is the identity: the model computes what it did, whatever the images. In training mode batches
    that look like those images pass almost unchanged, so training goes on from where the authors stopped. Fresh
    BatchNorms (weight 1, bias 0) would throw the weights' knowledge away.

    For prediction leave the model folded: it computes the same and is faster.

    Args:
        model: A model with `use_batch_norm=False`. It is not changed.
        batches: Tensors of shape `(batch_size, num_channels, height, width)` from the image processor, or mappings
            with the key "pixel_values" (a `DataLoader`): a few dozen images of the kind, size and augmentation that
            the training will see.

    Returns:
        A new model with `use_batch_norm=True`, in evaluation mode, on the same device.

    Raises:
        ValueError: If the model has live BatchNorms already, or there is no batch.
    """
    if model.config.use_batch_norm:
        raise ValueError("The model has live BatchNorms (`use_batch_norm=True`) already.")
    statistics = _measure_convolutions(model, batches)
    restored = U2NetForImageSegmentation(U2NetConfig.from_dict(model.config.to_dict() | {"use_batch_norm": True}))
    nn.Module.to(restored, device=model.device, dtype=model.dtype)
    state_dict = restored.state_dict() | model.state_dict()
    for name, module in restored.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            mean, variance = statistics[name.replace(".bn_s1", ".conv_s1")]
            state_dict |= {f"{name}.running_mean": mean, f"{name}.running_var": variance}
            state_dict |= {f"{name}.bias": mean, f"{name}.weight": (variance + module.eps).sqrt()}
    restored.load_state_dict(state_dict)
    return restored.eval()


@torch.no_grad()
def _measure_convolutions(
    model: U2NetForImageSegmentation, batches: Iterable[torch.Tensor | Mapping[str, Any]]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Mean and variance, `(C,)` in float64, of the output of each convolution of the residual U-blocks."""
    sums: dict[str, torch.Tensor] = {}  # of each channel: how many pixels, their total, and that of their squares

    def measure(name: str, output: torch.Tensor) -> None:
        variance, mean = torch.var_mean(output.float(), dim=(0, 2, 3), correction=0)
        variance, mean = variance.cpu().double(), mean.cpu().double()
        pixels = output.numel() // output.shape[1]
        of_batch = pixels * torch.stack((torch.ones_like(mean), mean, variance + mean**2))
        sums[name] = sums.get(name, 0) + of_batch

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: measure(name, output))
        for name, module in model.named_modules()
        if name.endswith(".conv_s1")
    ]
    was_training = model.training
    try:
        model.eval()
        for batch in batches:
            pixel_values = batch if isinstance(batch, torch.Tensor) else batch["pixel_values"]
            model(pixel_values.to(device=model.device, dtype=model.dtype))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    if not sums:
        raise ValueError("`batches` is empty: the BatchNorm statistics are measured on images.")
    means = {name: (total / count, squares / count) for name, (count, total, squares) in sums.items()}
    return {name: (mean, (of_squares - mean**2).clamp(min=0)) for name, (mean, of_squares) in means.items()}


def _read_state_dict(source: Path) -> StateDict:
    """Read a state dict that `torch.save` wrote, without running pickled code, as float32 under the official names."""
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file shows itself in a dozen ways
        raise ValueError(
            "Expected a plain state dict, as `torch.save(model.state_dict(), path)` writes it; whole pickled models "
            f"are refused, because loading them would run their code. ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"Expected a dictionary of tensors, found {type(content).__name__}.")
    for _ in WRAPPERS:  # not for ever: a dictionary may hold itself
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    foreign = [str(name) for name, value in content.items() if not (isinstance(name, str) and torch.is_tensor(value))]
    if foreign:
        raise ValueError(f"Expected a dictionary of tensors; not tensors are {some(foreign)}.")
    if repeated := [name for name, tensor in content.items() if _lacks_numbers(tensor)]:
        raise ValueError(f"Fewer numbers are in it than its shapes say: {some(repeated)}.")
    state_dict = {
        re.sub(PREFIXES, "", name): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in content.items()
    }
    if len(state_dict) < len(content):
        raise ValueError(f"Several networks are in it, as {some(sorted(content), 4)}: save one of them alone.")
    for name in [name for name in state_dict if name.endswith(".bn_s1.running_var")]:
        # PyTorch before 0.4.1, which the authors used, did not count the batches.
        state_dict.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    return state_dict


def _lacks_numbers(tensor: torch.Tensor) -> bool:
    return tensor.is_meta or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes()


def _check_fit(config: U2NetConfig, state_dict: StateDict, dilations: Mapping[str, int]) -> None:
    """Compare every weight's name and shape, and every known dilation, with the network of `config`."""
    model = _empty_model(config)
    expected = model.state_dict()
    complaints = {
        "Missing": [name for name in expected if name not in state_dict],
        "Unexpected": [name for name in state_dict if name not in expected],
        "Wrong shape": [
            f"{name} is {tuple(state_dict[name].shape)}, expected {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state_dict and state_dict[name].shape != tensor.shape
        ],
        "Not finite numbers": [
            name
            for name, tensor in state_dict.items()
            if not (tensor.is_floating_point() or name.endswith(".num_batches_tracked")) or not tensor.isfinite().all()
        ],
        "Wrong dilation": [
            f"{name} has {dilations[name]}, expected {module.dilation[0]}"
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d) and dilations.get(name, module.dilation[0]) != module.dilation[0]
        ],
    }
    if any(complaints.values()):
        raise ValueError(" ".join(f"{kind}: {some(names)}." for kind, names in complaints.items() if names))


def _save_model(model: U2NetForImageSegmentation, folder: Path) -> None:
    """`save_pretrained` without its progress bar over one file, and with one mode for all files."""
    try:
        with quiet_transformers():
            model.save_pretrained(folder)
    except SafetensorError as error:  # its own kind, for a full disk
        raise OSError(f"{folder.parent} cannot be written to: {error}") from error
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors makes it private


def _empty_model(config: U2NetConfig) -> U2NetForImageSegmentation:
    """The network of `config` without memory for its weights."""
    with torch.device("meta"):
        return U2NetForImageSegmentation(config)
