"""What stands around runs: the database file itself, studies and workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.states import ENDED
from core.store.check.report import Finding
from core.store.models import Run, Study, StudyEvent, Worker

RESTORE = "stop the studio and restore a backup"
SETTLE = "retry or cancel one of its runs, which closes or opens it"


def examine_engine(session: Session) -> Iterator[Finding]:
    """Let SQLite look at its own pages and at rows that point nowhere."""
    if session.get_bind().dialect.name != "sqlite":
        return
    for answer in session.scalars(text("PRAGMA quick_check")):
        if answer != "ok":
            yield Finding("The database", f"SQLite reports damage: {answer}", RESTORE)
    lost = Counter((row[0], row[2]) for row in session.execute(text("PRAGMA foreign_key_check")))
    for (table, parent), number in lost.items():
        what = f"{number} rows of {table} point to rows of {parent} that are not there"
        yield Finding("The database", what, RESTORE)


def examine_studies(session: Session, counted: Counter[str]) -> Iterator[Finding]:
    """A study is closed when all its runs have ended, and only then; each final stands once."""
    waiting = set(
        session.scalars(select(Run.study_id).where(Run.state.not_in(list(ENDED))).distinct())
    )
    with_runs = set(session.scalars(select(Run.study_id).distinct()))
    gaps = set(
        session.scalars(
            select(StudyEvent.study_id)
            .group_by(StudyEvent.study_id)
            .having(
                (func.max(StudyEvent.ordinal) != func.count()) | (func.min(StudyEvent.ordinal) != 1)
            )
        )
    )
    twice = _finals_made_twice(session)
    for study in session.execute(
        select(Study.id, Study.number, Study.closed_at, Study.queue).order_by(Study.number)
    ):
        counted["studies"] += 1
        subject = f"S{study.number}"
        if study.id not in with_runs:
            yield Finding(subject, "it has no runs", "launch it again")
        elif (study.closed_at is None) != (study.id in waiting):
            what = "it is " + (
                "open though all its runs have ended"
                if study.closed_at is None
                else "closed though runs have not ended"
            )
            yield Finding(subject, what, SETTLE)
        if study.id in gaps:
            yield Finding(subject, "its events are not numbered from 1 without gaps", RESTORE)
        if study.id in twice:
            yield Finding(subject, "a cell of it has the same final run twice", RESTORE)
        if not study.queue.strip():
            yield Finding(subject, "its queue has no name", "launch it again in a named queue")


def _finals_made_twice(session: Session) -> set[str]:
    same = (Run.study_id, Run.cell, Run.config_hash, Run.data_seed, Run.init_seed)
    return set(
        session.scalars(
            select(Run.study_id)
            .join(Study, Study.id == Run.study_id)
            .where(Study.protocol == "tuned", Run.role == "final")
            .group_by(*same)
            .having(func.count() > 1)
        )
    )


def examine_workers(session: Session, counted: Counter[str]) -> Iterator[Finding]:
    """A worker serves named queues and has no negative memory."""
    for worker in session.execute(
        select(Worker.name, Worker.queues, Worker.memory_bytes, Worker.memory_used).order_by(
            Worker.started_at, Worker.id
        )
    ):
        counted["workers"] += 1
        names = worker.queues
        if not names or not all(isinstance(name, str) and name.strip() for name in names):
            what = f"it serves the queues {names}"
            yield Finding(f"Worker {worker.name}", what, "restart it with --queues and names")
        if worker.memory_bytes < 0 or worker.memory_used < 0:
            what = f"its memory is {worker.memory_used} of {worker.memory_bytes} bytes"
            yield Finding(f"Worker {worker.name}", what, "restart it")
