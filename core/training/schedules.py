"""Learning rate and temperature as pure functions of the step; nothing is remembered."""

from __future__ import annotations

import math
from typing import Literal

from core.methods import MethodConfig

CODE_DECAY = 3e-5 / 10
"""Of the authors' temperature: its exponent falls by this times the update's number."""


def rate_factor(
    step: int, total: int, *, warmup: int, schedule: Literal["constant", "linear"]
) -> float:
    """Return what a learning rate is multiplied by, 0 to 1.

    The factor rises linearly over the warm-up, so that its first update is already above 0 and
    its last one is 1. After it, it stays, or falls linearly so that the last update is still
    above 0.

    Args:
        step: Update about to be made, 0 to ``total - 1``.
        total: Updates planned, a count.
        warmup: Updates of the warm-up, a count.
        schedule: What follows the warm-up.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return (total - step) / (total - warmup)


def temperature(method: MethodConfig, step: int, total: int) -> float:
    """Return the Gumbel-Softmax temperature of an update, dimensionless.

    Methods that declare a ``temperature`` with ``start`` and ``end`` move linearly from the first
    value at the first update to the second at the last; for all others it is 1. Under the rule
    ``paper_code`` update number g multiplies it by exp(-3e-5 g / 10), down to ``end`` at least:
    from 1 to 0.5 within 680 updates, whatever the total is.
    """
    declared = getattr(method, "temperature", None)
    if declared is None:
        return 1.0
    start, end = float(declared.start), float(declared.end)
    if getattr(method, "temperature_rule", "linear") == "paper_code":
        return max(start * math.exp(-CODE_DECAY * step * (step + 1) / 2), end)
    return start if total <= 1 else start + (end - start) * step / (total - 1)


def stage_start(share: float, total: int) -> int:
    """Return the number of updates before a stage's first one, below the total.

    Args:
        share: Share of the updates at which the stage begins, at least 0 and below 1.
        total: Updates planned, a count.
    """
    return min(math.ceil(share * total), total - 1)


def evaluation_steps(total: int, evaluations: int) -> tuple[int, ...]:
    """Return the numbers of updates after which dev is scored: evenly spread, the last included."""
    count = min(total, evaluations)
    return tuple(sorted({round(total * index / count) for index in range(1, count + 1)}))
