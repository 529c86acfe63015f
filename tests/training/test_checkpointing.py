"""Tests of u2net_hf.training.checkpointing: whole or not there, and never code of a stranger."""

import json
import os
import pickle
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny_models import tiny_u2net_config
from training_helpers import run_in_processes
from transformers import AutoModelForImageSegmentation, get_scheduler

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.training import checkpointing
from u2net_hf.training.arguments import TrainingError
from u2net_hf.training.checkpointing import (
    TrainingState,
    find_checkpoints,
    load_checkpoint,
    prepare_output_dir,
    replace_folder,
    save_checkpoint,
    save_model,
)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def make_state(seed: int = 0, **config: Any) -> TrainingState:
    """A tiny network after one step of Adam."""
    torch.manual_seed(seed)
    model = U2NetForImageSegmentation(tiny_u2net_config(**config))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=2, num_training_steps=9)
    model(pixel_values=torch.rand(2, 3, 16, 16), labels=torch.ones(2, 16, 16)).loss.backward()
    optimizer.step()
    scheduler.step()
    state = TrainingState(model, U2NetImageProcessorPil(), optimizer, scheduler, None, None, {"seed": 3})
    state.progress["step"] = 4
    return state


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def test_all_state_comes_back(tmp_path: Path, accelerator: Accelerator) -> None:
    saved = make_state()
    folder = save_checkpoint(saved, tmp_path, accelerator)
    expected = torch.rand(3)
    loaded = make_state(seed=1)
    assert not same(loaded.model.state_dict(), saved.model.state_dict())
    load_checkpoint(loaded, folder, accelerator)
    assert folder == tmp_path / "step_4"
    assert torch.equal(torch.rand(3), expected)
    assert same(loaded.model.state_dict(), saved.model.state_dict())
    assert same(loaded.optimizer.state_dict(), saved.optimizer.state_dict())
    assert loaded.scheduler.state_dict() == saved.scheduler.state_dict()
    assert loaded.progress == {"step": 4}
    model = AutoModelForImageSegmentation.from_pretrained(folder)
    assert same(model.state_dict(), saved.model.state_dict())


def test_checkpoints_are_found_by_number_and_the_oldest_go(tmp_path: Path, accelerator: Accelerator) -> None:
    state = make_state()
    for step in (8, 9, 10, 100):
        state.progress["step"] = step
        save_checkpoint(state, tmp_path, accelerator, total_limit=3)
    (tmp_path / "step_7").mkdir()  # not a checkpoint
    (tmp_path / "step_x").mkdir()
    assert list(find_checkpoints(tmp_path)) == [9, 10, 100]
    assert prepare_output_dir(tmp_path, "latest", False, accelerator) == tmp_path / "step_100"
    with pytest.raises(TrainingError, match="later checkpoints than step_10, up to step_100"):
        prepare_output_dir(tmp_path, str(tmp_path / "step_10"), False, accelerator)


def test_latest_without_any_is_a_new_training(tmp_path: Path, accelerator: Accelerator) -> None:
    assert prepare_output_dir(tmp_path / "new", "latest", False, accelerator) is None
    assert (tmp_path / "new").is_dir()


def test_half_written_folders_are_removed(tmp_path: Path, accelerator: Accelerator) -> None:
    for name in (".step_6.partial", ".best.partial", ".best.removed.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")
    (tmp_path / ".mine").mkdir()
    prepare_output_dir(tmp_path, None, False, accelerator)
    assert [path.name for path in tmp_path.iterdir()] == [".mine"]


