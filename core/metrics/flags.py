"""Warnings about a finished run; a flag is shown beside the number and never removes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.statistics.proportion import wilson

COLLAPSED_SHARE = 0.98
UNFITTED_MARGIN = 0.02

FLAGS = {
    "collapsed": "At least 98 % of the dev predictions are one class.",
    "unfitted": "The train loss is no better than guessing by the shares of the labels.",
    "at chance": "The 95 % interval of dev accuracy contains the share of the most frequent label.",
    "still rising": "The best dev value is the last one: more updates may help.",
}
"""Flags with what they mean, in the order in which they are shown."""


def run_flags(
    *,
    dev_predictions: ArrayLike,
    dev_labels: ArrayLike,
    num_labels: int,
    train_losses_tail: float,
    label_entropy: float,
    dev_curve: Sequence[float],
) -> tuple[str, ...]:
    """Tell what is suspicious about a run.

    Args:
        dev_predictions: Predicted classes on dev at the selected checkpoint, shape (examples,).
        dev_labels: Right classes, the same shape.
        num_labels: Classes of the task, a count.
        train_losses_tail: Mean train loss over the last updates, in nats; NaN when unknown.
        label_entropy: Entropy of the train labels, in nats.
        dev_curve: Values of the selecting metric at each evaluation, 0 to 1, in order.

    Returns:
        Names out of ``FLAGS``, in its order.
    """
    predictions = np.asarray(dev_predictions, dtype=np.int64)
    labels = np.asarray(dev_labels, dtype=np.int64)
    found = {
        "collapsed": _is_collapsed(predictions, num_labels),
        "unfitted": bool(train_losses_tail >= label_entropy - UNFITTED_MARGIN),
        "at chance": _is_at_chance(predictions, labels, num_labels),
        "still rising": _is_still_rising(dev_curve, labels.size),
    }
    return tuple(name for name in FLAGS if found[name])


def label_entropy(labels: ArrayLike) -> float:
    """Return the entropy of the labels' shares in nats, 0 when there are none."""
    counts = np.unique(np.asarray(labels, dtype=np.int64), return_counts=True)[1]
    if not counts.size:
        return 0.0
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _is_collapsed(predictions: NDArray[np.int64], num_labels: int) -> bool:
    if not predictions.size or num_labels < 2:
        return False
    return bool(np.bincount(predictions).max() >= COLLAPSED_SHARE * predictions.size)


def _is_at_chance(
    predictions: NDArray[np.int64], labels: NDArray[np.int64], num_labels: int
) -> bool:
    if not labels.size or num_labels < 2:
        return False
    majority = float(np.bincount(labels).max() / labels.size)
    low, high = wilson(int((predictions == labels).sum()), labels.size)
    return low <= majority <= high


def _is_still_rising(curve: Sequence[float], num_examples: int) -> bool:
    """Tell whether the last value is the best by more than one example's noise.

    Clearly above means: more than one standard error of a proportion above the value a quarter
    of the evaluations before.
    """
    values = np.asarray(curve, dtype=np.float64)
    if values.size < 4 or not np.isfinite(values[-1]) or num_examples == 0:
        return False
    before = values[-1 - max(1, values.size // 4)]
    is_best = values[-1] >= np.nanmax(values)
    share = float(np.clip(values[-1], 0.0, 1.0))
    margin = max(float(np.sqrt(share * (1 - share) / num_examples)), 1.0 / num_examples)
    return bool(is_best and values[-1] > before + margin)
