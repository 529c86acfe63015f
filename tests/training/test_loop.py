"""Tests of u2net_hf.training.loop: whole trainings of tiny networks, in processes of their own."""

import gc
import json
import math
import os
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator, PartialState
from PIL import Image
from safetensors.torch import load_file
from training_helpers import drawn_corpus, run_in_processes, tiny_training
from transformers import AutoImageProcessor, AutoModelForImageSegmentation

from u2net_hf.training.arguments import EXIT_STOPPED
from u2net_hf.training.checkpointing import find_checkpoints
from u2net_hf.training.loop import Training
from u2net_hf.training.pictures import Strip


class SignalOnce:
    """Sends a signal to the process when a number of samples were made in it."""

    def __init__(self, samples: int, number: int) -> None:
        self.left, self.number = samples, number

    def __call__(self, sample: dict) -> dict:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return sample


def make_nan(name: str) -> Callable[[dict], dict]:
    def change(sample: dict) -> dict:
        if sample["name"] == name:
            sample["pixel_values"] = sample["pixel_values"] * torch.nan
        return sample

    return change


def start(make_training: Callable[[], Training]) -> None:
    make_training().run()


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_run(one: Path, other: Path) -> None:
    """Logs, weights and averaged weights, best model and pictures are the same bytes."""
    files = ["log.jsonl", "model.safetensors", "best/model.safetensors", "step_8/optimizer.pt", "all_results.json"]
    files += ["validation/step_8.png"] + [f"step_8/{file.name}" for file in (one / "step_8").glob("ema*")]
    for file in files:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


# A checkpoint each second step, a validation each third; with two samples a step an epoch ends after step five.
@pytest.mark.parametrize(
    ("network", "num_processes", "options"),
    [
        ("u2net", 1, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "ema_decay": 0.9}),
        ("unet", 1, {"lr_scheduler_type": "cosine", "max_grad_norm": 0.5, "dataloader_num_workers": 1}),
        ("u2net", 2, {"per_device_train_batch_size": 1, "checkpoints_total_limit": 1}),
        ("isnet", 1, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "ema_decay": 0.9}),
        ("isnet", 2, {"per_device_train_batch_size": 1}),
        ("unet", 2, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "ema_decay": 0.5}),
    ],
)
def test_killed_and_resumed_training_equals_the_uninterrupted_one(
    tmp_path: Path, network: str, num_processes: int, options: dict[str, Any]
) -> None:
    whole, killed, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "log"

    def run(folder: Path, change: Any = None) -> list[int]:
        return run_in_processes(
            lambda: tiny_training(network, folder, change, resume_from_checkpoint="latest", **options).run(),
            log,
            num_processes,
        )

    assert run(whole) == [0] * num_processes, log.read_text()
    if options.get("dataloader_num_workers"):  # the worker is ahead of the training: kill the training itself
        kill: Any = KillAtStep(7)
    else:
        samples = 5 * options.get("gradient_accumulation_steps", 1) * options["per_device_train_batch_size"] + 1
        kill = SignalOnce(samples, signal.SIGKILL)
    assert run(killed, kill)[0] in (-signal.SIGKILL, 2)
    assert (killed / "step_4").is_dir()
    assert not (killed / "model.safetensors").exists()
    assert run(killed) == [0] * num_processes, log.read_text()
    assert_same_run(whole, killed)
    assert [line["step"] for line in log_of(killed)] == [2, 3, 4, 6, 6, 8, 8]


