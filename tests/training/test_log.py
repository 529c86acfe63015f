"""Tests of u2net_hf.training.log."""

from pathlib import Path

import pytest
from accelerate import Accelerator

from u2net_hf.training.log import TrainingLog


@pytest.fixture
def log(tmp_path: Path) -> TrainingLog:
    log = TrainingLog(tmp_path / "log.jsonl", Accelerator(cpu=True))
    for step in (2, 4, 6):
        log.write(step, {"loss": 0.1 * step})
    return log


def test_cut_and_continued_log_has_no_duplicates(log: TrainingLog) -> None:
    whole = log.path.read_bytes()
    log.cut(4)
    assert [line["step"] for line in log.read()] == [2, 4]
    log.write(6, {"loss": 0.1 * 6})
    assert log.path.read_bytes() == whole


def test_line_that_was_cut_short_is_dropped(log: TrainingLog) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-5])
    assert [line["step"] for line in log.read()] == [2, 4]
    log.cut(6)
    log.write(6, {"loss": 0.1 * 6})
    assert log.path.read_bytes() == whole


def test_no_log_yet(tmp_path: Path) -> None:
    assert TrainingLog(tmp_path / "none.jsonl", Accelerator(cpu=True)).read() == []
