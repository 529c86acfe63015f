"""Run every verb over a zoo of awkward files, pictures to model folders, and say what breaks.

python tests/zoo/run.py --every 1     # everything, which takes an hour (`make zoo`)
python tests/zoo/run.py               # a part of it, which the tests run too
python tests/zoo/run.py --only remove_folders
"""

import argparse
import gc
import importlib
import os
import pkgutil
import resource
import sys
import tempfile
import time
from pathlib import Path

LIBRARIES = ("accelerate", "datasets", "gradio", "matplotlib.pyplot", "onnxruntime.quantization", "pymatting", "typer")
SLOW_PARTS = (
    "onnxruntime.transformers.float16",
    *(f"skimage.{part}" for part in ("measure", "metrics", "morphology")),
)
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]


def set_up(home: Path) -> None:
    """Keep the process from the network, from the caches of the user and from threads that a fork would break."""
    os.environ |= {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    os.environ |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_TOKEN": "", "HOME": str(home)}
    import u2net_hf

    # Once, not in each fork, where they would take most of the time.
    modules = {module.name for module in pkgutil.walk_packages(u2net_hf.__path__, "u2net_hf.")}
    for module in (modules - {"u2net_hf.__main__"}).union(LIBRARIES):
        importlib.import_module(module)
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # what is there by now: no fork shall go through it when it collects garbage


def main() -> int:
    """Draw the zoo, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=45, help="of the cases of a round, each of this number")
    parser.add_argument("--only", nargs="*", help="names of the rounds to make")
    parser.add_argument("--verbose", action="store_true", help="print what each call ended with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        set_up(Path(folder, "home"))
        from zoo_keeper import Zoo
        from zoo_rounds import ROUNDS

        (home := Path(folder, "zoo")).mkdir()
        zoo = Zoo(home, every=options.every, verbose=options.verbose)
        print(zoo.describe())
        for make_round in ROUNDS:
            if not options.only or make_round.__name__ in options.only:
                begin = time.monotonic()
                make_round(zoo)
                print(f"{make_round.__name__}: {time.monotonic() - begin:.0f} s")
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{sum(zoo.calls.values())} calls ({', '.join(f'{count} {verb}' for verb, count in zoo.calls.items())})")
        print(f"the slowest took {zoo.slowest:.0f} s, the largest {zoo.largest / 2**20:.0f} MiB")
        print(f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time, {len(zoo.found)} faults")
    return 1 if zoo.found else 0


if __name__ == "__main__":
    sys.exit(main())
