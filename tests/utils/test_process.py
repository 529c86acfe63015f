"""Tests of u2net_hf.utils.process: cores and accelerators of processes that share a machine."""

import pytest
import torch

from u2net_hf.engines.torch_engine import usable_device
from u2net_hf.utils.process import refuse_ranks, usable_cores


def test_one_process_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    refuse_ranks("remove")
    monkeypatch.setenv("WORLD_SIZE", "1")
    refuse_ranks("remove")


def test_cores_are_divided_among_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = usable_cores()
    assert alone >= 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert usable_cores() == max(1, alone // 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
    assert usable_cores() == 1


def test_each_process_of_a_machine_has_its_own_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert usable_device(None) == torch.device("cuda")
    for local_rank, index in ((0, 0), (1, 1), (2, 0)):
        monkeypatch.setenv("LOCAL_RANK", str(local_rank))
        assert usable_device(None) == torch.device("cuda", index)
    assert usable_device("cpu") == torch.device("cpu")
