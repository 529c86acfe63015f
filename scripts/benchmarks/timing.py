"""Time alternatives side by side: each in a process of its own, in turns A B A B, and the medians of the rounds.

What disturbs the machine then disturbs all sides alike, the peak memory is that of one side, and what a side does to
its process (threads, allocator) does not reach the others.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

Work = Callable[[], object]

PAUSE = 0.2  # seconds between two turns


class Usage(NamedTuple):
    """What a run took: seconds by the clock and of all cores, and the most memory so far in MB.

    A work that runs other processes returns it; of all others it is measured in their own process.
    """

    wall: float
    cpu: float
    peak_mb: float


@dataclass(frozen=True)
class Side:
    """One alternative.

    Args:
        name: As the table shows it.
        build: Makes the function that is timed, from `arguments`; called in the side's process.
        arguments: What `build` needs; small, since they travel to another process.
    """

    name: str
    build: Callable[..., Work]
    arguments: tuple[Any, ...] = ()


def compare(work: str, sides: Sequence[Side], rounds: int, items: int = 1, budget: float = 90) -> dict[str, Any]:
    """Run all sides in turns.

    Args:
        work: What they do.
        sides: The alternatives; the first is what the others are compared with.
        rounds: How many turns each side has, at most.
        items: How many images one run handles; the times are those of one image.
        budget: After so many seconds no round begins, except the second.

    Returns:
        `work`, `items`, `rounds`, and `sides`: for each its name, milliseconds for one item (`median_ms`, `min_ms`,
        `max_ms`, and `cpu_ms`, the median of the time of all cores), `ratio` (the first side's median over its own)
        and `peak_mb`.

    Raises:
        Exception: What a side raises.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in sides]
        for side, process in zip(tqdm(sides, desc=f"{work}: load", disable=None), processes, strict=True):
            with _nameless_main():
                _call(process, _build, side)
        turns: list[list[Usage]] = []
        end = time.monotonic() + budget
        while len(turns) < rounds and (len(turns) < 2 or time.monotonic() < end):
            turns.append([_call(process, _run) for process in processes])
    rows: list[dict[str, Any]] = []
    for side, runs in zip(sides, zip(*turns, strict=True), strict=True):
        wall, cpu = ([run[kind] / items * 1e3 for run in runs] for kind in (0, 1))
        median = statistics.median(wall)
        row = {"name": side.name, "median_ms": median, "min_ms": min(wall), "max_ms": max(wall)}
        row |= {"cpu_ms": statistics.median(cpu), "ratio": (rows[0]["median_ms"] if rows else median) / median}
        rows.append(row | {"peak_mb": runs[-1][2]})
    return {"work": work, "items": items, "rounds": len(turns), "sides": rows}


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Keep new processes from importing the script that starts them, whose imports would count as their memory."""
    main = sys.modules["__main__"]
    file = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main.__file__ = file


def _call(process: ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return process.submit(function, *arguments).result()
    except BrokenProcessPool:
        raise RuntimeError("a measured process died; it may have needed more memory than there is") from None


_work: Work
"""In the process of a side: what is timed there."""


def _build(side: Side) -> None:
    global _work
    try:
        _work = side.build(*side.arguments)
        _work()
    except Exception as error:
        raise RuntimeError(f"{side.name}: {type(error).__name__}: {error}") from None


def _run() -> Usage:
    """Run the work once, when the threads of the side before have gone to sleep: they wait awake for a while."""
    time.sleep(PAUSE)
    wall, cpu = time.perf_counter(), time.process_time()
    result = _work()
    usage = Usage(time.perf_counter() - wall, time.process_time() - cpu, peak_memory())
    return result if isinstance(result, Usage) else usage


def peak_memory() -> float:
    """The most memory that this process has held, in MB; 0 where the system does not tell."""
    status = Path("/proc/self/status")  # getrusage would count the parent in
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
