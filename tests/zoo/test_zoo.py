"""A part of the zoo in every run of the tests, and the checks themselves: each must see what it is there for."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from zoo_damage import draw_damage
from zoo_pictures import draw_pictures
from zoo_runs import faults, run

RUN = Path(__file__).with_name("run.py")


def test_a_part_of_the_zoo() -> None:
    """Every verb, over a share of the files; `make zoo` takes all."""
    done = subprocess.run([sys.executable, str(RUN)], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_zoo_is_large() -> None:
    names = [name for name, _ in (*draw_pictures(), *draw_damage())]
    assert len(names) == len({*names}) >= 300


def _trace() -> None:
    raise KeyError("x")


def _escape() -> None:
    print("Error: \x1b[31mred", file=sys.stderr)
    sys.exit(1)


def _fill() -> None:
    _ = b"x" * (2 * 2**30 + 2**20)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (_trace, "shows its insides"),
        (lambda: time.sleep(60), "hangs"),
        (_fill, "takes "),
        (_escape, "raw control"),
        (lambda: sys.exit(1), "without a line that says why"),
        (lambda: sys.exit(3), "ends with status 3"),
        (lambda: os.kill(os.getpid(), 11), "ends with status -11"),
        (lambda: print("Loading: 100%", file=sys.stderr), "more than its errors"),
    ],
)
def test_each_fault_is_seen(call: Callable[[], object], fault: str, tmp_path: Path) -> None:
    found = [*faults(run("a call", call, tmp_path, limit=1 if fault == "hangs" else 30))]
    assert any(fault in one for one in found), found


def test_what_is_right_has_no_faults(tmp_path: Path) -> None:
    def say_why() -> None:
        print("Error: \\x1b[31m.png is not an image", file=sys.stderr)
        sys.exit(1)

    found = faults(run("a call", say_why, tmp_path, limit=30))
    # A fork has the memory of this process too, which has run other tests.
    assert [fault for fault in found if not fault.startswith("takes ")] == []
