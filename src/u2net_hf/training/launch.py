"""Connect the processes of a training."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from .arguments import LaunchError, TrainingArguments, TrainingError, check_launch

_ADVICE = "Start them with torchrun or `accelerate launch`, or unset WORLD_SIZE."


def make_accelerator(arguments: TrainingArguments, output_dir: Path) -> Accelerator:
    """Connect the processes: on GPUs where there are, else on the CPU, however they were started.

    Raises:
        LaunchError: If the processes are not connected: each would train alone, into the same folder.
        TrainingError: If a tracker is not installed.
    """
    check_launch()
    _check_tracker(arguments)
    started = int(os.environ.get("WORLD_SIZE") or 1)
    if started > 1 and "LOCAL_RANK" not in os.environ:
        raise LaunchError(f"WORLD_SIZE is {started}, but nothing started so many processes: {_ADVICE}")
    accelerator = Accelerator(
        # Without this accelerate leaves processes that torchrun started on a CPU unconnected.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=arguments.mixed_precision,
        log_with=arguments.report_to if arguments.with_tracking else None,
        project_dir=output_dir,
    )
    if started != accelerator.num_processes:
        raise LaunchError(
            f"WORLD_SIZE is {started}, but accelerate connects {accelerator.num_processes}: each process would train "
            f"alone, into the same --output_dir. {_ADVICE}"
        )
    return accelerator


def _check_tracker(arguments: TrainingArguments) -> None:
    installed = [str(tracker) for tracker in get_available_trackers()]
    if arguments.with_tracking and (not installed or arguments.report_to not in ("all", *installed)):
        wanted = "tensorboard" if arguments.report_to == "all" else arguments.report_to
        raise TrainingError(
            f"--report_to {arguments.report_to}: that tracker is not installed (pip install {wanted}); installed: "
            f"{', '.join(installed) or 'none'}."
        )
