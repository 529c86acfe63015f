"""The state of a long work on a terminal and in a log file."""

import io

import pytest

from u2net_hf.utils import progress
from u2net_hf.utils.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, seconds_a_step: float, **kwargs: bool) -> str:
    """What 100 steps write."""
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(total=100, unit="image", mininterval=0, **kwargs) as bar:
        for _ in range(100):
            now[0] += seconds_a_step
            bar.update()
    return stream.getvalue()


def test_a_log_file_gets_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(monkeypatch, io.StringIO(), 1.0).splitlines()
    assert [line.split("|")[-1].split()[0] for line in lines] == ["30/100", "60/100", "90/100"]
    assert not any("\r" in line for line in lines)


def test_short_work_leaves_a_log_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(monkeypatch, io.StringIO(), 0.1) == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(monkeypatch, Terminal(), 0.0).count("\r") > 10


def test_processes_but_the_main_one_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(monkeypatch, Terminal(), 1.0, hidden=True) == ""
