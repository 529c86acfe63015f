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


def run_fresh(program: str, *arguments: object, path: Sequence[str] = ()) -> CompletedProcess:
    """Run a program as `python -W error::FutureWarning -c` does; `path` comes before the path of modules."""
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        outputs = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_run, args=(program, [*map(str, arguments)], [*path], outputs))
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            process.join()
        written = [Path(output).read_text(encoding="utf-8") for output in outputs]
        return CompletedProcess(program, process.exitcode or 0, *written)


def _run(program: str, arguments: list[str], path: list[str], outputs: list[str]) -> None:
    for number, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    assert not {"transformers", "u2net_hf"} & set(sys.modules)
    warnings.simplefilter("error", FutureWarning)
    sys.argv, sys.path = ["-c", *arguments], [*path, *sys.path]
    exec(program, vars(sys.modules["__main__"]))
