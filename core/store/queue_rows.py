"""What the page of queue and workers reads: seven queries, however long the queue is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from core.states import ACTIVE, RunState
from core.store.clock import utcnow
from core.store.models import DEFAULT_QUEUE, Run, RunEvent, Study, Worker
from core.store.waiting import Offer, claim_order, fits, waiting_reasons
from core.store.workers import REMEMBERED

MOST_WAITING = 100
MOST_STUDIES = 12


@dataclass(frozen=True)
class HeldRun:
    """A run in a worker's hands."""

    id: str
    slug: str
    method_label: str
    task: str
    state: RunState
    phase: str
    last_step: int
    total_steps: int
    seconds_per_step: float
    is_stalled: bool

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds of training that remain; None when not known or nothing moves."""
        if self.is_stalled or not self.seconds_per_step or not self.total_steps:
            return None
        return max(0, self.total_steps - self.last_step) * self.seconds_per_step


@dataclass(frozen=True)
class WorkerLine:
    """A worker with the runs that it holds.

    Attributes:
        queues: Names of the queues that it takes runs from.
        memory_bytes: Memory of its device, 0 when not known.
        memory_used: Bytes in use there at its last beat.
        seconds_silent: Age of its last beat by the wall clock, in seconds.
    """

    id: str
    name: str
    role: str
    host: str
    device: str
    state: str
    queues: tuple[str, ...]
    memory_bytes: int
    memory_used: int
    seconds_silent: float
    started_at: datetime
    runs: tuple[HeldRun, ...]


@dataclass(frozen=True)
class WaitingRun:
    """A queued run.

    Attributes:
        position: Place in the order of claims, from 1.
        waits_since: When it was queued, the last time.
        reason: Why no worker has taken it, for people; empty when it is simply next.
        starts_in: Expected seconds until a worker takes it; None when not known.
    """

    id: str
    slug: str
    study_id: str
    position: int
    method_label: str
    task: str
    queue: str
    priority: int
    memory_bytes: int
    checkpoint_step: int
    waits_since: datetime
    reason: str = ""
    starts_in: float | None = None


@dataclass(frozen=True)
class WaitingStudy:
    """A study with runs in the queue."""

    id: str
    slug: str
    name: str
    is_demo: bool
    priority: int
    num_waiting: int


@dataclass(frozen=True)
class QueueView:
    """Who works, and what waits.

    Attributes:
        workers: Living workers, oldest first.
        gone: Workers that stopped or were lost within the last hour, newest first.
        waiting: The next queued runs in the order of claims, at most ``MOST_WAITING``.
        num_waiting: All queued runs.
        queues: Queued runs by queue.
        studies: Studies with queued runs in the order of claims, at most ``MOST_STUDIES``.
    """

    workers: tuple[WorkerLine, ...]
    gone: tuple[WorkerLine, ...]
    waiting: tuple[WaitingRun, ...]
    num_waiting: int
    queues: Mapping[str, int]
    studies: tuple[WaitingStudy, ...]


def queue_view(session: Session) -> QueueView:
    """Everything that the page of queue and workers shows."""
    lines = _workers(session)
    alive = tuple(line for line in lines if line.state == "alive")
    queues = _by_queue(session)
    waiting = _waiting(session) if queues else []
    return QueueView(
        workers=alive,
        gone=tuple(line for line in reversed(lines) if line.state != "alive"),
        waiting=with_expected_start(waiting, alive),
        num_waiting=sum(queues.values()),
        queues=queues,
        studies=_studies(session) if queues else (),
    )


def served_queues(session: Session) -> tuple[str, ...]:
    """Names of the queues that living training workers take runs from."""
    found = session.scalars(
        select(Worker.queues).where(Worker.state == "alive", Worker.role == "train")
    )
    return tuple(sorted({name for queues in found for name in queues}))


def with_expected_start(
    waiting: Sequence[WaitingRun], workers: Iterable[WorkerLine]
) -> tuple[WaitingRun, ...]:
    """Give the next run of each worker the time at which that worker will be free.

    Runs behind those have none: how long the runs before them take is not known.
    """
    free: list[tuple[float, Offer]] = []
    for line in workers:
        left = [run.seconds_left for run in line.runs]
        known = [seconds for seconds in left if seconds is not None]
        if line.role == "train" and known and len(known) == len(left):
            free.append((max(known), Offer(line.queues, line.memory_bytes)))
    free.sort(key=lambda item: item[0])
    found = []
    for run in waiting:
        starts_in = None
        if not run.reason:
            suited = (
                n for n, item in enumerate(free) if fits(run.queue, run.memory_bytes, item[1])
            )
            place = next(suited, None)
            starts_in = None if place is None else free.pop(place)[0]
        found.append(replace(run, starts_in=starts_in))
    return tuple(found)


def _workers(session: Session) -> list[WorkerLine]:
    """Living and recently gone workers, oldest first."""
    now = utcnow()
    recent = or_(Worker.state == "alive", Worker.hb_at >= now - REMEMBERED)
    found = session.scalars(select(Worker).where(recent).order_by(Worker.started_at, Worker.id))
    held: dict[str, list[HeldRun]] = {}
    for row in session.execute(
        select(
            Run.id, Run.worker_id, Run.ordinal, Study.number, Run.method_label, Run.task, Run.state,
            Run.phase, Run.last_step, Run.total_steps, Run.seconds_per_step, Run.is_stalled,
        )
        .join(Study, Study.id == Run.study_id)
        .where(Run.state.in_(list(ACTIVE)))
        .order_by(Run.created_at, Run.ordinal)
    ):  # fmt: skip
        held.setdefault(row.worker_id, []).append(_held(row))
    return [
        WorkerLine(
            id=worker.id,
            name=worker.name,
            role=worker.role,
            host=worker.host,
            device=worker.device,
            state=worker.state,
            queues=tuple(worker.queues),
            memory_bytes=worker.memory_bytes,
            memory_used=worker.memory_used,
            seconds_silent=max(0.0, (now - worker.hb_at).total_seconds()),
            started_at=worker.started_at,
            runs=tuple(held.get(worker.id, ())),
        )
        for worker in found
    ]


def _held(row: Any) -> HeldRun:
    return HeldRun(
        id=row.id,
        slug=f"S{row.number}-{row.ordinal}",
        method_label=row.method_label,
        task=row.task,
        state=RunState(row.state),
        phase=row.phase,
        last_step=row.last_step,
        total_steps=row.total_steps,
        seconds_per_step=row.seconds_per_step,
        is_stalled=row.is_stalled,
    )


def _by_queue(session: Session) -> dict[str, int]:
    counted = session.execute(
        select(Run.queue, func.count().label("runs"))
        .where(Run.state == RunState.QUEUED.value)
        .group_by(Run.queue)
        .order_by(Run.queue)
    )
    return {row.queue: row.runs for row in counted}


def _waiting(session: Session) -> list[WaitingRun]:
    # The order is found on few columns; everything else is read for the first rows alone.
    first = (
        select(Run.id)
        .where(Run.state == RunState.QUEUED.value)
        .order_by(*claim_order())
        .limit(MOST_WAITING)
        .subquery()
    )
    rows = session.execute(
        select(
            Run.id, Run.study_id, Run.ordinal, Study.number, Run.method_label, Run.task, Run.queue,
            Run.priority, Run.memory_bytes, Run.checkpoint_step,
            func.coalesce(RunEvent.at, Run.created_at).label("waits_since"),
        )
        .join(first, first.c.id == Run.id)
        .join(Study, Study.id == Run.study_id)
        .outerjoin(RunEvent, and_(RunEvent.run_id == Run.id, RunEvent.version == Run.version))
        .order_by(*claim_order())
    ).all()  # fmt: skip
    reasons = waiting_reasons(session, [row.id for row in rows])
    return [
        WaitingRun(
            id=row.id,
            slug=f"S{row.number}-{row.ordinal}",
            study_id=row.study_id,
            position=position,
            method_label=row.method_label,
            task=row.task,
            queue=row.queue,
            priority=row.priority,
            memory_bytes=row.memory_bytes,
            checkpoint_step=row.checkpoint_step,
            waits_since=row.waits_since,
            reason=reasons.get(row.id, ""),
        )
        for position, row in enumerate(rows, 1)
    ]


def _studies(session: Session) -> tuple[WaitingStudy, ...]:
    counted = (
        select(
            Run.study_id,
            func.count().label("runs"),
            func.max(Run.priority).label("priority"),
            func.min(Run.created_at).label("first"),
        )
        .where(Run.state == RunState.QUEUED.value)
        .group_by(Run.study_id)
        .subquery()
    )
    rows = session.execute(
        select(Study.id, Study.number, Study.name, Study.is_demo, Study.priority, counted.c.runs)
        .join(counted, counted.c.study_id == Study.id)
        .order_by(counted.c.priority.desc(), counted.c.first, Study.id)
        .limit(MOST_STUDIES)
    )
    return tuple(
        WaitingStudy(row.id, f"S{row.number}", row.name, row.is_demo, row.priority, row.runs)
        for row in rows
    )


def highest_priority(session: Session, *, but_study: str = "") -> int:
    """Highest priority in the queue, 0 when it is empty.

    Args:
        but_study: Study whose runs are not looked at.
    """
    queued = (Run.state == RunState.QUEUED.value, Run.study_id != but_study)
    return session.scalar(select(func.max(Run.priority)).where(*queued)) or 0


def queue_of_run(session: Session, run_id: str) -> str:
    """Name of the queue that a run waits in, or came from; the usual one when there is no run."""
    return session.scalar(select(Run.queue).where(Run.id == run_id)) or DEFAULT_QUEUE


def queue_of_study(session: Session, study_id: str) -> str:
    """Name of the queue of a study's runs; the usual one when there is no study."""
    return session.scalar(select(Study.queue).where(Study.id == study_id)) or DEFAULT_QUEUE
