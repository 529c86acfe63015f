"""Calls of the command and of the scripts, each in a forked process with limits, and what must hold for all."""

import os
import re
import resource
import runpy
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from PIL import Image

MOST_MEMORY = 2 * 2**30
STATUSES = (0, 1, 2, 130)
SCRIPTS = Path(__file__).parents[2] / "scripts"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Run:
    """What a call ended with: status (negative for a signal), output, seconds, most memory in bytes."""

    title: str
    status: int
    out: bytes
    err: str
    seconds: float
    memory: int
    limit: float

    @property
    def error_lines(self) -> list[str]:
        """What it says went wrong."""
        return [line for line in self.err.splitlines() if line.startswith("Error: ")]


def command(*arguments: object) -> Callable[[], object]:
    """A call of `u2net-hf arguments...`."""

    def call() -> None:
        from u2net_hf.cli.app import main

        sys.argv = ["u2net-hf", *map(str, arguments)]
        main()

    return call


def script(name: str, *arguments: object) -> Callable[[], object]:
    """A call of `python scripts/name arguments...`."""

    def call() -> None:
        sys.argv = [name, *map(str, arguments)]
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")

    return call


def run(title: str, call: Callable[[], object], folder: Path, stdin: Path | None = None, limit: float = 60) -> Run:
    """Make a call in a forked process, which is killed at its limit of seconds.

    Args:
        title: How the call is named in a report.
        call: What to call; it may leave by `SystemExit`.
        folder: The process's working folder, where its output is kept.
        stdin: A file for its standard input, by default an empty one.
        limit: Seconds.
    """
    begin = time.monotonic()
    out, err = folder / ".out", folder / ".err"
    if not (process := os.fork()):
        _child(call, folder, stdin, out, err)
    handle = os.pidfd_open(process)
    try:
        if not select.select([handle], [], [], limit)[0]:
            os.killpg(process, signal.SIGKILL)
        _, status, usage = os.wait4(process, 0)
    finally:
        os.close(handle)
    seconds = time.monotonic() - begin
    text = err.read_bytes().decode(errors="surrogateescape")
    memory = usage.ru_maxrss * 1024
    return Run(title, os.waitstatus_to_exitcode(status), out.read_bytes(), text, seconds, memory, limit)


def _child(call: Callable[[], object], folder: Path, stdin: Path | None, out: Path, err: Path) -> NoReturn:
    status = 1
    try:
        if torch := sys.modules.get("torch"):
            # It makes its pool of threads anew after a fork, and two threads that ask for it at once break it.
            torch.set_num_threads(torch.get_num_threads())
        os.setsid()
        os.chdir(folder)
        sys.stdout.flush()
        modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, (path, mode) in enumerate(zip((stdin or Path(os.devnull), out, err), modes, strict=True)):
            os.dup2(os.open(path, mode), number)
        # As Python sets them up under UTF-8 (the names of some files are none).
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="strict", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 2 * MOST_MEMORY  # the machine's safety; the rule is the peak measured
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        call()
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # without the parent's clean-up


def faults(run: Run, *, binary: bool = False, noise: Sequence[str] = (), free: bool = False) -> Iterator[str]:
    """What no call may do, whatever it is given.

    Args:
        run: The call.
        binary: Whether standard output is a picture.
        noise: Patterns of lines that may stand beside the errors.
        free: Whether anything may, progress bars too.
    """
    text = run.err + ("" if binary else run.out.decode(errors="surrogateescape"))
    if run.seconds >= run.limit:
        yield f"hangs ({run.seconds:.0f} s)"
    elif run.status not in STATUSES:
        yield f"ends with status {run.status}: {text[-300:]!r}"
    if "Traceback (most recent" in text or "Internal error" in text:
        yield f"shows its insides: {text[-500:]!r}"
    if run.memory > MOST_MEMORY:
        yield f"takes {run.memory / 2**30:.1f} GiB"
    if controls := CONTROLS.search(text.replace("\r", "") if free else text):
        yield f"writes the raw control {controls[0]!r}: {text[max(0, controls.start() - 100) : controls.end() + 20]!r}"
    if run.status == 1 and not run.error_lines:
        yield f"fails without a line that says why: {text[-300:]!r}"
    for line in [] if free else run.err.splitlines():
        if run.status != 2 and not line.startswith("Error: ") and not any(re.search(part, line) for part in noise):
            yield f"says more than its errors: {line[:300]!r}"
            break


def names(run: Run, path: Path) -> bool:
    """Whether an error of a run names a file."""
    from u2net_hf.utils.console import printable

    return any(printable(path.name) in line for line in run.error_lines)


def is_picture(path: Path) -> bool:
    """Whether a result is there and whole."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError):
        return False
    return True