class KillAtStep:
    """Kills the parent of a loader's worker at the sample that begins a step."""

    def __init__(self, step: int) -> None:
        self.left = 2 * step

    def __call__(self, sample: dict) -> dict:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getppid(), signal.SIGKILL)
        return sample


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path: Path, accumulation: int) -> None:
    """Plain SGD: the change of the weights is the gradient. Without BatchNorm, which sees only its own batch."""
    options: dict[str, Any] = {"optimizer": torch.optim.SGD, "learning_rate": 0.1, "use_batch_norm": False}
    options |= {"gradient_accumulation_steps": accumulation, "logging_steps": 1, "max_train_steps": 3}
    runs = {}
    for processes, batch_size in ((1, 4), (2, 2)):
        folder, log = tmp_path / str(processes), tmp_path / "log"
        run = partial(tiny_training, "u2net", folder, per_device_train_batch_size=batch_size, **options)
        statuses = run_in_processes(partial(start, run), log, processes)
        assert statuses == [0] * processes, log.read_text()
        runs[processes] = folder
    for one, two in zip(log_of(runs[1]), log_of(runs[2]), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    one_weights, two_weights = (load_file(runs[processes] / "model.safetensors") for processes in (1, 2))
    for name, weight in one_weights.items():
        torch.testing.assert_close(two_weights[name], weight, rtol=1e-4, atol=1e-6)


def test_validation_is_exact_for_uneven_shares(tmp_path: Path) -> None:
    """Five images on two processes give, digit for digit, what they give on one."""
    for processes in (1, 2):
        folder, log = tmp_path / str(processes), tmp_path / "log"
        run = partial(tiny_training, "u2net", folder, learning_rate=1e-30, max_train_steps=1)
        statuses = run_in_processes(partial(start, run), log, processes)
        assert statuses == [0] * processes, log.read_text()
    one, two = (json.loads((tmp_path / name / "all_results.json").read_text()) for name in ("1", "2"))
    # BatchNorm's statistics come from the first process's batch, the same one here: samples 0 and 1.
    assert one == two


@pytest.mark.parametrize("num_processes", [1, 2])
def test_sigterm_saves_and_the_resumed_training_is_the_same(tmp_path: Path, num_processes: int) -> None:
    whole, stopped, log = tmp_path / "whole", tmp_path / "stopped", tmp_path / "log"

    def run(folder: Path, change: Any = None) -> list[int]:
        options: dict[str, Any] = {"checkpointing_steps": 100, "resume_from_checkpoint": "latest"}
        return run_in_processes(
            lambda: tiny_training("u2net", folder, change, per_device_train_batch_size=1, **options).run(),
            log,
            num_processes,
        )

    assert run(whole) == [0] * num_processes, log.read_text()
    assert run(stopped, SignalOnce(5, signal.SIGTERM)) == [EXIT_STOPPED] * num_processes, log.read_text()
    assert [folder.name for folder in stopped.glob("step_*")] == ["step_5"]
    assert run(stopped) == [0] * num_processes, log.read_text()
    assert_same_run(whole, stopped)


def test_ctrl_c_saves_as_sigterm_does(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    run = lambda: tiny_training("u2net", folder, SignalOnce(5, signal.SIGINT), logging_steps=1).run()  # noqa: E731
    assert run_in_processes(run, log) == [EXIT_STOPPED], log.read_text()
    assert max(find_checkpoints(folder)) == 3
    lines = [line for line in log.read_text().splitlines() if "images/s" in line]
    assert len(lines) == 3  # no terminal: one line for each logging step
    assert re.fullmatch(r"step 3/8: loss \d\.\d{4}, [\d.e+]+ images/s, \d+:\d\d:\d\d left", lines[-1])


def test_what_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    """Validations at steps 3, 6 and 8 give NaN, 0.5 and 0.7; all files stay JSON, which knows no NaN."""
    folder, log = tmp_path / "run", tmp_path / "log"

    class Scripted:
        best_measure, greater_is_better, corpus = "error", False, drawn_corpus(1)
        values = iter([math.nan, 0.5, 0.7])

        def __call__(self, model: Any, accelerator: Any) -> tuple[dict[str, float], list[Any]]:
            return {"error": next(self.values)}, [Strip(*(Image.new("L", (4, 4)),) * 2, np.zeros((4, 4)))]

    def run() -> None:
        training = tiny_training("u2net", folder, curves=True, checkpointing_steps=3)
        training.validation = Scripted()  # type: ignore[assignment]
        training.run()

    assert run_in_processes(run, log) == [0], log.read_text()

    def refuse(text: str) -> None:
        raise AssertionError(text)

    texts = [(folder / name).read_text() for name in ("all_results.json", "step_3/trainer_state.json")]
    texts += (folder / "log.jsonl").read_text().splitlines()
    results, state, *lines = (json.loads(text, parse_constant=refuse) for text in texts)
    assert results["best_error"] == 0.5
    assert state["progress"]["best"] is None
    assert [line["validation/error"] for line in lines if "validation/error" in line] == [None, 0.5, 0.7]
    six, best = (load_file(folder / name / "model.safetensors") for name in ("step_6", "best"))
    assert all(torch.equal(best[name], value) for name, value in six.items())


no_accelerator = pytest.mark.skipif(torch.accelerator.is_available(), reason="processes on a CPU")


@no_accelerator
def test_processes_of_torchrun_are_connected_without_a_variable(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"

    def run() -> None:
        os.environ.pop("ACCELERATE_USE_CPU")
        training = tiny_training("u2net", folder, max_train_steps=1)
        training.run()
        print(f"one of {training.accelerator.num_processes}")

    assert run_in_processes(run, log, 2) == [0, 0], log.read_text()
    assert log.read_text().count("one of 2") == 2


@no_accelerator
def test_processes_that_are_not_connected_are_refused(tmp_path: Path) -> None:
    def alone() -> None:
        os.environ["WORLD_SIZE"] = "2"
        tiny_training("u2net", tmp_path / "run").run()

    def connected_before() -> None:
        PartialState(cpu=True)  # another library did it before the processes were told of each other
        os.environ |= {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}
        tiny_training("u2net", tmp_path / "run").run()

    log = tmp_path / "log"
    assert run_in_processes(alone, log) == [1], log.read_text()
    assert "WORLD_SIZE is 2, but nothing started so many processes" in log.read_text()
    assert run_in_processes(connected_before, log) == [1], log.read_text()
    assert "WORLD_SIZE is 2, but accelerate connects 1" in log.read_text()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("num_processes", [1, 2])
def test_nan_stops_with_the_names_and_keeps_the_checkpoint(tmp_path: Path, num_processes: int) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"

    def run() -> None:
        order: list[str] = []
        training = tiny_training("u2net", folder, order_spy(order), per_device_train_batch_size=1)
        training.run()

    def order_spy(order: list[str]) -> Callable[[dict], dict]:
        def change(sample: dict) -> dict:
            order.append(sample["name"])
            return make_nan(sample["name"])(sample) if len(order) == 4 else sample

        return change

    assert run_in_processes(run, log, num_processes) == [1] * num_processes, log.read_text()
    message = log.read_text()
    assert "The loss is nan in step 4, in the batch of " in message
    assert "The checkpoint step_2 is intact" in message
    assert sorted(path.name for path in folder.glob("step_*")) == ["step_2"]
    weights = load_file(folder / "step_2" / "model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def test_nan_names_the_right_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = lambda: tiny_training("u2net", tmp_path / "run", make_nan("7"), gradient_accumulation_steps=3).run()  # noqa: E731
    assert run_in_processes(run, log) == [1]
    [line] = [line for line in log.read_text().splitlines() if "The loss is nan" in line]
    names = line.split("in the batch of ")[1].split(". ")[0].split(", ")
    assert "7" in names
    assert len(names) == 2  # its batch, not the three of the step


def test_output_folder(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    options: dict[str, Any] = {"checkpoints_total_limit": 2, "logging_steps": 1, "curves": True}
    statuses = run_in_processes(lambda: tiny_training("u2net", folder, **options).run(), log)
    assert statuses == [0], log.read_text()
    names = {path.name for path in folder.iterdir()}
    assert {"best", "validation", "curves.png", "log.jsonl", "all_results.json", "step_6", "step_8"} <= names
    assert not {"step_2", "step_4"} & names
    assert not [name for name in names if name.startswith(".")]
    for path in (folder, folder / "best", folder / "step_8"):
        model = AutoModelForImageSegmentation.from_pretrained(path)
        assert AutoImageProcessor.from_pretrained(path).size == {"height": 20, "width": 20}
    final = load_file(folder / "step_8" / "model.safetensors")
    assert all(torch.equal(value, final[name]) for name, value in model.state_dict().items())
    lines = log_of(folder)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    for line in lines:
        parts = [value for name, value in line.items() if name.startswith("loss/")]
        if "loss" in line:  # that of the paper is the sum of those of the fused map and the three sides
            assert len(parts) == 4
            assert sum(parts) == pytest.approx(line["loss"], rel=1e-5)
    results = json.loads((folder / "all_results.json").read_text())
    values = [line["validation/max_f"] for line in lines if "validation/max_f" in line]
    assert results["best_max_f"] == max(values)
    assert results["max_f"] == values[-1]


def test_training_learns(tmp_path: Path) -> None:
    """A tiny network finds bright rectangles: better than any constant map, whose F is that of the share of object."""
    folder, log = tmp_path / "run", tmp_path / "log"
    options: dict[str, Any] = {
        "max_train_steps": 60,
        "validation_steps": 60,
        "checkpointing_steps": 60,
        "learning_rate": 0.01,
    }
    assert run_in_processes(lambda: tiny_training("u2net", folder, **options).run(), log) == [0], log.read_text()
    results = json.loads((folder / "all_results.json").read_text())
    losses = [line["loss"] for line in log_of(folder) if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    share = 12 * 12 / (24 * 24)
    assert results["max_f"] > 1.3 * share / (0.3 * share + 1) + 0.2


def test_averaged_weights_are_those_that_are_saved(tmp_path: Path) -> None:
    """The average starts as the weights after the first step, then takes in most of those after the second: n = 1."""
    folder, log = tmp_path / "run", tmp_path / "log"
    options: dict[str, Any] = {"max_train_steps": 2, "checkpointing_steps": 1, "ema_decay": 0.9}
    assert run_in_processes(lambda: tiny_training("u2net", folder, **options).run(), log) == [0], log.read_text()
    first, second = (load_file(folder / name / "model.safetensors") for name in ("step_1", "step_2"))
    final, decay = load_file(folder / "model.safetensors"), (1 + 1) / (10 + 1)
    for name, value in final.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, decay * first[name] + (1 - decay) * second[name], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def short_training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of two steps."""
    parent = tmp_path_factory.mktemp("short")
    statuses = run_in_processes(
        lambda: tiny_training("u2net", parent / "run", max_train_steps=2).run(), parent / "log"
    )
    assert statuses == [0], (parent / "log").read_text()
    return parent / "run"


@pytest.mark.parametrize(
    ("options", "num_processes", "message"),
    [
        ({}, 2, "num_processes 1 (now 2)"),
        ({"seed": 6}, 1, "seed 5 (now 6)"),
        ({"per_device_train_batch_size": 3}, 1, "per_device_train_batch_size 2 (now 3)"),
        ({"ema_decay": 0.9}, 1, "ema False (now True)"),
        ({"use_batch_norm": False}, 1, "holds another network: "),
        ({"resume_from_checkpoint": None}, 1, "delete it with --overwrite_output_dir"),
        ({"resume_from_checkpoint": "nowhere"}, 1, "--resume_from_checkpoint nowhere is no folder of a checkpoint"),
        ({"sync_batchnorm": True}, 1, "--sync_batchnorm needs GPUs"),
        ({"with_tracking": True, "report_to": "notebook"}, 1, "--report_to notebook: that tracker is not installed"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(
    tmp_path: Path, short_training: Path, options: dict[str, Any], num_processes: int, message: str
) -> None:
    folder, log = short_training, tmp_path / "log"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = {"resume_from_checkpoint": "latest"} | options
    statuses = run_in_processes(lambda: tiny_training("u2net", folder, **changed).run(), log, num_processes)
    assert statuses == [1] * num_processes, log.read_text()
    assert message in log.read_text()
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_overwriting_deletes_only_the_earlier_training(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    options: dict[str, Any] = {"checkpointing_steps": 2}
    run = lambda **more: tiny_training("u2net", folder, **(options | more)).run()  # noqa: E731
    assert run_in_processes(lambda: run(max_train_steps=4), log) == [0], log.read_text()
    (folder / "notes.txt").write_text("mine")
    assert run_in_processes(lambda: run(max_train_steps=2, overwrite_output_dir=True), log) == [0], log.read_text()
    assert [path.name for path in folder.glob("step_*")] == ["step_2"]
    assert (folder / "notes.txt").read_text() == "mine"
    assert max(line["step"] for line in log_of(folder)) == 2


def test_empty_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="All 4 masks are empty"):
        tiny_training("u2net", tmp_path / "run", corpus=drawn_corpus(4, empty=True))


def test_push_to_hub_uploads_model_and_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil

    for part in (U2NetForImageSegmentation, U2NetImageProcessorPil):
        monkeypatch.setattr(
            part, "push_to_hub", lambda self, repo: (tmp_path / type(self).__name__).write_text(repo), raising=True
        )
    options: dict[str, Any] = {"max_train_steps": 1, "push_to_hub": True, "hub_model_id": "me/mine"}
    log = tmp_path / "log"
    run = lambda: tiny_training("u2net", tmp_path / "run", **options).run()  # noqa: E731
    assert run_in_processes(run, log) == [0], log.read_text()
    for name in ("U2NetForImageSegmentation", "U2NetImageProcessorPil"):
        assert (tmp_path / name).read_text() == "me/mine"


def test_the_wrapper_of_the_model_goes_before_the_process_group_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the group's last owner it would wait for gloo's threads with Python's lock in its hand: a rare deadlock."""

    def end(accelerator: Accelerator) -> None:
        wrappers = [it for it in gc.get_objects() if isinstance(it, torch.nn.parallel.DistributedDataParallel)]
        assert not wrappers
        torch.distributed.destroy_process_group()

    monkeypatch.setattr(Accelerator, "end_training", end)
    options = {"per_device_train_batch_size": 1, "max_train_steps": 1}
    statuses = run_in_processes(lambda: tiny_training("u2net", tmp_path / "out", **options).run(), tmp_path / "log", 2)
    assert statuses == [0, 0], (tmp_path / "log").read_text()
