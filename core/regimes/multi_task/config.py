"""Multi-task: one run is trained on all tasks of the recipe, a batch of one task an update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from pydantic import Field, field_validator
from typing_extensions import override

from core.methods import Axis
from core.regimes._config import Candidates, Draw, RegimeConfig
from core.regimes.full_data.config import Config as FullData

POWERS = {"proportional": 1.0, "square_root": 0.5, "uniform": 0.0}
AXES: tuple[Axis, ...] = get_args(Axis)


class Config(RegimeConfig):
    """Joint training, and its control: each task alone with as many updates as it got jointly."""

    TITLE: ClassVar[str] = "Multi-task"

    kind: Literal["multi_task"] = "multi_task"
    sampling: Literal["proportional", "square_root", "uniform"] = Field(
        default="square_root",
        title="Sampling",
        description="Updates a task gets: by its size, by the square root of it, or all alike.",
    )
    own: tuple[Axis, ...] = Field(
        default=(),
        title="Own per task",
        description="What each task has for itself; everything else is shared. Heads are own.",
    )
    max_train: int | None = Field(
        default=None,
        ge=2,
        le=10_000_000,
        title="At most",
        description="Training examples of each task at most, a count; empty: all.",
    )
    control: bool = Field(
        default=True,
        title="Single-task control",
        description="Also train each task alone with the updates that it gets jointly.",
    )
    role: Literal["joint", "single"] = Field(
        default="joint",
        description="joint: one run for all tasks. single: the control alone, a run for each task.",
    )

    @field_validator("own")
    @classmethod
    def _each_axis_once(cls, own: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if len(set(own)) < len(own):
            raise ValueError("the same entry stands twice")
        return tuple(axis for axis in AXES if axis in own)

    @property
    @override
    def label(self) -> str:
        axes = "everything" if len(self.own) == len(AXES) else "+".join(self.own)
        own = f", own {axes}" if self.own and self.is_joint else ""
        cut = f", ≤ {self.max_train}" if self.max_train else ""
        name = "multi_task" if self.role == "joint" else "single-task control"
        return f"{name} ({self.sampling}{own}{cut})"

    @property
    @override
    def is_joint(self) -> bool:
        return self.role == "joint"

    @property
    @override
    def own_axes(self) -> tuple[Axis, ...]:
        return self.own

    @override
    def select(self, candidates: Candidates, data_seed: int) -> Draw:
        return FullData(max_train=self.max_train).select(candidates, data_seed)

    def as_joint(self) -> Config:
        """Return the regime of the joint run itself, without the wish for a control."""
        return self.model_copy(update={"role": "joint", "control": False})

    def as_single(self) -> Config:
        """Return the regime of the control; what tasks share means nothing for one task alone."""
        return self.model_copy(update={"role": "single", "control": False, "own": ()})

    @override
    def updates_of(self, sizes: Sequence[int], total: int) -> list[int]:
        """Split the updates of a joint run among its tasks; every task gets at least one.

        Tasks whose share is below one get one; the others split the rest by largest remainders,
        and of equal remainders the first task's counts.

        Args:
            sizes: Training examples of each task.
            total: Updates of the joint run, a count.

        Returns:
            Updates of each task; they add up to ``total``, or to the number of tasks if that is
            larger.

        Raises:
            ValueError: If a task has no examples.
        """
        if not sizes or min(sizes) < 1:
            raise ValueError("every task of a joint run needs training examples")
        weights = [size ** POWERS[self.sampling] for size in sizes]
        counts = [1] * len(sizes)
        shares: dict[int, float] = {}
        large = list(range(len(sizes)))
        while large:
            rest = total - (len(sizes) - len(large))
            # fsum rounds once, whatever the order of the tasks.
            whole = math.fsum(weights[task] for task in large)
            shares = {task: rest * weights[task] / whole for task in large}
            small = {task for task, share in shares.items() if share < 1}
            if not small:
                break
            large = [task for task in large if task not in small]
        for task in large:
            counts[task] = math.floor(shares[task])
        by_rest = sorted(large, key=lambda task: (counts[task] - shares[task], task))
        for task in by_rest[: max(0, total - sum(counts))]:
            counts[task] += 1
        return counts
