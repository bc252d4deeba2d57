"""Interval of a proportion, without scipy."""

from __future__ import annotations

import math
from typing import NamedTuple

Z95 = 1.959963984540054


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def wilson(hits: int, total: int, z: float = Z95) -> Interval:
    """Return Wilson's score interval of a proportion (Wilson 1927).

    Args:
        hits: Successes, 0 to ``total``.
        total: Trials, a count; 0 gives the whole range.
        z: Quantile of the normal distribution; the default is for 95 %.
    """
    if total == 0:
        return Interval(0.0, 1.0)
    share = hits / total
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
