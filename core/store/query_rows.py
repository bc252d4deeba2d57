"""Selections and row builders that several page queries share."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from core.errors import NotFound
from core.states import RunState
from core.store.models import Run, RunEvent, Study, StudyEvent
from core.store.run_filters import conditions, states_where
from core.store.views import EventRow, RunFilters, RunRow, StudyRow
from core.tasks import TASKS

_COPIED = (
    "id", "study_id", "ordinal", "task", "backbone", "regime", "method_kind", "method_label",
    "config_hash", "data_seed", "init_seed", "role", "priority", "phase", "last_step",
    "checkpoint_step", "total_steps", "seconds_per_step", "group_size", "attempt", "worker_id",
    "not_before", "exit_kind", "exit_detail", "num_trainable", "created_at", "started_at",
    "ended_at", "is_stalled",
)  # fmt: skip

JOINT_MEAN = "joint_mean"
SEALED = ("test", "extra")
CLAIM_ORDER = (Run.priority.desc(), Run.created_at, Run.study_id, Run.ordinal)


def select_runs(*where: ColumnElement[bool]) -> Select[Any]:
    """Select everything that ``run_row`` needs; the config's text stays in the database."""
    columns = [getattr(Run, name) for name in _COPIED]
    return (
        select(*columns, Run.state, Run.result, Study.number, Study.name, Study.is_demo)
        .join(Study, Study.id == Run.study_id)
        .where(*where)
    )


def run_row(row: Row[Any], queue_position: int = 0) -> RunRow:
    """Make one row of a list."""
    result: Mapping[str, Any] = row.result or {}
    copied = {name: getattr(row, name) for name in _COPIED}
    dev = result.get("dev") or {}
    return RunRow(
        **copied,
        study_number=row.number,
        study_name=row.name,
        is_demo=row.is_demo,
        state=RunState(row.state),
        dev=dev,
        metric=first_metric(row.task, dev),
        flags=tuple(result.get("flags") or ()),
        queue_position=queue_position,
    )


def first_metric(task: str, numbers: Mapping[str, float]) -> str:
    """Name of the number that chooses checkpoints; empty when it is not among the numbers.

    Args:
        task: A run's task as stored: a name, or several with ``+`` between when joint.
        numbers: Metrics by name.
    """
    if "+" in task:
        wanted = [JOINT_MEAN]
    else:
        # Files of one's own may stand under the name of a known task.
        declared = TASKS[task].metrics[:1] if task in TASKS else ()
        wanted = [*declared, "accuracy", *numbers]
    return next((name for name in wanted if name in numbers), "")


def run_rows(session: Session, query: Select[Any]) -> tuple[RunRow, ...]:
    """Run a query of ``select_runs``."""
    return tuple(run_row(row) for row in session.execute(query))


def state_counts(session: Session, filters: RunFilters) -> dict[str, int]:
    """Number of runs per state."""
    return states_where(session, conditions(session, filters))


def study_rows(session: Session, found: Sequence[Study]) -> list[StudyRow]:
    """Plain rows of studies with the number of their runs per state."""
    counts: dict[str, dict[str, int]] = {study.id: {} for study in found}
    for study_id, state, count in session.execute(
        select(Run.study_id, Run.state, func.count())
        .where(Run.study_id.in_(list(counts)))
        .group_by(Run.study_id, Run.state)
    ):
        counts[study_id][state] = count
    return [
        StudyRow(
            id=study.id,
            number=study.number,
            name=study.name,
            question=study.question,
            protocol=study.protocol,
            selection=_selection(study.recipe),
            is_demo=study.is_demo,
            priority=study.priority,
            states=counts[study.id],
            is_test_open=study.is_test_open,
            test_openings=study.test_openings,
            created_at=study.created_at,
            closed_at=study.closed_at,
            cancelled_at=study.cancelled_at,
        )
        for study in found
    ]


