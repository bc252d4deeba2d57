"""Metrics that count right and wrong classes or choices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.metrics.judged import Judged

NAN = float("nan")


def accuracy(judged: Judged) -> float:
    """Return the share of examples that got a right answer, NaN when there are none."""
    return float(np.mean(judged.hits)) if judged.labels.size else NAN


def macro_f1(judged: Judged) -> float:
    """Return the unweighted mean of the F1 of every class of the task, NaN without examples.

    A class that occurs neither among the labels nor among the predictions counts as 0, so that
    the value does not depend on which classes a small split happens to hold.
    """
    table = confusion(judged)
    if not table.sum():
        return NAN
    hits = np.diag(table).astype(np.float64)
    sizes = (table.sum(axis=0) + table.sum(axis=1)).astype(np.float64)
    return float(np.mean(np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0)))


def matthews(judged: Judged) -> float:
    """Return Matthews' correlation for any number of classes (Gorodkin 2004, equation 8).

    Returns:
        A float from -1 to 1; 0 when labels or predictions are all one class, NaN without examples.
    """
    table = confusion(judged).astype(np.float64)
    total = table.sum()
    if not total:
        return NAN
    predicted, right = table.sum(axis=0), table.sum(axis=1)
    covariance = np.trace(table) * total - predicted @ right
    spread = (total**2 - predicted @ predicted) * (total**2 - right @ right)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def confusion(judged: Judged) -> NDArray[np.int64]:
    """Count pairs of right and predicted class.

    Returns:
        Integers of shape (num_labels, num_labels): rows are right classes, columns predicted ones.
    """
    size = judged.num_labels
    flat = np.bincount(judged.labels * size + judged.predictions, minlength=size * size)
    return flat.reshape(size, size).astype(np.int64)
