"""The one way in which a run changes its state: a guarded UPDATE and its event."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Select, insert, select, text, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from core.states import ACTIVE, RunState, may_move
from core.store.clock import utcnow
from core.store.models import Run, RunEvent


@dataclass(frozen=True)
class Held:
    """A run as read under a row lock; every decision is made on these values."""

    id: str
    study_id: str
    ordinal: int
    state: RunState
    version: int
    fence: int
    attempt: int
    worker_id: str | None
    priority: int
    memory_bytes: int
    infra_left: int
    oom_left: int
    group_size: int
    last_step: int
    checkpoint_step: int
    curve_epoch: int
    must_run_alone: bool
    started_at: datetime | None


_COLUMNS = tuple(getattr(Run, name) for name in Held.__dataclass_fields__)


def select_held(*where: ColumnElement[bool]) -> Select[Any]:
    """Select runs for ``lock``."""
    return select(*_COLUMNS).where(*where)


def lock(session: Session, query: Select[Any], *, skip_locked: bool = False) -> list[Held]:
    """Read runs and lock their rows until the transaction ends (PostgreSQL; SQLite is locked)."""
    rows = session.execute(query.with_for_update(key_share=True, skip_locked=skip_locked))
    return [Held(**{**row, "state": RunState(row["state"])}) for row in rows.mappings()]


def lock_run(session: Session, run_id: str) -> Held | None:
    """Read and lock one run; None when there is none."""
    found = lock(session, select_held(Run.id == run_id))
    return found[0] if found else None


def lock_claimed(
    session: Session, run_id: str, fence: int, states: Collection[RunState] = ACTIVE
) -> Held | None:
    """Read and lock a run of which the caller holds the claim; None when it was lost."""
    found = lock(
        session, select_held(Run.id == run_id, Run.fence == fence, Run.state.in_(list(states)))
    )
    return found[0] if found else None


def lock_all(session: Session, run_ids: Collection[str]) -> None:
    """Lock runs in the one order, for a transaction that then changes them in any other."""
    if len(run_ids) > 1:
        lock(session, select_held(Run.id.in_(list(run_ids))).order_by(Run.id))


def update_held(session: Session, held: Held, **values: object) -> bool:
    """Change columns of a run that still is as it was read. False: somebody was faster."""
    result = session.execute(
        update(Run)
        .where(
            Run.id == held.id,
            Run.state == held.state.value,
            Run.version == held.version,
            Run.fence == held.fence,
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return row_count(result) == 1


def row_count(result: object) -> int:
    """Rows that an UPDATE or DELETE changed."""
    if not isinstance(result, CursorResult):
        raise TypeError("only results of UPDATE and DELETE count rows")
    return result.rowcount


def move(
    session: Session, held: Held, to: RunState, *, actor: str, reason: str, **values: object
) -> bool:
    """Move a run to another state and write the event.

    Args:
        held: The run as it was read; the guard of the UPDATE.
        actor: Who did it: ``user``, a worker's name, or ``studio``.
        reason: Sentence for people.
        values: Further columns that change with the state.

    Returns:
        False: the run had changed meanwhile, nothing was done.

    Raises:
        ValueError: If the table of transitions does not hold this move.
    """
    if not may_move(held.state, to):
        raise ValueError(f"run {held.id} cannot move from {held.state} to {to}")
    if to not in ACTIVE:
        values |= {"worker_id": None, "is_stalled": False}
    if not update_held(session, held, state=to.value, version=held.version + 1, **values):
        return False
    session.execute(
        insert(RunEvent).values(
            run_id=held.id,
            version=held.version + 1,
            before=held.state.value,
            after=to.value,
            actor=actor,
            reason=reason,
            at=utcnow(),
        )
    )
    return True


def serialise(session: Session, key: int) -> None:
    """Let one transaction at a time pass (PostgreSQL); writers of SQLite are alone anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def in_order(run_ids: Collection[str]) -> Sequence[str]:
    """Order in which transactions lock several runs, so that they cannot wait for each other."""
    return sorted(run_ids)