def test_failed_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the system refuses to write, in the middle of a file."""
    log = tmp_path / "log"

    def run() -> None:
        accelerator, state = Accelerator(cpu=True), make_state()
        save_checkpoint(state, tmp_path, accelerator, total_limit=1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        state.progress["step"] = 5
        save_checkpoint(state, tmp_path, accelerator, total_limit=1)

    assert run_in_processes(run, log) == [1]
    assert f"Cannot save the checkpoint {tmp_path}/step_5: " in log.read_text()
    assert "MB are free there); step_4 is intact." in log.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "step_4"]
    load_checkpoint(make_state(seed=1), tmp_path / "step_4", Accelerator(cpu=True))


def test_failed_write_of_one_process_stops_both(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def run() -> None:
        accelerator, state = Accelerator(cpu=True), make_state()
        if accelerator.process_index == 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
        save_checkpoint(state, tmp_path / "run", accelerator)

    (tmp_path / "run").mkdir()
    assert run_in_processes(run, log, 2) == [1, 1], log.read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_no_process_touches_files_that_another_still_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers make temporary files and rename them: whoever lists the folder meanwhile may open what is gone."""
    log, write, flush = tmp_path / "log", checkpointing._save_pretrained, checkpointing.flush_to_disk

    def write_slowly(*arguments: Any) -> None:
        time.sleep(0.3)
        write(*arguments)

    def flush_what_is_whole(folder: Path) -> None:
        assert (folder / "trainer_state.json").is_file()
        flush(folder)

    monkeypatch.setattr(checkpointing, "_save_pretrained", write_slowly)
    monkeypatch.setattr(checkpointing, "flush_to_disk", flush_what_is_whole)
    statuses = run_in_processes(lambda: save_checkpoint(make_state(), tmp_path, Accelerator(cpu=True)), log, 2)
    assert statuses == [0, 0], log.read_text()
    assert (tmp_path / "step_4" / "random_state_1.safetensors").is_file()


def test_saving_a_model_keeps_the_old_one_if_it_fails(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "best"

    def run() -> None:
        save_model(make_state().model, U2NetImageProcessorPil(), folder)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        save_model(make_state(seed=1).model, U2NetImageProcessorPil(), folder)

    assert run_in_processes(run, log) == [1], log.read_text()
    assert f"Cannot save the model in {folder}" in log.read_text()
    kept = AutoModelForImageSegmentation.from_pretrained(folder)
    assert same(kept.state_dict(), make_state().model.state_dict())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "log"]


def test_other_network_is_refused_before_anything_changes(tmp_path: Path, accelerator: Accelerator) -> None:
    folder = save_checkpoint(make_state(), tmp_path, accelerator)
    other = make_state(seed=1, encoder_stages=[["RSU-4", 2, 4], ["RSU-3", 3, 5], ["RSU-3F", 4, 7]])
    before = {name: value.clone() for name, value in other.model.state_dict().items()}
    with pytest.raises(TrainingError, match=r"holds another network: \d+ of its weights do not fit, such as"):
        load_checkpoint(other, folder, accelerator)
    assert same(other.model.state_dict(), before)


def test_other_settings_are_refused(tmp_path: Path, accelerator: Accelerator) -> None:
    folder = save_checkpoint(make_state(), tmp_path, accelerator)
    state = make_state()
    state.settings = {"seed": 4}
    with pytest.raises(TrainingError, match=r"made with seed 3 \(now 4\).*--model_name_or_path"):
        load_checkpoint(state, folder, accelerator)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "random_state_0.safetensors", "trainer_state.json"]
)
def test_damaged_files_are_errors(tmp_path: Path, accelerator: Accelerator, name: str) -> None:
    folder = save_checkpoint(make_state(), tmp_path, accelerator)
    file = folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(TrainingError, match="step_4 is no checkpoint of this training, or damaged"):
        load_checkpoint(make_state(), folder, accelerator)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, accelerator: Accelerator) -> None:
    folder, harm = save_checkpoint(make_state(), tmp_path, accelerator), tmp_path / "harm"
    torch.save({"optimizer": Malicious(harm)}, folder / "optimizer.pt")
    with pytest.raises(TrainingError, match="or damaged"):
        load_checkpoint(make_state(), folder, accelerator)
    assert not harm.exists()
    pickle.loads(pickle.dumps(Malicious(harm)))  # it would have been: the test can fail
    assert harm.exists()


def test_replacing_a_folder_is_whole(tmp_path: Path) -> None:
    for name, text in (("new", "2"), ("old", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(text)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]


def test_progress_is_readable(tmp_path: Path, accelerator: Accelerator) -> None:
    folder = save_checkpoint(make_state(), tmp_path, accelerator)
    values = json.loads((folder / "trainer_state.json").read_text())
    assert values == {"settings": {"seed": 3}, "progress": {"step": 4}}
