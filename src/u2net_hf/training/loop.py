"""The training loop of both networks, on one process or many (accelerate, data parallel).

A step of the optimizer is: for each accumulated batch forward and backward, then the loss of all processes is added
up and checked, then the weights change. Between two steps, where all state is simple, come log, validation and
checkpoint, in this order. Killed at any moment and resumed, a training on the CPU repeats the same losses and ends
with the same weights, to the last bit (with the same number of processes and threads; up to two processes, for more
add in an order that torch does not promise).
"""

from __future__ import annotations

import gc
import json
import math
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast, gather_object, set_seed
from torch import nn
from tqdm import tqdm
from transformers import get_scheduler

from ..data.corpora import check_masks
from ..utils.files import write_atomically
from .arguments import TrainingArguments, TrainingError, TrainingStopped
from .averaging import averaged_model
from .checkpointing import (
    TrainingState,
    find_checkpoints,
    load_checkpoint,
    prepare_output_dir,
    save_checkpoint,
    save_model,
)
from .launch import make_accelerator
from .loader import MakeSample, Mixture, Share, make_loader
from .log import TrainingLog, finite_or_none
from .mask_encoder import TaughtNetwork
from .pictures import save_curves, save_strips
from .progress import Progress
from .regularization import GeneralPhotos
from .validation import Validation

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class Training:
    """Train a model that gives a `loss` for `labels`: `Training(...).run()`.

    `arguments.output_dir` then holds the final model (a folder for `from_pretrained`), `best` (the one that validated
    best), the checkpoints `step_N`, `log.jsonl`, `validation/step_N.png`, `curves.png` and `all_results.json`.

    Args:
        arguments: The options.
        model: The network.
        image_processor: Saved with the model.
        optimizer: Of the model's parameters.
        corpus: What to train on, from `load_corpus`, or several corpora as a [`Mixture`].
        make_sample: Makes the model's arguments of a record.
        validation: Measures a model.
        supervision: A second loss around the model, which is trained with both.

    Raises:
        TrainingError: If options do not fit what is installed or at hand.
        ValueError: If all masks of a corpus are empty, or one cannot be read.
    """

    def __init__(
        self,
        arguments: TrainingArguments,
        model: Any,
        image_processor: Any,
        optimizer: torch.optim.Optimizer,
        corpus: Dataset | IterableDataset | Mixture,
        make_sample: MakeSample,
        validation: Validation,
        supervision: TaughtNetwork | None = None,
    ) -> None:
        for part in corpus.corpora if isinstance(corpus, Mixture) else [corpus]:
            if not isinstance(part, GeneralPhotos):
                check_masks(part)
        check_masks(validation.corpus)
        self.arguments, self.validation = arguments, validation
        self.corpus, self.make_sample = corpus, make_sample
        self.output_dir = Path(arguments.output_dir).expanduser()
        self.accelerator = make_accelerator(arguments, self.output_dir)
        self.log = TrainingLog(self.output_dir / "log.jsonl", self.accelerator)
        processes = self.accelerator.num_processes
        self.global_batch_size = (
            arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * processes
        )
        self.epoch_size = len(corpus) if hasattr(corpus, "__len__") else None
        self.last_step = arguments.max_train_steps or math.ceil(
            arguments.num_train_epochs * (self.epoch_size or 0) / self.global_batch_size
        )
        set_seed(arguments.seed, device_specific=True)  # dropout differs between processes
        model = self._prepare(model)
        ema = None if arguments.ema_decay is None else averaged_model(model, arguments.ema_decay)
        scheduler = get_scheduler(
            arguments.lr_scheduler_type, optimizer, arguments.num_warmup_steps, num_training_steps=self.last_step
        )
        trained = model if supervision is None else supervision.to(self.accelerator.device)
        self.parallel_model, optimizer = self.accelerator.prepare(trained, optimizer)
        settings = self._settings() | ({} if supervision is None else {"gt_encoder": supervision.digest})
        if isinstance(corpus, Mixture):
            settings["weights"] = [*corpus.weights]
        self.state = TrainingState(
            model, image_processor, optimizer, scheduler, self.accelerator.scaler, ema, settings
        )
        self.state.progress |= {"step": 0, "measures": {}, "best": None, "loss_sum": 0.0, "loss_count": 0}

    def _prepare(self, model: Any) -> Any:
        """Bring the network to its device, with the options of speed and memory; the parameters stay the objects."""
        arguments, device = self.arguments, self.accelerator.device
        if arguments.gradient_checkpointing:
            model.activation_checkpointing_enable()
        if arguments.sync_batchnorm:
            if device.type == "cpu":
                raise TrainingError("--sync_batchnorm needs GPUs: torch has no such BatchNorm on the CPU.")
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if arguments.channels_last:
            model.to(memory_format=torch.channels_last)
        return model.to(device).train()

    def _settings(self) -> dict[str, Any]:
        """What a resumed training must share with the one that saved: the data would come in another order."""
        arguments = self.arguments
        names = ["seed", "per_device_train_batch_size", "gradient_accumulation_steps", "streaming", "resolution"]
        if arguments.streaming:
            names += ["shuffle_buffer_size", "dataloader_num_workers"]
        settings = {name: getattr(arguments, name) for name in names}
        settings |= {"num_processes": self.accelerator.num_processes, "samples": self.epoch_size}
        return settings | {"ema": arguments.ema_decay is not None, "scaler": self.accelerator.scaler is not None}

    def run(self) -> dict[str, float | None]:
        """Train from the start, or from the checkpoint, to the end.

        Returns:
            The measures of the last validation.

        Raises:
            TrainingError: If the training cannot start or go on: settings, data, a loss that is not finite, a full
                disk. Checkpoints are as they were.
            TrainingStopped: After SIGTERM or Ctrl-C, when the state is saved.
        """
        arguments, progress = self.arguments, self.state.progress
        checkpoint = prepare_output_dir(
            self.output_dir, arguments.resume_from_checkpoint, arguments.overwrite_output_dir, self.accelerator
        )
        if checkpoint:
            load_checkpoint(self.state, checkpoint, self.accelerator)
        first_step = progress["step"]
        self.log.cut(first_step)
        if arguments.with_tracking:
            self.accelerator.init_trackers("u2net_hf", config=_flat(asdict(arguments)))
        shown = self.accelerator.is_main_process
        bar = Progress(first_step, self.last_step, self.global_batch_size, shown)
        # Closed, since the workers of the loader end with it, whoever else holds it.
        with closing(self._batches(first_step)) as batches, _asked_to_stop() as stop, closing(bar):
            for step in range(first_step + 1, self.last_step + 1):
                loss, map_losses, stopping = self._step(step, batches, stop)
                bar.update(step, loss)
                self._log_losses(step, loss, map_losses, bar)
                if step % arguments.validation_steps == 0 or step == self.last_step:
                    self._validate(step)
                if step % arguments.checkpointing_steps == 0 or step == self.last_step or stopping:
                    self._save(step)
                if stopping and step < self.last_step:
                    self._end()
                    raise TrainingStopped(f"Stopped as asked; the state is saved in {self.output_dir}/step_{step}.")
        return self._finish()

    def _batches(self, first_step: int) -> Generator[dict[str, Any], None, None]:
        """The batches of this process for the steps that are left, on its device."""
        arguments, accelerator = self.arguments, self.accelerator
        passes = arguments.gradient_accumulation_steps
        share = Share(
            first=first_step * passes,
            last=self.last_step * passes,
            batch_size=arguments.per_device_train_batch_size,
            process=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        loader = make_loader(
            self.corpus,
            self.make_sample,
            share,
            arguments.seed,
            arguments.dataloader_num_workers,
            arguments.shuffle_buffer_size,
            pin_memory=accelerator.device.type == "cuda",
        )
        for batch in loader:
            for name, value in batch.items():
                if isinstance(value, torch.Tensor):
                    batch[name] = value.to(accelerator.device, non_blocking=True)
            if arguments.channels_last:
                batch["pixel_values"] = batch["pixel_values"].to(memory_format=torch.channels_last)
            yield batch

    # A step.

    def _step(
        self, step: int, batches: Iterator[dict[str, Any]], stop: threading.Event
    ) -> tuple[float, dict[str, float], bool]:
        """One step of the optimizer: the mean loss, the loss of each map, and whether a process was asked to stop."""
        accelerator, passes = self.accelerator, self.arguments.gradient_accumulation_steps
        losses, names = [], []
        for number in range(1, passes + 1):
            batch = next(batches)
            names.append(batch.pop("name"))
            # Gradients are exchanged between processes once, with the last batch.
            with nullcontext() if number == passes else accelerator.no_sync(self.parallel_model):
                outputs = self.parallel_model(**batch)
                accelerator.backward(outputs.loss / passes)
            losses.append(outputs.loss.detach().float())
        stopping = torch.tensor(float(stop.is_set()), device=accelerator.device)
        loss, stopping = accelerator.reduce(torch.stack((torch.stack(losses).mean(), stopping)), "mean").tolist()
        limit = self.arguments.max_grad_norm or math.inf
        norm = float(accelerator.clip_grad_norm_(self.state.model.parameters(), limit))
        if not math.isfinite(loss) or (accelerator.scaler is None and not math.isfinite(norm)):
            self._report_not_finite(step, loss, losses, names)
        self.state.optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            self.state.scheduler.step()
        self.state.optimizer.zero_grad()
        if self.state.ema is not None:
            self.state.ema.update_parameters(self.state.model)
        self.state.progress["step"] = step
        logged = step % self.arguments.logging_steps == 0
        return loss, self._map_losses(outputs, batch) if logged else {}, stopping > 0

    @torch.no_grad()
    def _map_losses(self, outputs: Any, batch: dict[str, Any]) -> dict[str, float]:
        """The loss of the fused map, if there is, and of each side output, in the last batch of a step."""
        if not getattr(outputs, "side_logits", None):
            return {}
        maps = {f"side_{number}": logits for number, logits in enumerate(outputs.side_logits, start=1)}
        if self.state.model.config.fuse_side_maps:
            maps = {"fused": outputs.logits, **maps}
        losses = torch.stack([self.state.model.map_loss(logits, batch["labels"]) for logits in maps.values()])
        values = self.accelerator.reduce(losses, "mean").tolist()
        return {f"loss/{name}": value for name, value in zip(maps, values, strict=True)}

    def _report_not_finite(self, step: int, loss: float, losses: list[torch.Tensor], names: list[list[str]]) -> None:
        """Stop on every process, with the files of the batches whose loss is not finite."""
        bad = [name for one, batch in zip(losses, names, strict=True) if not one.isfinite() for name in batch]
        bad = gather_object(bad) or gather_object([name for batch in names for name in batch])
        checkpoint = max(find_checkpoints(self.output_dir), default=None)
        saved = "There is no checkpoint yet" if checkpoint is None else f"The checkpoint step_{checkpoint} is intact"
        what = f"The loss is {loss}" if not math.isfinite(loss) else "The gradient is not finite"
        raise TrainingError(
            f"{what} in step {step}, in the batch of {', '.join(sorted(bad))}. {saved}. Look at these files; else "
            "lower the learning rate, or give --max_grad_norm."
        )

    # Between two steps.

    def _log_losses(self, step: int, loss: float, map_losses: dict[str, float], bar: Progress) -> None:
        """Write and show the mean loss since the last line, and the losses of the maps at this step."""
        progress = self.state.progress
        progress["loss_sum"] += loss
        progress["loss_count"] += 1
        if step % self.arguments.logging_steps and step != self.last_step:
            return
        values = {"loss": progress["loss_sum"] / progress["loss_count"], **map_losses}
        values["learning_rate"] = self.state.scheduler.get_last_lr()[0]
        if self.epoch_size:
            values["epoch"] = step * self.global_batch_size / self.epoch_size
        progress |= {"loss_sum": 0.0, "loss_count": 0}
        self.log.write(step, values)
        bar.log(step, values["loss"])

    def _validate(self, step: int) -> None:
        """Measure the model, draw a few images, and keep the model if it is the best so far."""
        model = self._model_to_keep()
        _share_buffers(model)
        model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            found, strips = self.validation(model, self.accelerator)
        self.state.model.train()
        measures = finite_or_none(found)
        self.log.write(step, {f"validation/{name}": value for name, value in measures.items()})
        value, best = measures[self.validation.best_measure], self.state.progress["best"]
        better = value is not None and (
            best is None or (value > best if self.validation.greater_is_better else value < best)
        )
        self.state.progress |= {"measures": measures, "best": value if better else best}
        if self.accelerator.is_main_process:
            save_strips(strips, self.output_dir / "validation" / f"step_{step}.png")
            if better:
                save_model(model, self.state.image_processor, self.output_dir / "best")
            tqdm.write(f"step {step}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))

    def _save(self, step: int) -> None:
        if not all(parameter.isfinite().all() for parameter in self.state.model.parameters()):
            raise TrainingError(
                f"The weights are not finite after step {step}: they are not saved. Earlier "
                "checkpoints are intact; lower the learning rate, or give --max_grad_norm."
            )
        save_checkpoint(self.state, self.output_dir, self.accelerator, self.arguments.checkpoints_total_limit)

    def _finish(self) -> dict[str, float | None]:
        """Write the final model, the curves and the results, and upload if asked to."""
        measures = self.state.progress["measures"]
        if self.accelerator.is_main_process:
            model, image_processor = self._model_to_keep(), self.state.image_processor
            save_model(model, image_processor, self.output_dir, into=True)
            save_curves(self.log.read(), self.output_dir / "curves.png")
            results = {"step": self.last_step, f"best_{self.validation.best_measure}": self.state.progress["best"]}
            text = json.dumps(results | measures, indent=2, allow_nan=False) + "\n"
            write_atomically(self.output_dir / "all_results.json", text)
            if self.arguments.push_to_hub:
                model.push_to_hub(self.arguments.hub_model_id)
                image_processor.push_to_hub(self.arguments.hub_model_id)
        self._end()
        return measures

    def _end(self) -> None:
        """Take leave of the other processes.

        DistributedDataParallel goes before the process group does. As the last owner of the group it would hold
        Python's lock while it waits for gloo's threads, which may need that lock to end: some processes then hang.
        """
        del self.parallel_model
        self.accelerator.free_memory()
        gc.collect()
        self.accelerator.end_training()

    def _model_to_keep(self) -> Any:
        return self.state.model if self.state.ema is None else self.state.ema.module


def _share_buffers(model: nn.Module) -> None:
    """Give all processes the BatchNorm statistics of the first: else validation would depend on who sees an image."""
    buffers = dict(model.named_buffers())
    for name, value in broadcast(buffers).items():
        buffers[name].copy_(value)


def _flat(options: dict[str, Any]) -> dict[str, Any]:
    """Options in the types that trackers take."""
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in options.items()}


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, instead of ending the process; a second Ctrl-C ends it."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's business
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
