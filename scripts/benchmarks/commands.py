"""Other processes as sides of a comparison: whole commands, and servers that have their model loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .timing import Usage, Work

# A small interpreter starts a command: of a process the system counts as its memory what its parent had at the start.
LAUNCH = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""
# Sent to `python -c` behind the code that defines `work(source, target)`: run it once for each line of paths.
SERVE = """
import json, sys, time
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    work(*json.loads(line))
    usage = [time.perf_counter() - wall, time.process_time() - cpu]
    status = open("/proc/self/status").read() if sys.platform == "linux" else ""
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024 if status else 0
    print(json.dumps([*usage, peak]), flush=True)
"""


def build_command(command: list[str], variables: dict[str, str], results: Path | None = None) -> Work:
    """A command that is run to its end.

    Args:
        command: The command and its arguments.
        variables: For its environment.
        results: The folder that it writes into. It is deleted before each run: commands pass over what exists.

    Raises:
        RuntimeError: When it is run and fails; the message holds the end of what it said.
    """

    def work() -> Usage:
        if results is not None:
            shutil.rmtree(results, ignore_errors=True)
        launch = [sys.executable, "-c", LAUNCH, *command]
        launched = subprocess.run(launch, capture_output=True, text=True, env=os.environ | variables)
        if launched.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {launched.stderr[-500:]}")
        return Usage(*json.loads(launched.stdout))

    return work


def build_server(
    python: str, code: str, arguments: list[str], variables: dict[str, str], source: Path, target: Path
) -> Work:
    """A process of another interpreter that has its model loaded, and does one photo each time.

    Args:
        python: The interpreter.
        code: Defines `work(source, target)`; `sys.argv[1:]` are the arguments.
        arguments: For the code.
        variables: For its environment.
        source: The photo.
        target: Where its result goes.
    """
    server = subprocess.Popen(
        [python, "-c", code + SERVE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )

    def work() -> Usage:
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps([str(source), str(target)]), file=server.stdin, flush=True)
        return Usage(*json.loads(server.stdout.readline()))

    return work
