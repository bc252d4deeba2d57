"""Invariants of the database: what must hold at any moment, whatever was killed when.

Every transaction of the store leaves them whole, so on one state of the database
(``Store.snapshot``) a run that is on its way from one state to another is no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.store.check.around import examine_engine, examine_studies, examine_workers
from core.store.check.curves import examine_curves
from core.store.check.lives import examine_kept, examine_life
from core.store.check.report import Finding, Life, Report, Try
from core.store.models import Attempt, Run, RunEvent, Study, Worker
from core.store.models_data import Artifact, Checkpoint

__all__ = ["Finding", "Report", "examine"]

RUNS_AT_ONCE = 500


def examine(session: Session) -> Report:
    """Look at every row once, with the rows of 500 runs in memory at a time.

    Args:
        session: All its queries must see one state: from ``Store.snapshot`` on a live database.
    """
    report = Report(Counter(dict.fromkeys(("runs", "studies", "events", "attempts"), 0)))
    found, counted = report.findings, report.counted
    found += examine_engine(session)
    last = ""
    while runs := _next_runs(session, last):
        last = runs[-1].id
        lives = {row.id: Life(row) for row in runs}
        _fill(session, lives, counted)
        for life in lives.values():
            found += examine_life(life)
        found += _kept(session, lives, counted)
        found += examine_curves(session, lives, counted)
    found += examine_studies(session, counted)
    found += examine_workers(session, counted)
    return report


def _next_runs(session: Session, last: str) -> Sequence[Any]:
    return session.execute(
        select(
            *(getattr(Run, name) for name in _RUN_COLUMNS),
            Run.result.is_not(None).label("has_result"),
            Run.result["updates"].as_integer().label("updates"),
            Study.number,
            Worker.state.label("worker_state"),
            Worker.role.label("worker_role"),
        )
        .outerjoin(Study, Study.id == Run.study_id)
        .outerjoin(Worker, Worker.id == Run.worker_id)
        .where(Run.id > last)
        .order_by(Run.id)
        .limit(RUNS_AT_ONCE)
    ).all()


_RUN_COLUMNS = (
    "id", "ordinal", "state", "version", "fence", "attempt", "worker_id", "queue", "memory_bytes",
    "is_stalled", "group_size", "cancel_requested_at", "checkpoint_step", "ended_at",
)  # fmt: skip


def _fill(session: Session, lives: dict[str, Life], counted: Counter[str]) -> None:
    """Read events and attempts of some runs."""
    for row in session.execute(
        select(RunEvent.run_id, RunEvent.version, RunEvent.before, RunEvent.after)
        .where(RunEvent.run_id.in_(list(lives)))
        .order_by(RunEvent.run_id, RunEvent.version)
    ):
        lives[row.run_id].events.append((row.version, row.before, row.after))
        counted["events"] += 1
    for told in session.execute(
        select(
            Attempt.run_id,
            Attempt.attempt,
            Attempt.fence,
            Attempt.worker_id,
            Attempt.resumed_from_step,
            Attempt.outcome,
            Attempt.ended_at,
        )
        .where(Attempt.run_id.in_(list(lives)))
        .order_by(Attempt.run_id, Attempt.attempt)
    ):
        one = Try(
            number=told.attempt,
            fence=told.fence,
            worker_id=told.worker_id,
            resumed_from=told.resumed_from_step,
            outcome=told.outcome,
            lives=told.ended_at is None,
        )
        lives[told.run_id].tries.append(one)
        counted["attempts"] += 1
    counted["runs"] += len(lives)


def _kept(session: Session, lives: dict[str, Life], counted: Counter[str]) -> Iterator[Finding]:
    checkpoints: dict[str, list[Any]] = {}
    for row in session.execute(
        select(Checkpoint.run_id, Checkpoint.step, Checkpoint.attempt, Checkpoint.state)
        .where(Checkpoint.run_id.in_(list(lives)))
        .order_by(Checkpoint.run_id, Checkpoint.step)
    ):
        checkpoints.setdefault(row.run_id, []).append(row)
        counted["checkpoints"] += 1
    artifacts: dict[str, set[str]] = {}
    for run_id, name in session.execute(
        select(Artifact.run_id, Artifact.name).where(Artifact.run_id.in_(list(lives)))
    ):
        artifacts.setdefault(run_id, set()).add(name)
        counted["artifacts"] += 1
    for run_id, life in lives.items():
        names = frozenset(artifacts.get(run_id, ()))
        yield from examine_kept(life, checkpoints.get(run_id, []), names)
