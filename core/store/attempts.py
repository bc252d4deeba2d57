"""The attempts of a run with everything that people ask about one: where, how it ended, its log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.store.clock import utcnow
from core.store.models import Attempt, Worker


@dataclass(frozen=True)
class AttemptLine:
    """One try of a worker; ``outcome`` is empty while it lives.

    Attributes:
        notice: What people should know about it, a line each.
        has_log: Tells whether the end of its log was kept.
    """

    attempt: int
    fence: int
    worker_name: str
    host: str
    device: str
    resumed_from_step: int
    discarded_points: int
    last_step: int
    outcome: str
    kind: str
    detail: str
    notice: str
    has_log: bool
    started_at: datetime
    ended_at: datetime | None

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far, in seconds."""
        return max(0.0, ((self.ended_at or utcnow()) - self.started_at).total_seconds())


@dataclass(frozen=True)
class AttemptLog:
    """Where the log of an attempt is.

    Attributes:
        boot_id: Start of the machine that wrote it.
        path: File on that machine; empty when not known.
        tail: End of the log as kept in the database; empty while the attempt lives.
    """

    is_over: bool
    host: str
    boot_id: str
    path: str
    tail: str


def attempts(session: Session, run_id: str) -> tuple[AttemptLine, ...]:
    """Attempts of a run in order."""
    rows = session.execute(
        select(
            Attempt.attempt, Attempt.fence, Attempt.resumed_from_step, Attempt.discarded_points,
            Attempt.last_step, Attempt.outcome, Attempt.kind, Attempt.detail, Attempt.notice,
            ((Attempt.log_tail != "") | (Attempt.log_path != "")).label("has_log"),
            Attempt.started_at, Attempt.ended_at, Worker.name, Worker.host, Worker.device,
        )
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.run_id == run_id)
        .order_by(Attempt.attempt)
    )  # fmt: skip
    return tuple(
        AttemptLine(
            attempt=row.attempt,
            fence=row.fence,
            worker_name=row.name,
            host=row.host,
            device=row.device,
            resumed_from_step=row.resumed_from_step,
            discarded_points=row.discarded_points,
            last_step=row.last_step,
            outcome=row.outcome,
            kind=row.kind,
            detail=row.detail,
            notice=row.notice,
            has_log=bool(row.has_log),
            started_at=row.started_at,
            ended_at=row.ended_at,
        )
        for row in rows
    )


def attempt_log(session: Session, run_id: str, attempt: int) -> AttemptLog:
    """Say where an attempt's log is.

    Raises:
        NotFound: If there is no such run or attempt.
    """
    row = session.execute(
        select(Attempt.ended_at, Attempt.log_path, Attempt.log_tail, Worker.host, Worker.boot_id)
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.run_id == run_id, Attempt.attempt == attempt)
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no attempt {attempt} of the run {run_id}.",
            hint="The page of the run lists its attempts.",
        )
    return AttemptLog(row.ended_at is not None, row.host, row.boot_id, row.log_path, row.log_tail)
