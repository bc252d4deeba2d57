"""Draws of training examples, kept: the form asks for the same ones at every change."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from core.data.examples import TaskData
from core.data.tasks import candidates
from core.recipe import Selection
from core.recipe_parts import TaskChoice
from core.regimes import Draw, RegimeConfig, Source


@dataclass(frozen=True)
class _Train:
    """What a draw depends on; equal files read and cut in the same way are equal.

    Attributes:
        choice: The task with its data version, and so without the place of its files.
        selection: How dev was cut.
        fold: Which fold is dev.
        source: Which files train was read from.
        data: What was read.
    """

    choice: TaskChoice
    selection: Selection
    fold: int
    source: Source
    data: TaskData = field(compare=False)


def draw(
    choice: TaskChoice,
    data: TaskData,
    regime: RegimeConfig,
    seed: int,
    *,
    selection: Selection,
    fold: int = 0,
) -> Draw:
    """Choose training examples as a run will.

    Args:
        choice: The task.
        data: What was read for it, from the regime's source.
        regime: What draws.
        seed: Data seed.
        selection: How dev was cut from train.
        fold: Which fold is dev; only for selection ``fold``.

    Raises:
        DataError: If there are fewer examples than asked for, or only one class.
    """
    found = {"folder": "", "data_version": data.version, "template": data.template}
    known = choice.model_copy(update=found)
    return _draw(_Train(known, selection, fold, regime.source, data), regime, seed)


@lru_cache(maxsize=256)
def _draw(train: _Train, regime: RegimeConfig, seed: int) -> Draw:
    return regime.select(candidates(train.data), seed)
