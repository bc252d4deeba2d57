"""Differences between two methods, paired by seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from core.statistics.intervals import Summary, mean_std, t_interval
from core.statistics.proportion import Interval

EXACT_LIMIT = 16
"""Pairs up to which every pattern of signs is tried; above, ``NUM_DRAWS`` are drawn."""

NUM_DRAWS = 100_000
LEAST_PAIRS = 2
Seed = TypeVar("Seed", bound=Hashable)


class PairedDifference(NamedTuple):
    """Difference of two methods over the seeds that both have.

    Attributes:
        difference: Mean and spread of ``first - second`` over the pairs.
        interval: 95 % interval of the mean (Student), NaN below two pairs.
        p: Two-sided p of the sign-flip test, NaN below two pairs.
        sentence: What this number of pairs can show.
    """

    difference: Summary
    interval: Interval
    p: float
    sentence: str


def paired_difference(
    first: Mapping[Seed, float], second: Mapping[Seed, float]
) -> PairedDifference:
    """Compare two methods on the seeds that both have.

    Args:
        first: Value of each seed; gaps are left out.
        second: The same for the other method.
    """
    shared = [seed for seed in first if seed in second]
    differences = [first[seed] - second[seed] for seed in shared]
    kept = [value for value in differences if math.isfinite(value)]
    p = sign_flip_p(kept) if len(kept) >= LEAST_PAIRS else math.nan
    return PairedDifference(mean_std(kept), t_interval(kept), p, what_n_can_show(len(kept)))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of the sign-flip (permutation) test of a zero mean.

    If the two methods were exchangeable, every sign of every difference would be equally likely.
    Exact up to ``EXACT_LIMIT`` differences; above, a fixed set of random patterns, the observed
    one among them.

    Args:
        differences: One finite number a pair.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not values.size:
        return math.nan
    observed = abs(values.sum())
    slack = 1e-12 * max(1.0, float(np.abs(values).sum()))
    if values.size <= EXACT_LIMIT:
        # The first sign can stay fixed: the other half of the patterns mirrors this one.
        patterns = np.array(list(itertools.product((1.0, -1.0), repeat=values.size - 1)))
        sums = np.abs(values[0] + patterns @ values[1:])
        return float(np.mean(sums >= observed - slack))
    signs = np.random.default_rng(0).choice((1.0, -1.0), size=(NUM_DRAWS, values.size))
    hits = int((np.abs(signs @ values) >= observed - slack).sum())
    return (hits + 1) / (NUM_DRAWS + 1)


def smallest_p(n: int) -> float:
    """Return the smallest p that an exact two-sided sign-flip test of n pairs can give."""
    return 2.0 ** (1 - n) if n > 0 else 1.0


def what_n_can_show(n: int, level: float = 0.05) -> str:
    """Say what n pairs can and cannot show, for people."""
    if n == 0:
        return "No seed is shared by both, so nothing can be tested."
    if n < LEAST_PAIRS:
        return "With one pair nothing can be tested."
    needed = next(k for k in itertools.count(1) if smallest_p(k) < level)
    floor = f"{smallest_p(n):.2g}"
    if n < needed:
        return (
            f"With n = {n} an exact paired sign-flip test cannot go below p = {floor}; "
            f"n = {needed} seeds are needed for p < {level:g}."
        )
    return f"With n = {n} an exact paired sign-flip test can go down to p = {floor}."


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p values for the number of comparisons (Holm 1979); NaN stays NaN and is not counted.

    Args:
        ps: One p value a comparison.
    """
    order = sorted((p, place) for place, p in enumerate(ps) if math.isfinite(p))
    corrected = [math.nan] * len(ps)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[place] = highest
    return corrected
