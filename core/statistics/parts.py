"""Runs task by task: a joint run counts once for each of its tasks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from core.metrics import METRICS, TITLES
from core.tasks import TASKS

PRIMARY, OFFICIAL = "primary", "official"
JOINT_SIGN = "+"
"""Stands between the tasks of a joint run; no task's name may hold it."""


class RunRow(Protocol):
    """What a table needs to know about a run."""

    @property
    def run_id(self) -> str:
        """Identifier."""

    @property
    def study_id(self) -> str:
        """Identifier of its study."""

    @property
    def task(self) -> str:
        """Name of the task; of a joint run the names of all its tasks."""

    @property
    def backbone(self) -> str:
        """Name of the backbone."""

    @property
    def regime(self) -> str:
        """Label of the regime."""

    @property
    def method_label(self) -> str:
        """Label of the method."""

    @property
    def method_kind(self) -> str:
        """Kind of the method."""

    @property
    def config_hash(self) -> str:
        """Digest of everything but the seeds."""

    @property
    def data_seed(self) -> int:
        """Seed of the draw and order of examples."""

    @property
    def init_seed(self) -> int:
        """Seed of initial weights and noise."""

    @property
    def role(self) -> str:
        """``final`` or ``trial``."""

    @property
    def state(self) -> str:
        """State of the run."""

    @property
    def result(self) -> Mapping[str, Any] | None:
        """Numbers of a succeeded run."""

    @property
    def num_trainable(self) -> Mapping[str, int] | int | None:
        """Trainable parameters."""

    @property
    def selection(self) -> str:
        """What its checkpoint was chosen on: ``dev``, ``paper_practice``, ``fold``, ``refit``."""

    @property
    def apart(self) -> str:
        """What others of its label have otherwise; empty: nothing, or not known."""


Run = TypeVar("Run", bound=RunRow)


class Part(NamedTuple, Generic[Run]):
    """A run's part in one task.

    Attributes:
        run: The run.
        task: Name of the task or of the extra set.
        result: What the run says about this task: ``dev``, ``test``, ``majority``, ``counts``, …
        is_extra: The task is only scored: nothing was trained or chosen on it.
    """

    run: Run
    task: str
    result: Mapping[str, Any]
    is_extra: bool = False

    @property
    def label(self) -> str:
        """Label of the method with what sets this run's settings apart."""
        run = self.run
        return f"{run.method_label} [{run.apart}]" if run.apart else run.method_label

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that it has on any split, the first metric of the task in front."""
        found = {name for split in ("dev", "test") for name in self.result.get(split) or ()}
        declared = TASKS[self.task].metrics if self.task in TASKS else ()
        return tuple(name for name in dict.fromkeys((*declared, *METRICS)) if name in found)

    def measured(self, metric: str) -> tuple[str, ...]:
        """Metrics whose mean is a column's number.

        Args:
            metric: A metric of ``core.metrics``; ``primary``: the task's first one; ``official``:
                those whose mean is SuperGLUE's score of the task, the first one where none are.
        """
        if metric not in (PRIMARY, OFFICIAL):
            return (metric,)
        official = TASKS[self.task].official if self.task in TASKS else ()
        return official if official and metric == OFFICIAL else self.metrics[:1]

    def value(self, metric: str, split: str) -> float:
        """Return one number, NaN when it is not known; see ``measured``."""
        found = self.result.get(split) or {}
        values = [_number(found.get(name)) for name in self.measured(metric)]
        return sum(values) / len(values) if values else math.nan

    def about(self, key: str, split: str) -> float:
        """Return ``majority`` or ``counts`` of a split, NaN when it is not known."""
        return _number((self.result.get(key) or {}).get(split))


def parts_of(
    runs: Iterable[Run], *, tasks: Collection[str] = (), extra: bool = False
) -> list[Part[Run]]:
    """Take runs apart by task; a run that has not ended has its tasks without numbers.

    Args:
        runs: Joint runs and others.
        tasks: Only these; empty: all.
        extra: Also give the sets that were only scored at the end (AX-b, AX-g), on ``test``.
    """
    found = []
    for run in runs:
        result = run.result or {}
        by_task = result.get("tasks") or {}
        for task in run.task.split(JOINT_SIGN):
            if tasks and task not in tasks:
                continue
            own = by_task.get(task, {}) if JOINT_SIGN in run.task else result
            found.append(Part(run, task, own))
            if extra:
                found += [_extra(run, own, name) for name in own.get("extra") or ()]
    return found


def _extra(run: Run, own: Mapping[str, Any], name: str) -> Part[Run]:
    count = (own.get("counts") or {}).get(name)
    result = {"test": own["extra"][name], "counts": {} if count is None else {"test": count}}
    return Part(run, name, result, True)


def measure_title(metrics: Sequence[str]) -> str:
    """Name a metric, or the mean of some."""
    titles = [TITLES.get(name, name) for name in metrics]
    return titles[0] if len(titles) == 1 else f"mean of {' and '.join(titles)}" if titles else ""


def trainable_of(run: RunRow) -> float:
    """Return the trainable parameters of a run, NaN when unknown."""
    counts = (run.result or {}).get("num_trainable") or run.num_trainable
    if isinstance(counts, Mapping):
        return float(sum(counts.values())) if counts else math.nan
    return float(counts) if counts else math.nan


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
