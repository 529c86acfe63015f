"""Checkpoints of a training: its full state in folders `OUTPUT_DIR/step_N`, each whole or not there.

| file | holds |
|---|---|
| `model.safetensors`, `config.json`, `preprocessor_config.json` | the weights: a folder for `from_pretrained` |
| `ema.safetensors` | the averaged weights, if there are |
| `optimizer.pt` | optimizer, schedule of the learning rate, gradient scaler; read with `weights_only=True` |
| `random_state_R.safetensors` | the random generators of process R |
| `trainer_state.json` | where the training is, and the options that a resumed training must share |

Reading one runs no code of whoever made it: nothing is unpickled but tensors and plain values. The order of the data
needs no state (`loader.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..utils.files import flush_to_disk, new_folder
from ..weights.loading import quiet_transformers
from .arguments import TrainingError

PARTIAL = ".partial"
# What writing to a full disk, or reading a damaged file, raises in torch, safetensors and the rest.
STORAGE_ERRORS = (OSError, RuntimeError, SafetensorError)


@dataclass
class TrainingState:
    """All that a training changes.

    Args:
        model: The network, not wrapped for several processes.
        image_processor: Its image processor.
        optimizer: As `accelerator.prepare` gives it.
        scheduler: Of the learning rate.
        scaler: Of the gradients, for fp16.
        ema: Averaged weights.
        settings: Options on which the order of the data or the state depends.
        progress: JSON values: "step", "best" and the like.
    """

    model: Any
    image_processor: Any
    optimizer: Any
    scheduler: Any
    scaler: Any
    ema: AveragedModel | None
    settings: dict[str, Any]
    progress: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    state: TrainingState, output_dir: Path, accelerator: Accelerator, total_limit: int | None = None
) -> Path:
    """Save the state as `OUTPUT_DIR/step_N`; all processes must call it.

    Args:
        state: What to save.
        output_dir: The folder of the checkpoints.
        accelerator: Knows the processes.
        total_limit: Delete all but the latest so many checkpoints.

    Returns:
        The folder.

    Raises:
        TrainingError: On every process, if one of them could not write. Earlier checkpoints are as they were.
    """
    folder = output_dir / f"step_{state.progress['step']}"
    partial = output_dir / f".{folder.name}{PARTIAL}"
    problem = None
    try:
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
    except OSError as error:
        problem = _explain(error, output_dir)
    accelerator.wait_for_everyone()
    try:
        _write_state(state, partial, accelerator)
    except STORAGE_ERRORS as error:
        problem = problem or _explain(error, output_dir)
    accelerator.wait_for_everyone()  # until then the folder holds files that others are still writing
    try:
        if accelerator.is_main_process and problem is None:
            flush_to_disk(partial)
    except OSError as error:
        problem = _explain(error, output_dir)
    problems = [one for one in gather_object([problem]) if one]
    if accelerator.is_main_process and not problems:
        replace_folder(partial, folder)
        if total_limit is not None:
            for oldest in list(find_checkpoints(output_dir).values())[:-total_limit]:
                replace_folder(None, oldest)
    elif accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    if problems:
        last = max(find_checkpoints(output_dir), default=None)
        kept = f"step_{last} is intact" if last is not None else "there is no earlier one"
        raise TrainingError(f"Cannot save the checkpoint {folder}: {problems[0]}; {kept}.")
    return folder


def _write_state(state: TrainingState, folder: Path, accelerator: Accelerator) -> None:
    save_file(_random_states(accelerator.device), folder / _random_state_name(accelerator))
    if accelerator.is_main_process:
        _save_pretrained(state.model, state.image_processor, folder)
        if state.ema is not None:
            # With --channels_last weights have a memory layout that safetensors does not take.
            averages = {name: tensor.contiguous() for name, tensor in state.ema.state_dict().items()}
            save_file(averages, folder / "ema.safetensors")
        states = {"optimizer": state.optimizer.state_dict(), "scheduler": state.scheduler.state_dict()}
        if state.scaler is not None:
            states["scaler"] = state.scaler.state_dict()
        torch.save(states, folder / "optimizer.pt")
        values = {"settings": state.settings, "progress": state.progress}
        (folder / "trainer_state.json").write_text(json.dumps(values, indent=2))


def load_checkpoint(state: TrainingState, folder: Path, accelerator: Accelerator) -> None:
    """Put the state of a checkpoint into that of this training.

    Args:
        state: What to fill; its settings must be those of the checkpoint.
        folder: A folder `step_N`.
        accelerator: Knows this process.

    Raises:
        TrainingError: If it is no checkpoint, is damaged, or belongs to another network or other settings.
    """
    try:
        values = json.loads((folder / "trainer_state.json").read_text())
        _check_settings(values["settings"], state.settings, folder)
        _check_architecture(state.model, folder)
        state.model.load_state_dict(load_file(folder / "model.safetensors"))
        if state.ema is not None:
            state.ema.load_state_dict(load_file(folder / "ema.safetensors"))
        states = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
        state.optimizer.load_state_dict(states["optimizer"])
        state.scheduler.load_state_dict(states["scheduler"])
        if state.scaler is not None:
            state.scaler.load_state_dict(states["scaler"])
        _restore_random_states(load_file(folder / _random_state_name(accelerator)), accelerator.device)
        state.progress.update(values["progress"])
    except TrainingError:
        raise
    except (*STORAGE_ERRORS, UnpicklingError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder} is no checkpoint of this training, or damaged: {_first_line(error)}") from error


def _check_settings(saved: dict[str, Any], present: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with other data, or in another order, than the training began with."""
    different = [
        f"{name} {saved.get(name)} (now {present.get(name)})"
        for name in sorted(saved.keys() | present.keys())
        if saved.get(name) != present.get(name)
    ]
    if different:
        raise TrainingError(
            f"{folder} was made with {', '.join(different)}: a resumed training needs the same. To start a new one "
            f"from its weights, use --model_name_or_path {folder}."
        )


