"""The measures of the salient-object papers: exact, streaming, mergeable, and as an `evaluate` module."""

from typing import TYPE_CHECKING, Any

from .accumulator import AVERAGINGS, DEFAULT_MEASURES, MEASURES, SODMetrics
from .correction_effort import hce
from .measures import (
    adaptive_e,
    adaptive_precision_recall,
    dice,
    e_curve,
    f_beta,
    iou,
    mae,
    precision_recall,
    relaxed_f,
    s_measure,
    weighted_f,
)
from .pair import Pair

if TYPE_CHECKING:
    from .sod_metrics import SODMetric

__all__ = [
    "AVERAGINGS",
    "DEFAULT_MEASURES",
    "MEASURES",
    "Pair",
    "SODMetric",
    "SODMetrics",
    "adaptive_e",
    "adaptive_precision_recall",
    "dice",
    "e_curve",
    "f_beta",
    "hce",
    "iou",
    "mae",
    "precision_recall",
    "relaxed_f",
    "s_measure",
    "weighted_f",
]


def __getattr__(name: str) -> Any:
    """Import `evaluate` only for who asks for its module."""
    if name == "SODMetric":
        from .sod_metrics import SODMetric

        return SODMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
