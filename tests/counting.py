"""What the counting trainer computes, as pure functions: a checker can compute it again."""

from __future__ import annotations

import hashlib

LOSS = "train/loss"
DEV = "dev/accuracy"


def value_at(run_id: str, step: int, name: str = LOSS) -> float:
    """Value of a scalar at a step, in [0, 1); exact in 32 bits, the same in every attempt."""
    digest = hashlib.sha256(f"{run_id} {name} {step}".encode()).hexdigest()
    return int(digest[:5], 16) / 2**20


def values_until(run_id: str, step: int, name: str = LOSS) -> list[float]:
    """Values of a scalar at the steps from 1 on."""
    return [value_at(run_id, number, name) for number in range(1, step + 1)]


def state_at(run_id: str, step: int) -> dict[str, str | int]:
    """Content of a checkpoint's ``state.json``: what a run stands for at a step."""
    digest = hashlib.sha256(f"{run_id} state {step}".encode()).hexdigest()
    return {"run_id": run_id, "step": step, "digest": digest}
