"""Tests of u2net_hf.utils.process: the shares of all processes together are the whole, each item once."""

import pytest
import torch

from u2net_hf.engines.torch_engine import usable_device
from u2net_hf.utils.process import ProcessShare, usable_cores


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shares_are_disjoint_complete_and_even(count: int) -> None:
    items = list(range(17))
    shares = [ProcessShare(rank, count).of(items) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(share == sorted(share) for share in shares)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ProcessShare.from_environment() == ProcessShare(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert ProcessShare.from_environment() == ProcessShare(2, 4)


@pytest.mark.parametrize(("rank", "count"), [("4", "4"), ("-1", "2"), ("0", "0"), ("a", "2"), ("1", "")])
def test_wrong_environment(monkeypatch: pytest.MonkeyPatch, rank: str, count: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(ValueError, match=r"RANK=.*WORLD_SIZE="):
        ProcessShare.from_environment()


def test_one_process_waits_for_nobody() -> None:
    ProcessShare(0, 1).wait_for_the_others()


def test_processes_started_by_hand_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    ProcessShare(0, 2).wait_for_the_others()


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