def _check_architecture(model: nn.Module, folder: Path) -> None:
    """Compare names and shapes of the weights before anything is changed."""
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        saved = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    present = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    different = sorted(name for name in saved.keys() | present.keys() if saved.get(name) != present.get(name))
    if different:
        name = different[0]
        raise TrainingError(
            f"{folder} holds another network: {len(different)} of its weights do not fit, such as {name}: "
            f"{saved.get(name, 'missing')}, expected {present.get(name, 'none')}. Give the configuration that the "
            "training began with."
        )


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Torch's generators, which dropout draws from. All other randomness here is made from (seed, epoch, index)."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _restore_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type])


def _random_state_name(accelerator: Accelerator) -> str:
    return f"random_state_{accelerator.process_index}.safetensors"


def prepare_output_dir(
    output_dir: Path, resume_from: str | None, overwrite: bool, accelerator: Accelerator
) -> Path | None:
    """Make the folder of a training, clean it, and find the checkpoint to go on from; all processes must call it.

    Args:
        output_dir: The folder.
        resume_from: A folder `step_N`, "latest" for the last one (or none) in `output_dir`, or `None` to start anew.
        overwrite: Whether an earlier training in the folder may be deleted.
        accelerator: Knows the processes.

    Returns:
        The checkpoint, or `None` for a new training.

    Raises:
        TrainingError: If there is no such checkpoint, or something in the folder that would be lost.
    """
    present = find_checkpoints(output_dir)
    checkpoint = Path(resume_from) if resume_from else None
    if resume_from == "latest":
        checkpoint = list(present.values())[-1] if present else None
    if checkpoint and not (checkpoint / "trainer_state.json").is_file():
        raise TrainingError(f"--resume_from_checkpoint {checkpoint} is no folder of a checkpoint (step_N).")
    if checkpoint and max(present, default=0) > _step_of(checkpoint):
        raise TrainingError(
            f"{output_dir} holds later checkpoints than {checkpoint.name}, up to step_{max(present)}: move them away, "
            "or go on in another --output_dir."
        )
    if not checkpoint and not overwrite and (present or (output_dir / "config.json").is_file()):
        raise TrainingError(
            f"{output_dir} holds an earlier training: go on with --resume_from_checkpoint latest, delete it with "
            "--overwrite_output_dir, or choose another folder."
        )
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        output_dir.mkdir(parents=True, exist_ok=True)
        for folder in output_dir.glob(f".*{PARTIAL}"):  # of trainings that were killed
            shutil.rmtree(folder, ignore_errors=True)
        if not checkpoint:
            _remove_training(output_dir)
    accelerator.wait_for_everyone()
    return checkpoint


def _remove_training(output_dir: Path) -> None:
    """Delete what a training writes, and nothing else."""
    for folder in (*find_checkpoints(output_dir).values(), output_dir / "best", output_dir / "validation"):
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("log.jsonl", "curves.png", "all_results.json", "config.json", "model.safetensors"):
        (output_dir / name).unlink(missing_ok=True)


def _step_of(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "trainer_state.json").read_text())["progress"]["step"])


def find_checkpoints(output_dir: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their step, in ascending order."""
    found = {}
    for folder in output_dir.glob("step_*"):
        if (match := re.fullmatch(r"step_(\d+)", folder.name)) and (folder / "trainer_state.json").is_file():
            found[int(match[1])] = folder
    return dict(sorted(found.items()))


def replace_folder(source: Path | None, target: Path) -> None:
    """Rename a folder over another one, or delete the other one; a kill in between leaves no half of either."""
    trash = target.with_name(f".{target.name}.removed{PARTIAL}")
    shutil.rmtree(trash, ignore_errors=True)
    if target.exists():
        os.replace(target, trash)
    if source is not None:
        os.replace(source, target)
    shutil.rmtree(trash, ignore_errors=True)


def save_model(model: Any, image_processor: Any, folder: Path, into: bool = False) -> None:
    """Save a model and its image processor as a folder for `from_pretrained`; call it on one process.

    Args:
        model: The model.
        image_processor: Its image processor.
        folder: Where to; it is replaced.
        into: Put the files into the folder beside what is there instead.

    Raises:
        TrainingError: If it cannot be written. What was there before is still there.
    """
    try:
        with new_folder(folder, overwrite=True, merge=into) as made:
            _save_pretrained(model, image_processor, made)
    except STORAGE_ERRORS as error:
        raise TrainingError(f"Cannot save the model in {folder}: {_explain(error, folder.parent)}") from error


def _save_pretrained(model: Any, image_processor: Any, folder: Path) -> None:
    """Save both without a progress bar for a single file."""
    with quiet_transformers():
        model.save_pretrained(folder)
        image_processor.save_pretrained(folder)


def _explain(error: Exception, folder: Path) -> str:
    """Why writing failed; not every library says that a disk is full."""
    return f"{_first_line(error)} ({shutil.disk_usage(folder).free / 1e6:.1f} MB are free there)"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
