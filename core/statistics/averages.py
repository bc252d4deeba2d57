"""Two averages over tasks that are never mixed: SuperGLUE's official one and the paper's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from core.statistics.intervals import Summary, mean_std
from core.statistics.parts import OFFICIAL, RunRow
from core.statistics.table import Cell, Column, Table, build_table
from core.tasks import TASKS


class Kind(NamedTuple):
    """A way of averaging.

    Attributes:
        name: Identifier.
        title: Name for people.
        tasks: All of these or no number.
        metric: What enters of each task, see ``Part.measured``.
        note: What is averaged, for people.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    metric: str
    note: str


SUPERGLUE = Kind(
    "superglue",
    "SuperGLUE average",
    ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"),
    OFFICIAL,
    "the mean over the eight tasks of SuperGLUE, of each the mean of its official metrics "
    "(arXiv 1905.00537)",
)
PAPER = Kind(
    "paper",
    "Five-task average",
    ("boolq", "multirc", "wic", "cb", "rte"),
    "accuracy",
    "the mean accuracy over the five tasks of the paper, MultiRC's counted per answer "
    "(arXiv 2303.02909)",
)
KINDS = (SUPERGLUE, PAPER)
LEAST_TASKS = 5
"""Of SuperGLUE that a setting must have before its averages, or why there are none, are told."""


class Average(NamedTuple):
    """Average of one method in one setting.

    Attributes:
        kind: Which average.
        label: Row of the method.
        method_label: Label that fixes its colour.
        setting: What the columns share, see ``Column.setting``.
        summary: Mean ± std (n) over the seeds that have all tasks.
        reason: Why there is no number, or of how few seeds; empty when nothing is to be said.
    """

    kind: Kind
    label: str
    method_label: str
    setting: tuple[str, str, str, str]
    summary: Summary
    reason: str


def averages(runs: Sequence[RunRow], split: str) -> list[Average]:
    """Average each method over tasks, in every setting that has most of SuperGLUE's tasks.

    Args:
        runs: Runs of one or more studies.
        split: ``dev`` or ``test``.
    """
    found = []
    for kind in KINDS:
        table = build_table(runs, metric=kind.metric, split=split)
        found_tasks = Counter(c.setting for c in table.columns if c.task in SUPERGLUE.tasks)
        settings = [setting for setting, count in found_tasks.items() if count >= LEAST_TASKS]
        found += [
            _average(kind, table, setting, place)
            for setting in settings
            for place, row in enumerate(table.rows)
            if any(column.setting == setting for column in row.cells)
        ]
    return found


def _average(kind: Kind, table: Table, setting: tuple[str, str, str, str], place: int) -> Average:
    row = table.rows[place]
    columns = {column.task: column for column in table.columns if column.setting == setting}
    cells = {task: row.cells[column] for task, column in columns.items() if column in row.cells}
    reason = _obstacle(kind, table, columns, cells)
    summary = Summary(math.nan, math.nan, 0)
    if not reason:
        own = [cells[task].values for task in kind.tasks]
        shared = [seed for seed in own[0] if all(seed in values for values in own)]
        summary = mean_std(sum(values[seed] for values in own) / len(own) for seed in shared)
        most = max(len(values) for values in own)
        if not shared:
            reason = "no seed has a number for every task"
        elif len(shared) < most:
            reason = f"only {len(shared)} of {most} seeds have a number for every task"
    return Average(kind, row.label, row.method_label, setting, summary, reason)


def _obstacle(
    kind: Kind, table: Table, columns: Mapping[str, Column], cells: Mapping[str, Cell]
) -> str:
    """Say why there can be no number; empty when nothing stands in the way."""
    missing = [task for task in kind.tasks if task not in cells]
    if missing:
        derived = [
            task
            for task in cells
            if task in TASKS
            and TASKS[task].suite == "derived"
            and any(task.startswith(f"{name}-") for name in missing)
        ]
        never = f"; {listed(derived)} never counts, being derived" if derived else ""
        return f"{listed(missing)} {'are' if len(missing) > 1 else 'is'} missing{never}"
    empty = [task for task in kind.tasks if not cells[task].summary.n]
    if empty:
        return f"no number yet for {listed(empty)}"
    if table.split != "test":
        return ""
    counts = {task: (table.counts[columns[task]], official_count(task)) for task in kind.tasks}
    wrong = [
        f"{task} was measured on {found:,} examples, officially {official:,}"
        for task, (found, official) in counts.items()
        if found and official and found != official
    ]
    return "; ".join(wrong)


def official_count(task: str) -> int:
    """Examples of a task's official validation file, what ``test`` is; 0 when unknown."""
    return TASKS[task].counts.get("val", 0) if task in TASKS else 0


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
