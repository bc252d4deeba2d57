"""Metrics of classification: label indices in, a float from 0 to 1 (or -1 to 1) out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[ArrayLike, ArrayLike, int], float]


def accuracy(labels: ArrayLike, predictions: ArrayLike, num_labels: int = 0) -> float:
    """Return the share of examples whose predicted class is the right one.

    Args:
        labels: Right classes, integers of shape (examples,).
        predictions: Predicted classes, the same shape.
        num_labels: Not used; all metrics are called the same way.

    Returns:
        A float from 0 to 1; NaN when there are no examples.

    Raises:
        ValueError: If the shapes differ.
    """
    right, predicted = _pair(labels, predictions)
    return float(np.mean(right == predicted)) if right.size else float("nan")


def macro_f1(labels: ArrayLike, predictions: ArrayLike, num_labels: int) -> float:
    """Return the unweighted mean of the F1 of every class of the task.

    A class that occurs neither among the labels nor among the predictions counts as 0, so that
    the value does not depend on which classes a small split happens to hold.

    Args:
        labels: Right classes, integers of shape (examples,).
        predictions: Predicted classes, the same shape.
        num_labels: Classes of the task, a count.

    Returns:
        A float from 0 to 1; NaN when there are no examples.

    Raises:
        ValueError: If the shapes differ or a class is outside 0..num_labels-1.
    """
    table = confusion(labels, predictions, num_labels)
    if not table.sum():
        return float("nan")
    hits = np.diag(table).astype(np.float64)
    sizes = (table.sum(axis=0) + table.sum(axis=1)).astype(np.float64)
    return float(np.mean(np.divide(2 * hits, sizes, out=np.zeros_like(hits), where=sizes > 0)))


def matthews(labels: ArrayLike, predictions: ArrayLike, num_labels: int) -> float:
    """Return Matthews' correlation for any number of classes (Gorodkin 2004, equation 8).

    Args:
        labels: Right classes, integers of shape (examples,).
        predictions: Predicted classes, the same shape.
        num_labels: Classes of the task, a count.

    Returns:
        A float from -1 to 1; 0 when labels or predictions are all one class, NaN without examples.

    Raises:
        ValueError: If the shapes differ or a class is outside 0..num_labels-1.
    """
    table = confusion(labels, predictions, num_labels).astype(np.float64)
    total = table.sum()
    if not total:
        return float("nan")
    predicted, right = table.sum(axis=0), table.sum(axis=1)
    covariance = np.trace(table) * total - predicted @ right
    spread = (total**2 - predicted @ predicted) * (total**2 - right @ right)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def confusion(labels: ArrayLike, predictions: ArrayLike, num_labels: int) -> NDArray[np.int64]:
    """Count pairs of right and predicted class.

    Returns:
        Integers of shape (num_labels, num_labels): rows are right classes, columns predicted ones.

    Raises:
        ValueError: If the shapes differ or a class is outside 0..num_labels-1.
    """
    right, predicted = _pair(labels, predictions)
    both = np.concatenate([right, predicted])
    if both.size and (both.min() < 0 or both.max() >= num_labels):
        raise ValueError(f"classes {both.min()}..{both.max()} are outside 0..{num_labels - 1}")
    flat = np.bincount(right * num_labels + predicted, minlength=num_labels * num_labels)
    return flat.reshape(num_labels, num_labels).astype(np.int64)


def _pair(labels: ArrayLike, predictions: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    right = np.asarray(labels, dtype=np.int64)
    predicted = np.asarray(predictions, dtype=np.int64)
    if right.ndim != 1 or right.shape != predicted.shape:
        raise ValueError(f"labels {right.shape} and predictions {predicted.shape} do not match")
    return right, predicted


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "matthews": matthews,
}
"""Metrics by the name that tasks and tables use."""

TITLES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "matthews": "Matthews correlation",
}
"""Metrics' names for people."""
