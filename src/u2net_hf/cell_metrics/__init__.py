"""The measures of cells, objects and membranes: exact, streaming, mergeable, and as an `evaluate` module."""

from typing import TYPE_CHECKING, Any

from .accumulator import AVERAGINGS, MEMBRANE_MEASURES, OBJECT_MEASURES, CellMetrics
from .measures import (
    IOU_THRESHOLDS,
    Ratio,
    absolute_count_error,
    aji,
    ap,
    count_error,
    f1,
    pq,
    precision,
    recall,
    relative_count_error,
    seg,
    sq,
)
from .membranes import (
    pixel_error,
    pixel_f,
    v_info,
    v_info_thinned,
    v_rand,
    v_rand_thinned,
    warping_error,
)
from .pair import THRESHOLDS, LabelPair
from .warping import warp

if TYPE_CHECKING:
    from .cell_metrics import CellMetric

__all__ = [
    "AVERAGINGS",
    "IOU_THRESHOLDS",
    "MEMBRANE_MEASURES",
    "OBJECT_MEASURES",
    "THRESHOLDS",
    "CellMetric",
    "CellMetrics",
    "LabelPair",
    "Ratio",
    "absolute_count_error",
    "aji",
    "ap",
    "count_error",
    "f1",
    "pixel_error",
    "pixel_f",
    "pq",
    "precision",
    "recall",
    "relative_count_error",
    "seg",
    "sq",
    "v_info",
    "v_info_thinned",
    "v_rand",
    "v_rand_thinned",
    "warp",
    "warping_error",
]


def __getattr__(name: str) -> Any:
    """Import `evaluate` only for who asks for its module."""
    if name == "CellMetric":
        from .cell_metrics import CellMetric

        return CellMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
