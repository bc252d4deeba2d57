"""Warnings about a finished run; a flag is shown beside the number and never removes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.metrics.judged import Judged
from core.statistics.proportion import wilson

COLLAPSED_SHARE = 0.98
UNFITTED_MARGIN = 0.02

FLAGS = {
    "collapsed": "At least 98 % of the dev predictions are one class or one position.",
    "unfitted": "The train loss is no better than guessing by the shares of the labels.",
    "at chance": "The 95 % interval of dev accuracy contains what guessing would give.",
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
    dev_right: Sequence[tuple[int, ...]] = (),
    chance: float = math.nan,
    lowest: float = 0.0,
) -> tuple[str, ...]:
    """Tell what is suspicious about a run; what is not known raises no flag.

    Args:
        dev_predictions: Predicted classes or choices on dev at the selected checkpoint, shape
            (examples,); empty after training on all of train.
        dev_labels: Right ones, the same shape.
        num_labels: Classes of the task, a count; 0 where choices vary in number: there no position
            means anything and nothing can be collapsed.
        train_losses_tail: Mean train loss over the last updates, in nats; NaN when unknown.
        label_entropy: What guessing costs, in nats: ``label_entropy`` or ``guessing_loss``.
        dev_curve: Values of the selecting metric at each evaluation, in order; NaN for a gap.
        dev_right: All right choices of each dev example where several may be right.
        chance: Accuracy of guessing on dev, 0 to 1; NaN: the share of the most frequent label.
        lowest: Lower end of the selecting metric's range, see ``core.metrics.LOWEST``.

    Returns:
        Names out of ``FLAGS``, in its order.
    """
    predictions = np.asarray(dev_predictions, dtype=np.int64)
    labels = np.asarray(dev_labels, dtype=np.int64)
    hits = Judged(labels, predictions, num_labels, right=dev_right).hits
    if not math.isfinite(chance) and num_labels and labels.size:
        chance = float(np.bincount(labels).max() / labels.size)
    found = {
        "collapsed": _is_collapsed(predictions, num_labels),
        "unfitted": bool(train_losses_tail >= label_entropy - UNFITTED_MARGIN),
        "at chance": _is_at_chance(hits, chance, num_labels),
        "still rising": _is_still_rising(dev_curve, labels.size, lowest),
    }
    return tuple(name for name in FLAGS if found[name])


def label_entropy(labels: ArrayLike) -> float:
    """Return the entropy of the labels' shares in nats, 0 when there are none."""
    counts = np.unique(np.asarray(labels, dtype=np.int64), return_counts=True)[1]
    if not counts.size:
        return 0.0
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def guessing_loss(num_right: ArrayLike, num_choices: ArrayLike) -> float:
    """Return the mean loss of choosing evenly, in nats, 0 when there are no examples.

    Args:
        num_right: Right choices of each example, counts of at least 1, shape (examples,).
        num_choices: All choices of each example, the same shape.
    """
    shares = np.asarray(num_right, dtype=np.float64) / np.asarray(num_choices, dtype=np.float64)
    return float(-np.log(shares).mean()) if shares.size else 0.0


def _is_collapsed(predictions: NDArray[np.int64], num_labels: int) -> bool:
    if not predictions.size or num_labels < 2:
        return False
    return bool(np.bincount(predictions).max() >= COLLAPSED_SHARE * predictions.size)


def _is_at_chance(hits: NDArray[np.bool_], chance: float, num_labels: int) -> bool:
    if not hits.size or num_labels == 1:
        return False
    low, high = wilson(int(hits.sum()), hits.size)
    return low <= chance <= high


def _is_still_rising(curve: Sequence[float], num_examples: int, lowest: float) -> bool:
    """Tell whether the last value is the best by more than one example's noise.

    Clearly above means: more than one standard error of a proportion above the value a quarter
    of the evaluations before. A metric with another range is first brought to 0 to 1.
    """
    values = (np.asarray(curve, dtype=np.float64) - lowest) / (1 - lowest)
    if values.size < 4 or not np.isfinite(values[-1]) or num_examples == 0:
        return False
    before = values[-1 - max(1, values.size // 4)]
    is_best = values[-1] >= np.nanmax(values)
    share = float(np.clip(values[-1], 0.0, 1.0))
    margin = max(float(np.sqrt(share * (1 - share) / num_examples)), 1.0 / num_examples)
    return bool(is_best and values[-1] > before + margin)
