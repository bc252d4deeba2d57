"""Points of a scalar as arrays: packing, the min/max pyramid, and summaries. No database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK_POINTS = 512
MAX_BUCKETS = 1024

Steps = NDArray[np.int32]
Values = NDArray[np.float64]


def pack_steps(steps: Steps) -> bytes:
    """Write as int32, little endian."""
    return steps.astype("<i4").tobytes()


def pack_values(values: Values) -> bytes:
    """Write as float64, little endian."""
    return values.astype("<f8").tobytes()


def unpack_steps(blob: bytes) -> Steps:
    """Read int32, little endian."""
    return np.frombuffer(blob, dtype="<i4").astype(np.int32)


def unpack_values(blob: bytes) -> Values:
    """Read float64, little endian."""
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)


def as_points(pairs: list[tuple[int, float]], after: int) -> tuple[Steps, Values]:
    """Turn pairs into arrays; steps that do not rise above ``after`` and each other are dropped."""
    kept: list[tuple[int, float]] = []
    last = after
    for step, value in pairs:
        if step > last:
            kept.append((step, value))
            last = step
    steps = np.array([step for step, _ in kept], dtype=np.int32)
    values = np.array([value for _, value in kept], dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return steps, values


@dataclass(frozen=True)
class Buckets:
    """Smallest and largest point of each run of ``2**level`` points; NaN where all were gaps.

    Attributes:
        level: Binary logarithm of the points a bucket stands for.
        count: Points folded in; the last bucket may stand for fewer than the others.
        low_steps, low_values: Smallest point of each bucket.
        high_steps, high_values: Largest point of each bucket.
    """

    level: int
    count: int
    low_steps: Steps
    low_values: Values
    high_steps: Steps
    high_values: Values

    @classmethod
    def empty(cls) -> Buckets:
        """No points yet."""
        steps, values = np.empty(0, np.int32), np.empty(0, np.float64)
        return cls(0, 0, steps, values, steps, values)

    def folded(self, steps: Steps, values: Values) -> Buckets:
        """Add points behind those that are there; coarser when there are too many buckets."""
        width = 1 << self.level
        tail = self.count % width
        head = min(len(steps), width - tail) if tail else 0
        parts: list[Reduced] = [
            (self.low_steps, self.low_values, self.high_steps, self.high_values)
        ]
        if head:
            fresh = _reduce(steps[:head], values[:head], steps[:head], values[:head], head)
            whole, last = _split(parts[0], len(self.low_steps) - 1)
            parts = [whole, _reduce(*_joined([last, fresh]), 2)]
        if len(steps) > head:
            steps_left, values_left = steps[head:], values[head:]
            parts.append(_reduce(steps_left, values_left, steps_left, values_left, width))
        low_steps, low_values, high_steps, high_values = _joined(parts)
        level = self.level
        while len(low_steps) > MAX_BUCKETS:
            low_steps, low_values, high_steps, high_values = _reduce(
                low_steps, low_values, high_steps, high_values, 2
            )
            level += 1
        return Buckets(
            level, self.count + len(steps), low_steps, low_values, high_steps, high_values
        )

    def points(self, after: int = -1) -> tuple[Steps, Values]:
        """Both points of each bucket above a step, ascending, each step once."""
        steps = np.concatenate([self.low_steps, self.high_steps])
        values = np.concatenate([self.low_values, self.high_values])
        steps, first = np.unique(steps, return_index=True)
        wanted = steps > after
        return steps[wanted], values[first][wanted]


Reduced = tuple[Steps, Values, Steps, Values]


def _split(buckets: Reduced, at: int) -> tuple[Reduced, Reduced]:
    low_steps, low_values, high_steps, high_values = buckets
    before = (low_steps[:at], low_values[:at], high_steps[:at], high_values[:at])
    return before, (low_steps[at:], low_values[at:], high_steps[at:], high_values[at:])


def _joined(parts: Sequence[Reduced]) -> Reduced:
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
    )


def _reduce(
    low_steps: Steps, low_values: Values, high_steps: Steps, high_values: Values, width: int
) -> Reduced:
    """Keep the smallest and largest of each ``width`` neighbours; the last run may be shorter."""
    rows = -(-len(low_steps) // width)
    missing = rows * width - len(low_steps)

    def grid(array: NDArray[np.float64], fill: float) -> NDArray[np.float64]:
        padded = np.concatenate([array, np.full(missing, np.nan)])
        return np.where(np.isnan(padded), fill, padded).reshape(rows, width)

    first = np.arange(rows) * width
    lowest = first + np.argmin(grid(low_values, np.inf), axis=1)
    highest = first + np.argmax(grid(high_values, -np.inf), axis=1)
    return low_steps[lowest], low_values[lowest], high_steps[highest], high_values[highest]


@dataclass(frozen=True)
class Extremes:
    """Last, smallest and largest of some points; None where there were only gaps."""

    count: int
    last_step: int
    last_value: float | None
    min_step: int | None
    min_value: float | None
    max_step: int | None
    max_value: float | None


def extremes(steps: Steps, values: Values) -> Extremes:
    """Summarise at least one point; the first of equal extremes counts."""
    last = None if np.isnan(values[-1]) else float(values[-1])
    if np.isnan(values).all():
        return Extremes(len(steps), int(steps[-1]), last, None, None, None, None)
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    return Extremes(
        len(steps),
        int(steps[-1]),
        last,
        int(steps[low]),
        float(values[low]),
        int(steps[high]),
        float(values[high]),
    )


def as_list(values: Values) -> list[float | None]:
    """Turn NaN into None."""
    return [None if value != value else value for value in values.tolist()]
