"""Metrics: right and given answers in, a float from 0 to 1 (or -1 to 1) out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from core.metrics.classes import accuracy, macro_f1, matthews
from core.metrics.entities import record_em, record_f1
from core.metrics.judged import Judged, Kind
from core.metrics.questions import exact_match, f1a, gender_parity

Metric = Callable[[Judged], float]

__all__ = ["LOWEST", "METRICS", "TITLES", "Judged", "Kind", "Metric"]

METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "f1a": f1a,
    "exact_match": exact_match,
    "record_f1": record_f1,
    "record_em": record_em,
    "matthews": matthews,
    "gender_parity": gender_parity,
}
"""Metrics by the name that tasks and tables use."""

TITLES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "f1a": "F1a",
    "exact_match": "exact match",
    "record_f1": "F1",
    "record_em": "EM",
    "matthews": "Matthews correlation",
    "gender_parity": "gender parity",
    "primary": "main metric of each task",
    "official": "official score of each task",
    "joint_mean": "mean over tasks",
}
"""Names for people: of the metrics, and of the numbers that tables make of them."""

LOWEST: Mapping[str, float] = {"matthews": -1.0}
"""Lower end of a metric's range where it is not 0; the upper end is always 1."""
