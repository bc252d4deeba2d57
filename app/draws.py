"""Draws of training examples, kept: the form asks for the same ones at every change."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from core.data.examples import TaskData
from core.data.tasks import candidates
from core.regimes import Draw, RegimeConfig


@dataclass(frozen=True)
class _Train:
    """What a draw depends on; equal files cut in the same way are equal."""

    name: str
    version: str
    template: str
    dev_source: str
    data: TaskData = field(compare=False)


def draw(data: TaskData, regime: RegimeConfig, seed: int) -> Draw:
    """Choose training examples as a run will.

    Raises:
        DataError: If there are fewer examples than asked for, or only one class.
    """
    return _draw(
        _Train(data.name, data.version, data.template, data.dev_source, data), regime, seed
    )


@lru_cache(maxsize=256)
def _draw(train: _Train, regime: RegimeConfig, seed: int) -> Draw:
    return regime.select(candidates(train.data), seed)
