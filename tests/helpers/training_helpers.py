"""Tiny trainings for the tests: drawn corpora, tiny networks, and processes to run them in."""

import multiprocessing
import os
import runpy
import socket
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np
import skimage.metrics  # noqa: F401 (here once, instead of in every forked process)
import torch
from accelerate.state import AcceleratorState, GradientState
from datasets import Dataset
from PIL import Image
from tiny_models import tiny_u2net_config, tiny_unet_config

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.data.corpora import corpus_features
from u2net_hf.data.recipes import authors_recipe, unet_recipe
from u2net_hf.training import loop as training_module
from u2net_hf.training.arguments import EXIT_STOPPED, TrainingArguments, TrainingError, TrainingStopped
from u2net_hf.training.loader import MakeSaliencySample, MakeSegmentationSample
from u2net_hf.training.loop import Training
from u2net_hf.training.mask_encoder import FeatureSupervision, MaskEncoder
from u2net_hf.training.validation import SaliencyValidation, SegmentationValidation

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def drawn_corpus(number: int, side: int = 24, empty: bool = False) -> Dataset:
    """Bright rectangles on dark noise, with their masks; named 0, 1, ..."""
    rng = np.random.default_rng(number)
    columns: dict[str, list[Any]] = {"image": [], "mask": [], "name": []}
    for index in range(number):
        mask = np.zeros((side, side), np.uint8)
        top, left = rng.integers(1, side // 3, 2)
        mask[top : top + side // 2, left : left + side // 2] = 0 if empty else 255
        noise = rng.integers(0, 100, (side, side, 3))
        columns["image"].append(Image.fromarray((noise + 0.5 * mask[..., None]).astype(np.uint8)))
        columns["mask"].append(Image.fromarray(mask))
        columns["name"].append(str(index))
    return Dataset.from_dict(columns, features=corpus_features())


def write_corpus(folder: Path, **numbers: int) -> Path:
    """A folder of so many drawn pairs of 40x40 pixels for each split, as files."""
    for split, number in numbers.items():
        for record in drawn_corpus(number, side=40):
            for column in ("image", "mask"):
                file = folder / split / f"{column}s" / f"{record['name']}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                record[column].save(file)
    return folder


def run_training_script(script: str, log: Path, *arguments: Any) -> int:
    """Run a script of `scripts/` in a process of its own; give its status."""

    def start() -> None:
        training_module.save_curves = lambda log, path: None
        sys.argv = [script, *map(str, arguments)]
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")

    [status] = run_in_processes(start, log)
    return status


def tiny_training(
    network: str, output_dir: Path, change_sample: Callable[[dict], dict] | None = None, **options: Any
) -> Training:
    """A training of a tiny network on ten drawn pairs, validated on five.

    Args:
        network: "u2net", "isnet" (with the supervision of a random GT encoder) or "unet" (with dropout).
        output_dir: The folder of the training.
        change_sample: Called with each training sample.
        options: Of `TrainingArguments`, and `corpus`, `optimizer`, `encoder_seed`, `use_batch_norm` and `curves`:
            whether to draw them, which takes as long as all the rest.
    """
    if not options.pop("curves", False):
        training_module.save_curves = lambda log, path: None
    use_batch_norm, encoder_seed = options.pop("use_batch_norm", True), options.pop("encoder_seed", 1)
    optimizer_class = options.pop("optimizer", torch.optim.Adam)
    corpus, validation_corpus = options.pop("corpus", None) or drawn_corpus(10), drawn_corpus(5)
    defaults: dict[str, Any] = {"per_device_train_batch_size": 2, "max_train_steps": 8, "logging_steps": 2}
    defaults |= {"validation_steps": 3, "checkpointing_steps": 2, "resolution": 20, "seed": 5}
    arguments = TrainingArguments(dataset_name="drawn", output_dir=str(output_dir), **(defaults | options))
    torch.manual_seed(0)
    model: Any
    processor: Any
    supervision = None
    if network == "isnet":
        model = U2NetForImageSegmentation(tiny_u2net_config(stem_channels=3, fuse_side_maps=False))
        torch.manual_seed(encoder_seed)
        supervision = FeatureSupervision(model, MaskEncoder(model.config))
    elif network == "u2net":
        model = U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=use_batch_norm))
    if network != "unet":
        processor = U2NetImageProcessorPil(size={"height": 20, "width": 20})
        make: Any = MakeSaliencySample(processor, authors_recipe(20), arguments.seed)
        validation: Any = SaliencyValidation(validation_corpus, processor, batch_size=2)
    else:
        config: Any = tiny_unet_config(dropout=0.3, num_channels=1, use_batch_norm=use_batch_norm)
        model, processor = UNetForSemanticSegmentation(config), UNetImageProcessorPil.from_config(config)
        make = MakeSegmentationSample(processor, unet_recipe(20), arguments.seed)
        validation = SegmentationValidation(validation_corpus, processor, batch_size=2)

    def make_sample(record: Any, epoch: int, index: int) -> dict:
        sample = make(record, epoch, index)
        return change_sample(sample) if change_sample else sample

    optimizer = optimizer_class(model.parameters(), lr=arguments.learning_rate)
    return Training(arguments, model, processor, optimizer, corpus, make_sample, validation, supervision)


def run_in_processes(function: Callable[[], Any], log: Path, num_processes: int = 1) -> list[int]:
    """Run a function in forked processes that are connected as `torchrun` does it; give their exit statuses.

    Each training needs processes of its own, since accelerate keeps its state in the process. What they print or
    raise is appended to the file `log`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_child, args=(function, log, rank, num_processes, port))
        for rank in range(num_processes)
    ]
    for process in processes:
        process.start()
    limit = time.monotonic() + 300  # a second or two, unless the machine is very busy
    while (running := [process for process in processes if process.is_alive()]) and time.monotonic() < limit:
        connection.wait([process.sentinel for process in running], limit - time.monotonic())
        if any(process.exitcode for process in processes):  # the others may wait for it forever
            limit = min(limit, time.monotonic() + 30)
    for process in running:
        process.kill()
        process.join()
    return [process.exitcode if process.exitcode is not None else -9 for process in processes]


def _child(function: Callable[[], Any], log: Path, rank: int, num_processes: int, port: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if num_processes > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(num_processes)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(num_processes)}
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)  # what a test of the parent has left
    GradientState._reset_state()
    status = 0
    try:
        function()
    except TrainingStopped:
        status = EXIT_STOPPED
    except TrainingError as error:
        os.write(2, f"TrainingError: {error}\n".encode())
        status = 1
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        status = 2
    os._exit(status)  # without the parent's clean-up
