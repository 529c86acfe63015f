"""Results files: what was measured, on which data, in which variant, with which versions; and tables of them."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.files import write_atomically

if TYPE_CHECKING:
    from ..sod_metrics import SODMetrics

# Of maps in the order of the table in the U²-Net paper, then the others; of cells. The arrow says what is better.
MEASURES = {
    "max_f": "max F-beta ↑",
    "mae": "MAE ↓",
    "weighted_f": "weighted F ↑",
    "s_measure": "S-measure ↑",
    "relaxed_f": "relaxed boundary F ↑",
    "mean_f": "mean F-beta ↑",
    "adaptive_f": "adaptive F-beta ↑",
    "max_e": "max E-measure ↑",
    "mean_e": "mean E-measure ↑",
    "adaptive_e": "adaptive E-measure ↑",
    "iou": "IoU ↑",
    "dice": "Dice ↑",
    "hce": "HCE ↓",
    "ap50": "AP at an IoU of 0.5 ↑",
    "mean_ap": "mean AP at IoUs of 0.5 to 0.95 ↑",
    "f1": "F1 at an IoU of 0.5 ↑",
    "pq": "panoptic quality ↑",
    "aji": "aggregated Jaccard index ↑",
    "relative_count_error": "count error, of the true number ↓",
}
CURVES = ("precision", "recall", "f")
SALIENCY = "Salient object detection"


@dataclass(frozen=True)
class Score:
    """What was measured on one corpus: an entry of `data` in results.json.

    Attributes:
        name: The corpus as the user named it.
        split: Its split, if it has several.
        images: Number of images scored.
        metrics: Measures by name, see [`SODMetrics`] and [`CellMetrics`].
        variant: All that changes the numbers: averaging, and how the maps were made.
        curves: Of maps `precision`, `recall` and `f`, each for 256 thresholds.
    """

    name: str
    split: str | None
    images: int
    metrics: Mapping[str, float]
    variant: Mapping[str, Any]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def variant_text(self) -> str:
        """The variant in a line, such as "averaging=dataset, do_antialias=True"."""
        return ", ".join(f"{name}={value}" for name, value in self.variant.items())

    @property
    def title(self) -> str:
        """Name of the corpus, with its split if it has several."""
        return f"{self.name} ({self.split})" if self.split else self.name


@dataclass(frozen=True)
class Results:
    """The content of results.json.

    Attributes:
        model: The model, or the folder of maps, as the user named it.
        num_parameters: Parameters of the model; `None` for a folder of maps.
        data: A score for each corpus.
        date: When it was measured (UTC).
        versions: Of the packages that have a part in the numbers.
        processes: How many took part.
        seconds: How long it took.
        task: What the model does, as the Hub shows it.
    """

    model: str
    num_parameters: int | None
    data: Sequence[Score]
    date: str
    versions: Mapping[str, str]
    processes: int
    seconds: float
    task: str = SALIENCY


def corpus_name(spec: str) -> str:
    """A corpus without the path to it, so that results are the same wherever it lies: "SOD", "nobg/DUTS"."""
    return Path(spec).resolve().name if Path(spec).exists() else spec


def make_score(name: str, split: str | None, metrics: SODMetrics, averaging: str, variant: Mapping[str, Any]) -> Score:
    """Make the entry of a corpus in results.json from the accumulator of its images."""
    values = metrics.compute(averaging, return_curves=True)
    curves = {curve: values.pop(curve) for curve in CURVES}
    return Score(name, split, metrics.count, values, {"averaging": averaging, **variant}, curves)


def make_results(
    model: str,
    num_parameters: int | None,
    data: Sequence[Score],
    processes: int,
    seconds: float,
    task: str = SALIENCY,
) -> Results:
    """Make the content of results.json, with today's date and the versions of this environment."""
    packages = ("u2net_hf", "torch", "transformers", "numpy", "pillow", "scipy", "scikit-image")
    versions = {package: version(package) for package in packages} | {"python": platform.python_version()}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(model, num_parameters, data, date, versions, processes, round(seconds, 1), task)


def write_results(results: Results, path: Path) -> None:
    """Write results.json, whole or not at all."""
    write_atomically(path, json.dumps(asdict(results), indent=2) + "\n")


def read_results(path: str | Path) -> Results:
    """Read results.json, or the one in a folder.

    Raises:
        ValueError: If it is missing or has another form; the message names it.
    """
    file = Path(path, "results.json") if Path(path).is_dir() else Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Results(**content | {"data": [Score(**entry) for entry in content["data"]]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{file} is no results file as `u2net-hf evaluate-sod` or `evaluate-cells` writes it ({reason})"
        ) from error


def results_table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table that fits a page: a row for each measure, a column for each corpus."""
    names = [name for name in MEASURES if any(name in score.metrics for score in scores)]
    rows = [["measure", *(f"{score.title}, {score.images:,} images" for score in scores)]]
    rows.append(["---"] * len(rows[0]))
    for name in names:
        digits = 1 if name == "hce" else 3  # clicks, where all others are at most 1
        numbers = [f"{score.metrics[name]:.{digits}f}" if name in score.metrics else "–" for score in scores]
        rows.append([MEASURES[name], *numbers])
    rows.append(["variant", *(score.variant_text for score in scores)])
    return "\n".join(f"| {' | '.join(one_line(cell) for cell in row)} |" for row in rows)


def one_line(text: str) -> str:
    """A text, which may hold anything, as it may stand in a table."""
    return " ".join(text.replace("|", "/").split())
