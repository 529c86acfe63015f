"""The options that both training scripts have, with the names of the examples of transformers and diffusers."""

import multiprocessing
import os
import signal
import sys
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar

from transformers import HfArgumentParser

from ..utils.console import printable, reported_errors
from ..utils.process import keep_freed_memory

OBJECT_VALUES_HELP = (
    "Which values of the masks are object, where they hold more than two: numbers (gray values, or indices of a "
    "palette), ranges (129-255), colors ('#c08080') or alpha. All others are background."
)
# What a process exits with that was asked to stop (SIGTERM, Ctrl-C) and saved its state: 128 + SIGTERM.
EXIT_STOPPED = 143

# What `accelerate launch` sets for the ways of training that are not supported here, as its configuration file says.
UNSUPPORTED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism other than by data",
}


class TrainingError(RuntimeError):
    """A training cannot start or go on; the message says what to do."""


class LaunchError(TrainingError):
    """The processes cannot train together as they were started: the same on all of them."""


class TrainingStopped(Exception):  # noqa: N818 (it is no error)
    """A training was asked to stop, and its state is saved."""


def option(default: Any, text: str, **metadata: Any) -> Any:
    """A field of a dataclass of options with its help text, and what else `HfArgumentParser` shall know of it."""
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class TrainingArguments:
    """Options of a training. The scripts add those of their network and put the recipe in as defaults."""

    dataset_name: str = field(metadata={"help": "Corpus: a folder, a .parquet file or a data set on the Hub."})
    output_dir: str = field(metadata={"help": "Folder for the model, the checkpoints, the log and the pictures."})
    train_split: str = option("train", "Split to train on; parts such as 'train[:80%%]' are possible.")
    validation_split: str = option("validation", "Split to validate on.")
    validation_dataset_name: str | None = option(None, "Corpus of the validation split, if it is another one.")
    object_values: list[str] | None = option(None, OBJECT_VALUES_HELP)
    streaming: bool = option(False, "Read the corpus while training instead of downloading it first.")
    shuffle_buffer_size: int = option(1000, "Samples among which a streamed corpus is shuffled.")
    dataloader_num_workers: int = option(0, "Processes that prepare samples, for each training process.")

    model_name_or_path: str | None = option(None, "Weights to start from: a folder, a Hub id or a published name.")
    resolution: int | None = option(None, "Side of the network's inputs in pixels.")

    per_device_train_batch_size: int = option(1, "Samples per process in each pass.")
    per_device_eval_batch_size: int = option(8, "Images, or tiles of one, per process in validation.")
    gradient_accumulation_steps: int = option(1, "Passes per step of the optimizer.")
    max_train_steps: int | None = option(None, "Steps of the optimizer. Default: as num_train_epochs says.")
    num_train_epochs: float = option(1.0, "Passes over the corpus, unless max_train_steps is given.")
    learning_rate: float = option(1e-3, "Learning rate after the warm-up.")
    weight_decay: float = option(0.0, "Weight decay of the optimizer.")
    lr_scheduler_type: str = option("constant", "Schedule of the learning rate, by its name in transformers.")
    num_warmup_steps: int = option(0, "Steps in which the learning rate rises from 0.")
    max_grad_norm: float | None = option(None, "Largest norm of the gradient; longer ones are clipped.")
    ema_decay: float | None = option(
        None, "Also average the weights with this decay (less at first); validate and save those."
    )

    mixed_precision: Literal["no", "fp16", "bf16"] | None = option(
        None, "Default: what `accelerate` is configured to."
    )
    channels_last: bool = option(False, "Memory layout in which convolutions are faster, especially in bf16.")
    gradient_checkpointing: bool = option(False, "Compute activations again in the backward pass to save memory.")
    sync_batchnorm: bool = option(False, "BatchNorm over the batches of all processes together (GPUs only).")

    seed: int = option(0, "Seed of the weights, the order of the data, its transforms and dropout.")
    logging_steps: int = option(10, "Steps between two lines of the log.")
    validation_steps: int = option(500, "Steps between two validations; there is always one at the end.")
    checkpointing_steps: int = option(500, "Steps between two checkpoints; there is always one at the end.")
    checkpoints_total_limit: int | None = option(None, "Keep only this many checkpoints, the latest ones.")
    resume_from_checkpoint: str | None = option(
        None, "Checkpoint to go on from: a folder, or 'latest' (which starts anew if there is none yet)."
    )
    overwrite_output_dir: bool = option(False, "Delete what an earlier training left in output_dir.")
    with_tracking: bool = option(False, "Report to experiment trackers too.")
    report_to: str = option("all", "Tracker: tensorboard, wandb or another that accelerate knows, or all.")
    push_to_hub: bool = option(False, "Upload the model when the training is done.")
    hub_model_id: str | None = option(None, "Repository on the Hub to upload to, such as user/model.")

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            ValueError: If an option is out of its range; the message names it.
        """
        at_least = dict.fromkeys(
            ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"), 1
        )
        at_least |= dict.fromkeys(("resolution", "shuffle_buffer_size", "max_train_steps"), 1)
        at_least |= dict.fromkeys(("logging_steps", "validation_steps", "checkpointing_steps"), 1)
        at_least |= {"checkpoints_total_limit": 1, "dataloader_num_workers": 0, "seed": 0, "num_warmup_steps": 0}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} must be at least {least}, got {value}.")
        for name in ("learning_rate", "num_train_epochs", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name} must be above 0, got {value}.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"--ema_decay must lie between 0 and 1, got {self.ema_decay}.")
        if self.streaming and self.max_train_steps is None:
            raise ValueError("--streaming needs --max_train_steps: nobody knows how long a streamed corpus is.")
        if self.push_to_hub and not self.hub_model_id:
            raise ValueError("--push_to_hub needs --hub_model_id: say where to, such as user/model.")


def check_launch() -> None:
    """Refuse what `accelerate launch` was configured to and cannot be done, before it is tried.

    Raises:
        LaunchError: If the launch asks for DeepSpeed, FSDP or the like.
    """
    for variable, name in UNSUPPORTED.items():
        if os.environ.get(variable, "").lower() in ("1", "true", "yes"):
            raise LaunchError(
                f"{name} is not supported ({variable} is set): training is data parallel. Launch with --multi_gpu, or "
                "with torchrun, instead of that configuration file."
            )


Arguments = TypeVar("Arguments", bound=TrainingArguments)


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the line breaks of the launch lines, and shows the defaults."""


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (--help explains all options)")


def run_script(main: Callable[[Arguments], None], arguments_class: type[Arguments], description: str) -> NoReturn:
    """Parse the command line, train, and exit with a status.

    The status is 0 when the training is done, 1 after an error (one line on stderr), and 143 if SIGTERM or Ctrl-C came
    and the state is saved: start the same command again with `--resume_from_checkpoint latest`.
    """
    parser = _Parser(arguments_class, description=description, formatter_class=_HelpFormatter)  # type: ignore[arg-type]
    keep_freed_memory()
    with reported_errors():
        try:
            (arguments,) = parser.parse_args_into_dataclasses()
            check_launch()
            main(arguments)
        except TrainingStopped as stopped:
            print(printable(stopped), file=sys.stderr)
            sys.exit(EXIT_STOPPED)
        except LaunchError:
            if os.environ.get("RANK", "0") == "0":  # one process says it for all
                raise
            sys.exit(1)
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report those killed here as lost
            for process in multiprocessing.active_children():
                process.kill()  # the loader's workers ignore the signal with which Python would end them
    sys.exit(0)
