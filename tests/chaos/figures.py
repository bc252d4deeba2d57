"""What a run's numbers are: a pure function of run, scalar and step, so that any fault shows."""

from __future__ import annotations

import hashlib
import struct

LOSS, RATE, ACCURACY = "train/loss", "train/rate", "dev/accuracy"
NAMES = (LOSS, RATE, ACCURACY)
GAP_EVERY = 11
ACCURACY_EVERY = 5
SHORT, MIDDLE, LONG = 30, 60, 900
"""Numbers of steps; the long one fills a chunk of points before its only checkpoint."""
SECONDS = 1.8
"""Time that a run of at least ``SHORT`` steps takes alone and undisturbed."""


def value(run_id: str, name: str, step: int) -> float:
    """One number in [0, 1); every eleventh loss is NaN, which is stored as a gap."""
    if name == LOSS and step % GAP_EVERY == 0:
        return float("nan")
    digest = hashlib.blake2b(f"{run_id}|{name}|{step}".encode(), digest_size=8).digest()
    whole: int = struct.unpack("<Q", digest)[0]
    return (whole >> 11) / (1 << 53)


def pace(steps: int) -> float:
    """Seconds that one step of a run takes."""
    return SECONDS / max(steps, SHORT)


def names_at(step: int) -> tuple[str, ...]:
    return NAMES if step % ACCURACY_EVERY == 0 else (LOSS, RATE)


def steps_of(name: str, last: int) -> list[int]:
    """Steps from 1 to the last at which a scalar has a point."""
    every = ACCURACY_EVERY if name == ACCURACY else 1
    return list(range(every, last + 1, every))


def checkpoint_every(steps: int) -> int:
    return steps * 2 // 3 if steps == LONG else max(1, steps // 6)
