"""Workers: registration, heartbeat counters, and who is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from core.states import ACTIVE, Outcome
from core.store.clock import utcnow
from core.store.columns import new_id
from core.store.endings import give_back_held
from core.store.models import DEFAULT_QUEUE, Run, Worker
from core.store.views import WorkerRow
from core.store.waiting import Offer, fits, offers, queue_names

__all__ = [
    "Offer",
    "beat",
    "counters",
    "fits",
    "list_workers",
    "offers",
    "queue_names",
    "register",
    "stop",
    "worker_rows",
]

REMEMBERED = timedelta(hours=1)
"""How long a worker that is gone still stands in lists."""


def register(
    session: Session,
    *,
    name: str,
    role: str,
    host: str,
    pid: int,
    device: str = "cpu",
    boot_id: str = "",
    info: Mapping[str, Any] | None = None,
    queues: Sequence[str] = (DEFAULT_QUEUE,),
    memory_bytes: int = 0,
) -> str:
    """Insert a living worker and return its id.

    Args:
        role: ``train`` or ``predict``.
        boot_id: Identifies the start of the machine, so that a pid is never mistaken.
        info: Facts for people: device name, memory, versions.
        queues: Names of the queues whose runs it takes.
        memory_bytes: Memory of its device; runs that need more are not given to it. 0: unknown.

    Raises:
        ConfigError: If a queue's name is none.
    """
    worker = Worker(
        id=new_id(),
        name=name,
        role=role,
        host=host,
        boot_id=boot_id,
        pid=pid,
        device=device,
        info=dict(info or {}),
        queues=list(queue_names(queues)),
        memory_bytes=max(0, memory_bytes),
    )
    session.add(worker)
    session.flush()
    return worker.id


def beat(session: Session, worker_id: str) -> None:
    """Raise the heartbeat counter of a worker that holds no runs (see also ``runs.beat``)."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(hb_seq=Worker.hb_seq + 1, hb_at=utcnow(), state="alive")
        .execution_options(synchronize_session=False)
    )


def stop(session: Session, worker_id: str) -> None:
    """Mark a worker as stopped; runs that still stand in its name go back to the queue."""
    # The worker before its runs, as everywhere, so that no two transactions wait for each other.
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(state="stopped", hb_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    give_back_held(session, worker_id, Outcome.DRAINED, "the worker ended")


def counters(session: Session, role: str = "") -> dict[str, int]:
    """Heartbeat counter of each worker that counts as alive, for a ``LeaseObserver``."""
    query = select(Worker.id, Worker.hb_seq).where(Worker.state == "alive")
    if role:
        query = query.where(Worker.role == role)
    return {row.id: row.hb_seq for row in session.execute(query)}


def list_workers(session: Session, *, alive_only: bool = False) -> list[WorkerRow]:
    """Workers with the age of their last heartbeat and the runs they hold, newest first.

    Args:
        alive_only: True leaves out those that stopped or were lost within the last hour.
    """
    query = select(Worker).order_by(Worker.started_at.desc(), Worker.id)
    if alive_only:
        query = query.where(Worker.state == "alive")
    else:
        recent = Worker.hb_at >= utcnow() - REMEMBERED
        query = query.where(or_(Worker.state == "alive", recent))
    return worker_rows(session, list(session.scalars(query)))


def worker_rows(session: Session, found: Sequence[Worker]) -> list[WorkerRow]:
    """Plain rows of workers, with the runs they hold."""
    held: dict[str, list[str]] = {}
    for row in session.execute(
        select(Run.id, Run.worker_id)
        .where(Run.worker_id.in_([worker.id for worker in found]), Run.state.in_(list(ACTIVE)))
        .order_by(Run.created_at, Run.ordinal)
    ):
        held.setdefault(row.worker_id, []).append(row.id)
    now = utcnow()
    return [
        WorkerRow(
            id=worker.id,
            name=worker.name,
            role=worker.role,
            host=worker.host,
            pid=worker.pid,
            device=worker.device,
            info=worker.info,
            hb_seq=worker.hb_seq,
            state=worker.state,
            started_at=worker.started_at,
            seconds_silent=max(0.0, (now - worker.hb_at).total_seconds()),
            run_ids=tuple(held.get(worker.id, ())),
            queues=tuple(worker.queues),
            memory_bytes=worker.memory_bytes,
            memory_used=worker.memory_used,
        )
        for worker in found
    ]
