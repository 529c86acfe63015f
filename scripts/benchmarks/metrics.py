"""The measures of salient object detection on decoded images, beside PySODMetrics."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any
from unittest.mock import MagicMock

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from u2net_hf.sod_metrics import DEFAULT_MEASURES, SODMetrics

from .options import PAGE, Output, Rounds
from .report import save
from .timing import Side, Work, compare

Images = list[NDArray[np.uint8]]
Pairs = list[tuple[Path, Path]]

WITHOUT_WEIGHTED_F = ["max_f", "mean_f", "adaptive_f", "mae", "s_measure", "max_e", "mean_e", "adaptive_e"]
THEIR_CLASSES = ["Fmeasure", "MAE", "Smeasure", "Emeasure"]


def run(
    masks: Annotated[Path, typer.Option(help="Folder of ground-truth masks.")],
    maps: Annotated[Path, typer.Option(help="Folder of 8-bit maps with the names of the masks.")],
    rounds: Rounds = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images.")] = None,
    output: Output = PAGE,
) -> None:
    """SODMetrics beside PySODMetrics."""
    try:
        pairs = find_pairs(masks, maps, limit)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    cases = {
        "F, MAE, S and E": [
            Side("PySODMetrics", build_pysodmetrics, (pairs, THEIR_CLASSES)),
            Side("SODMetrics", build_ours, (pairs, WITHOUT_WEIGHTED_F)),
        ],
        "F, MAE, S, E and weighted F": [
            Side("PySODMetrics", build_pysodmetrics, (pairs, [*THEIR_CLASSES, "WeightedFmeasure"])),
            Side("SODMetrics", build_ours, (pairs, [*WITHOUT_WEIGHTED_F, "weighted_f"])),
        ],
        "max F and MAE": [
            Side("reading both arrays once (sum)", build_sum, (pairs,)),
            Side("SODMetrics", build_ours, (pairs, ["max_f", "mae"])),
        ],
        "all measures but HCE": [
            Side("one process", build_ours, (pairs, DEFAULT_MEASURES)),
            Side("two processes", build_two_processes, (pairs,)),
        ],
    }
    rows = [compare(work, sides, rounds, len(pairs)) for work, sides in cases.items()]
    note = f"{len(pairs)} pairs, decoded beforehand; one thread each. CPU leaves child processes out."
    save(output, "metrics", "The metrics", rows, [note])


def find_pairs(masks: Path, maps: Path, limit: int | None) -> Pairs:
    """Files of maps and masks of the same name.

    Raises:
        ValueError: If there are none.
    """
    pairs = [(maps / file.name, file) for file in sorted(masks.iterdir()) if (maps / file.name).is_file()][:limit]
    if not pairs:
        raise ValueError(f"no file of {masks} has its namesake in {maps}")
    return pairs


def _decode(pairs: Pairs) -> tuple[Images, Images]:
    maps, masks = zip(*[[np.asarray(Image.open(file).convert("L")) for file in pair] for pair in pairs], strict=True)
    return list(maps), list(masks)


def build_ours(pairs: Pairs, measures: Sequence[str]) -> Work:
    """Ours, on one thread."""
    maps, masks = _decode(pairs)
    return lambda: _compute(maps, masks, measures).compute()


def _compute(maps: Images, masks: Images, measures: Sequence[str]) -> SODMetrics:
    total = SODMetrics(measures)
    for prediction, mask in zip(maps, masks, strict=True):
        total.update(prediction, mask)
    return total


def build_pysodmetrics(pairs: Pairs, classes: Sequence[str]) -> Work:
    """PySODMetrics, which has one class for each measure."""
    maps, masks = _decode(pairs)
    module = import_pysodmetrics()

    def compute() -> list[dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each Fmeasure() announces its successor
            measures = [getattr(module, name)() for name in classes]
        for prediction, mask in zip(maps, masks, strict=True):
            for measure in measures:
                measure.step(prediction, mask)
        return [measure.get_results() for measure in measures]

    return compute


def import_pysodmetrics() -> ModuleType:
    """PySODMetrics without OpenCV and scikit-learn, which it imports for measures that are not compared here."""
    unused = ("cv2", "sklearn", "sklearn.neighbors", "sklearn.preprocessing")
    absent = [name for name in unused if name not in sys.modules]
    sys.modules.update((name, MagicMock()) for name in absent)
    try:
        return importlib.import_module("py_sod_metrics")
    except ImportError as error:
        raise ImportError(f"{error}; pip install --no-deps pysodmetrics") from error
    finally:
        for name in absent:
            del sys.modules[name]


def build_sum(pairs: Pairs) -> Work:
    """The least that a measure can do: read both images."""
    maps, masks = _decode(pairs)
    return lambda: [(prediction.sum(), mask.sum()) for prediction, mask in zip(maps, masks, strict=True)]


def build_two_processes(pairs: Pairs) -> Work:
    """Ours, dealt to two running processes and merged."""
    global _inherited  # forked processes see the images without a copy
    _inherited = _decode(pairs)
    pool = get_context("fork").Pool(2)  # its processes end with this one

    def compute() -> dict[str, float]:
        total = SODMetrics(DEFAULT_MEASURES)
        for part in pool.map(_half, (0, 1)):
            total.merge(part)
        return total.compute()

    if compute() != _compute(*_inherited, DEFAULT_MEASURES).compute():
        raise RuntimeError("two processes gave other numbers than one")
    return compute


_inherited: tuple[Images, Images] = ([], [])


def _half(rank: int) -> SODMetrics:
    maps, masks = (images[rank::2] for images in _inherited)
    return _compute(maps, masks, DEFAULT_MEASURES)
