"""What joint training does to each task: joint minus the single-task control, paired by seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from core.statistics.intervals import Summary
from core.statistics.paired import PairedDifference, paired_difference
from core.statistics.parts import JOINT_SIGN, RunRow
from core.statistics.table import Cell, Column, Row, build_table

CONTROL = "single-task control"
"""How the label of the control's regime begins; its settings follow as in the joint regime's."""


class Gain(NamedTuple):
    """A task of a joint training beside the same task trained alone with equal updates.

    Attributes:
        study_id: Study of both.
        label: Row of the method.
        method_label: Label that fixes its colour.
        column: Task, backbone and joint regime.
        joint: Mean ± std (n) of the joint runs.
        control: The same of the control; n is 0 when none was trained.
        pair: Joint minus control over the seeds that both have.
    """

    study_id: str
    label: str
    method_label: str
    column: Column
    joint: Summary
    control: Summary
    pair: PairedDifference


def gains(
    runs: Sequence[RunRow], *, metric: str, split: str, tasks: Collection[str] = ()
) -> list[Gain]:
    """Compare the tasks of joint runs with their controls; each study stands for itself.

    Args:
        runs: Runs of one or more studies.
        metric: See ``Part.measured``.
        split: ``dev`` or ``test``.
        tasks: Only these; empty: all.
    """
    found = []
    for study_id in dict.fromkeys(run.study_id for run in runs):
        own = [run for run in runs if run.study_id == study_id]
        if not any(JOINT_SIGN in run.task for run in own):
            continue
        table = build_table(own, metric=metric, split=split, tasks=tasks)
        found += [
            _gain(study_id, row, column, row.cells[column])
            for column in table.columns
            if JOINT_SIGN in column.trained_on
            for row in table.rows
            if column in row.cells
        ]
    return found


def _gain(study_id: str, row: Row, column: Column, joint: Cell) -> Gain:
    control = next((cell for own, cell in row.cells.items() if _is_control(own, column)), None)
    values = control.values if control else {}
    return Gain(
        study_id,
        row.label,
        row.method_label,
        column,
        joint.summary,
        control.summary if control else Summary(float("nan"), float("nan"), 0),
        paired_difference(joint.values, values),
    )


def _is_control(column: Column, joint: Column) -> bool:
    """Tell whether a column holds the control of a joint column: same task, same settings."""
    same = (column.task, column.backbone, column.selection)
    return (
        same == (joint.task, joint.backbone, joint.selection)
        and column.regime.startswith(CONTROL)
        and _settings(column.regime) == _settings(joint.regime)
    )


def _settings(regime: str) -> list[str]:
    """Settings in a regime's label that a control has too: all but what tasks have of their own."""
    inside = regime.partition(" (")[2].rstrip(")")
    return [part for part in inside.split(", ") if not part.startswith("own ")]
