"""Programs in processes in which neither transformers nor this package has been imported.

An interpreter of its own would take most of its time for what transformers imports, which makes no difference here: a
server imports it once, and the processes fork from it.
"""

import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["torch", "torch._dynamo", "torch.distributed.tensor", "accelerate", "scipy.optimize", "sympy", "pandas"]
)


def run_fresh(program: str, *arguments: object, path: Sequence[str] = (), stdin: bytes = b"") -> CompletedProcess[str]:
    """Run a program as `python -W error::FutureWarning -c` does; `path` comes before the path of modules."""
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        Path(folder, "stdin").write_bytes(stdin)
        process = FORKS.Process(target=_run, args=(program, [*map(str, arguments)], [*path], folder))
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            process.join()
        written = [Path(folder, name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        return CompletedProcess(program, process.exitcode or 0, *written)


def _run(program: str, arguments: list[str], path: list[str], folder: str) -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(Path(folder, name), os.O_RDWR | os.O_CREAT), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, "w" if number else "r", closefd=False) for number in range(3)
    )
    assert not {"transformers", "u2net_hf"} & set(sys.modules)
    warnings.simplefilter("error", FutureWarning)
    sys.argv, sys.path = ["-c", *arguments], [*path, *sys.path]
    exec(program, vars(sys.modules["__main__"]))