def selections(session: Session, study_ids: Collection[str]) -> dict[tuple[str, str], str]:
    """What checkpoints are chosen on, a ``Selection`` of recipes, by study and role of the run."""
    rows = session.execute(select(Study.id, Study.recipe).where(Study.id.in_(study_ids)))
    found = {}
    for row in rows:
        chosen = _selection(row.recipe)
        # Tuning over folds compares trials on one fold each and trains the winner on all of train.
        is_folded = json.loads(row.recipe).get("tuning", {}).get("folds", 1) > 1
        found[row.id, "trial"] = "fold" if is_folded else chosen
        found[row.id, "final"] = "refit" if is_folded else chosen
    return found


def _selection(recipe: str) -> str:
    return str(json.loads(recipe).get("selection", "dev"))


def configs(session: Session, run_ids: Collection[str]) -> dict[str, str]:
    """Canonical JSON of the configs of runs, by run."""
    rows = session.execute(select(Run.id, Run.config).where(Run.id.in_(run_ids)))
    return {row.id: row.config for row in rows}


def run_events(session: Session, *where: ColumnElement[bool], limit: int) -> list[EventRow]:
    """Newest events of runs."""
    rows = session.execute(
        select(
            Run.study_id, RunEvent.run_id, Study.number, Run.ordinal, RunEvent.before,
            RunEvent.after, RunEvent.actor, RunEvent.reason, RunEvent.at,
        )
        .join(Run, Run.id == RunEvent.run_id)
        .join(Study, Study.id == Run.study_id)
        .where(*where)
        .order_by(RunEvent.at.desc(), RunEvent.version.desc(), Run.ordinal.desc())
        .limit(limit)
    )  # fmt: skip
    return [
        EventRow(
            row.study_id, row.run_id, f"S{row.number}-{row.ordinal}", row.before, row.after,
            row.actor, row.reason, row.at,
        )
        for row in rows
    ]  # fmt: skip


def study_events(session: Session, *where: ColumnElement[bool], limit: int) -> list[EventRow]:
    """Newest events of studies as a whole."""
    rows = session.execute(
        select(StudyEvent.study_id, Study.number, StudyEvent.kind, StudyEvent.text, StudyEvent.at)
        .join(Study, Study.id == StudyEvent.study_id)
        .where(*where)
        .order_by(StudyEvent.at.desc(), StudyEvent.ordinal.desc())
        .limit(limit)
    )
    return [
        EventRow(row.study_id, "", f"S{row.number}", "", row.kind, "studio", row.text, row.at)
        for row in rows
    ]


def find_study(session: Session, reference: str) -> Study:
    """Find a study by id or short name.

    Raises:
        NotFound: If there is none.
    """
    number = _number(reference)
    where = Study.number == number if number else Study.id == reference
    study = session.scalars(select(Study).where(where)).one_or_none()
    if study is None:
        raise NotFound(f"There is no study {reference}.", hint="The Runs page lists all studies.")
    return study


def find_run_id(session: Session, reference: str) -> str:
    """Find a run's id by id or short name.

    Raises:
        NotFound: If there is none.
    """
    study, _, ordinal = reference.partition("-")
    query = select(Run.id).where(Run.id == reference)
    if (number := _number(study)) and ordinal.isdecimal() and len(ordinal) < 10:
        query = (
            select(Run.id)
            .join(Study, Study.id == Run.study_id)
            .where(Study.number == number, Run.ordinal == int(ordinal))
        )
    found = session.scalar(query)
    if found is None:
        raise NotFound(f"There is no run {reference}.", hint="The Runs page lists all runs.")
    return found


def _number(slug: str) -> int:
    """Number in a short name such as ``S3``; 0 when it is none."""
    digits = slug[1:]
    is_slug = slug[:1] in ("S", "s") and digits.isdecimal() and len(digits) < 10
    return int(digits) if is_slug else 0


def shown_result(result: Mapping[str, Any] | None, *, is_test_open: bool) -> dict[str, Any]:
    """Numbers of a run, without those of the test split and the extra sets while sealed."""
    shown = dict(result or {})
    if is_test_open:
        return shown
    parts = shown.pop("tasks", None)
    for name in SEALED:
        shown.pop(name, None)
    if parts:
        shown["tasks"] = {
            task: {key: value for key, value in part.items() if key not in SEALED}
            for task, part in parts.items()
        }
    return shown
