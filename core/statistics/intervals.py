"""Means, spreads and intervals of a few numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from core.statistics.proportion import Interval


class Summary(NamedTuple):
    """Mean and spread over runs.

    Attributes:
        mean: Arithmetic mean, NaN when n is 0.
        std: Sample standard deviation (n - 1), NaN when n is below 2.
        n: Finite values that went in, a count.
    """

    mean: float
    std: float
    n: int


def mean_std(values: Iterable[float]) -> Summary:
    """Summarise the finite values; gaps (NaN, infinity) are left out and not counted."""
    kept = [value for value in map(float, values) if math.isfinite(value)]
    if not kept:
        return Summary(math.nan, math.nan, 0)
    std = float(np.std(kept, ddof=1)) if len(kept) > 1 else math.nan
    return Summary(float(np.mean(kept)), std, len(kept))


def t_interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Return Student's interval of the mean; both ends NaN when n is below 2.

    Args:
        values: One number a run; gaps are left out.
        level: Coverage, 0 to 1.
    """
    kept = [value for value in map(float, values) if math.isfinite(value)]
    summary = mean_std(kept)
    if summary.n < 2:
        return Interval(math.nan, math.nan)
    quantile = float(special.stdtrit(summary.n - 1, 0.5 + level / 2))
    half = quantile * summary.std / math.sqrt(summary.n)
    return Interval(summary.mean - half, summary.mean + half)


class Band(NamedTuple):
    """Mean curve with a band; arrays of shape (points,).

    Attributes:
        mean: Mean over the runs that have the point.
        low: Lower end; equal to the mean where fewer than two runs have the point.
        high: Upper end, likewise.
        n: Runs that have the point.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]


def band(curves: ArrayLike) -> Band:
    """Return the mean of several curves and one standard deviation around it at each point.

    Args:
        curves: Floats of shape (runs, points), NaN where a run has no value.
    """
    table = np.asarray(curves, dtype=np.float64)
    present = np.isfinite(table)
    n = present.sum(axis=0).astype(np.int64)
    filled = np.where(present, table, 0.0)
    some = np.maximum(n, 1)
    mean = np.where(n > 0, filled.sum(axis=0) / some, np.nan)
    squares = np.where(present, (table - np.where(n > 0, mean, 0.0)) ** 2, 0.0).sum(axis=0)
    std = np.sqrt(squares / np.maximum(n - 1, 1))
    half = np.where(n > 1, std, 0.0)
    return Band(mean, mean - half, mean + half, n)
