"""Speed of this project beside the usual alternative: both sides in one process, in turns, medians.

    python scripts/benchmark.py metrics --masks sod/masks --maps sod/maps/DSS --output metrics.json

Each verb prints a Markdown table and, with --output, writes its rows as JSON. Times are CPU times, which other
programs on the machine disturb little, or wall times where the case says so.
"""

import contextlib
import importlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any
from unittest.mock import MagicMock

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from u2net_hf.files import write_atomically
from u2net_hf.sod_metrics import SODMetrics

Images = list[NDArray[np.uint8]]
Row = dict[str, Any]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@app.callback()
def main() -> None:
    """Keep the verb's name even while there is only one."""


@app.command()
def metrics(
    masks: Annotated[Path, typer.Option(help="Folder of ground-truth masks.")],
    maps: Annotated[Path, typer.Option(help="Folder of 8-bit maps with the names of the masks.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often each side runs over all images.")] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file for the rows.")] = None,
) -> None:
    """SODMetrics beside PySODMetrics on decoded images, one thread each, and on two processes beside one."""
    map_arrays, mask_arrays = _load_pairs(masks, maps, limit)
    count = len(map_arrays)
    without = ["max_f", "mean_f", "adaptive_f", "mae", "s_measure", "max_e", "mean_e", "adaptive_e"]
    rows = [
        _compare(
            "PySODMetrics: F, MAE, S, E",
            lambda: _pysodmetrics(map_arrays, mask_arrays, "Fmeasure MAE Smeasure Emeasure"),
            lambda: _ours(map_arrays, mask_arrays, without),
            rounds,
            count,
        ),
        _compare(
            "PySODMetrics: F, MAE, S, E, weighted F",
            lambda: _pysodmetrics(map_arrays, mask_arrays, "Fmeasure MAE Smeasure Emeasure WeightedFmeasure"),
            lambda: _ours(map_arrays, mask_arrays, [*without, "weighted_f"]),
            rounds,
            count,
        ),
        _compare(
            "reading both arrays once (sum): max F, MAE",
            lambda: [(prediction.sum(), mask.sum()) for prediction, mask in zip(map_arrays, mask_arrays, strict=True)],
            lambda: _ours(map_arrays, mask_arrays, ["max_f", "mae"]),
            rounds,
            count,
        ),
    ]
    with _two_processes(map_arrays, mask_arrays) as in_two_processes:
        name, one = "one process, all measures: two processes, wall time", lambda: _ours(map_arrays, mask_arrays, None)
        rows.append(_compare(name, one, in_two_processes, rounds, count, time.perf_counter))
    _report(rows, output)


def _load_pairs(masks: Path, maps: Path, limit: int | None) -> tuple[Images, Images]:
    files = sorted(file for file in masks.iterdir() if (maps / file.name).is_file())[:limit]
    if not files:
        raise typer.BadParameter(f"no file of {masks} has its namesake in {maps}")
    map_arrays = [np.asarray(Image.open(maps / file.name).convert("L")) for file in files]
    mask_arrays = [np.asarray(Image.open(file).convert("L")) for file in files]
    return map_arrays, mask_arrays


def _ours(maps: Images, masks: Images, measures: list[str] | None) -> dict[str, float]:
    total = SODMetrics(measures)
    for prediction, mask in zip(maps, masks, strict=True):
        total.update(prediction, mask)
    return total.compute()


def _pysodmetrics(maps: Images, masks: Images, names: str) -> list[dict[str, Any]]:
    module = _import_pysodmetrics()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each Fmeasure() announces its successor
        measures = [getattr(module, name)() for name in names.split()]
    for prediction, mask in zip(maps, masks, strict=True):
        for measure in measures:
            measure.step(prediction, mask)
    return [measure.get_results() for measure in measures]


def _import_pysodmetrics() -> ModuleType:
    """PySODMetrics without OpenCV and scikit-learn, which it imports for measures that are not compared here."""
    unused = ("cv2", "sklearn", "sklearn.neighbors", "sklearn.preprocessing")
    absent = [name for name in unused if name not in sys.modules]
    sys.modules.update((name, MagicMock()) for name in absent)
    try:
        return importlib.import_module("py_sod_metrics")
    except ImportError as error:
        raise typer.BadParameter(f"{error}; pip install --no-deps pysodmetrics") from error
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def _two_processes(maps: Images, masks: Images) -> Iterator[Callable[[], dict[str, float]]]:
    """A function that deals the images to two running processes and merges what they return."""
    global _inherited  # forked processes see the images without a copy
    _inherited = (maps, masks)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        list(pool.map(_half, (0, 1)))

        def run() -> dict[str, float]:
            total = SODMetrics()
            for part in pool.map(_half, (0, 1)):
                total.merge(part)
            return total.compute()

        if run() != _ours(maps, masks, None):
            raise RuntimeError("two processes gave other numbers than one")
        yield run


_inherited: tuple[Images, Images] = ([], [])


def _half(rank: int) -> SODMetrics:
    total = SODMetrics()
    for prediction, mask in zip(*(images[rank::2] for images in _inherited), strict=True):
        total.update(prediction, mask)
    return total


def _compare(
    name: str,
    other: Callable[[], object],
    ours: Callable[[], object],
    rounds: int,
    items: int,
    clock: Callable[[], float] = time.process_time,
) -> Row:
    """Median time per item of two functions that run in turns, and the median of the turns' ratios."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in tqdm(range(rounds), desc=name, disable=None):
        for side, function in zip(times, (other, ours), strict=True):
            start = clock()
            function()
            side.append((clock() - start) / items * 1e3)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    medians = [statistics.median(side) for side in times]
    return {"case": name, "items": items, "other_ms": medians[0], "ours_ms": medians[1], "ratio": ratio}


def _report(rows: list[Row], output: Path | None) -> None:
    print("| other: ours | items | other, ms each | ours, ms each | other / ours |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['case']} | {row['items']} | {row['other_ms']:.3f} | {row['ours_ms']:.3f} | {row['ratio']:.2f} |"
        )
    if output:
        write_atomically(output, json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    app()
