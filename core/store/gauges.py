"""Numbers about the whole database for monitoring: five queries, no names of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, extract, func, literal_column, select
from sqlalchemy.orm import Session

from core.states import RunState
from core.store.clock import utcnow
from core.store.models import Attempt, Run, Worker
from core.store.models_data import Checkpoint, Prediction, ScalarSummary

SQLITE_BYTES = "(SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size())"


@dataclass(frozen=True)
class WorkerGauge:
    """Workers of one role in one state.

    Attributes:
        slowest_beat: Age of the oldest last beat among them, in seconds.
        memory_used: Sum over their devices, in bytes.
        memory_bytes: Sum over their devices, in bytes; devices of unknown size count as 0.
    """

    role: str
    state: str
    count: int
    slowest_beat: float
    memory_used: int
    memory_bytes: int


@dataclass(frozen=True)
class Gauges:
    """What a scrape reads.

    Attributes:
        runs: Runs by state.
        queued: Queued runs by queue.
        oldest: Age of the oldest queued run by queue, in seconds.
        attempts: Attempts that ended, by outcome.
        predictions: Predictions by state.
        prediction_seconds: Sum of the times from question to end of ended predictions, by state.
        checkpoint_bytes: Bytes of the registered checkpoints.
        scalar_points: Points of all curves.
        database_bytes: Size of the database.
    """

    runs: Mapping[str, int]
    queued: Mapping[str, int]
    oldest: Mapping[str, float]
    attempts: Mapping[str, int]
    workers: tuple[WorkerGauge, ...]
    predictions: Mapping[str, int]
    prediction_seconds: Mapping[str, float]
    checkpoint_bytes: int
    scalar_points: int
    database_bytes: int


def read_gauges(session: Session) -> Gauges:
    """Count everything once."""
    now = utcnow()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    runs: dict[str, int] = {}
    queued: dict[str, int] = {}
    oldest: dict[str, float] = {}
    counted = select(
        Run.state, Run.queue, func.count().label("runs"), func.min(Run.created_at).label("first")
    )
    for row in session.execute(counted.group_by(Run.state, Run.queue)):
        runs[row.state] = runs.get(row.state, 0) + row.runs
        if row.state == RunState.QUEUED.value:
            queued[row.queue] = row.runs
            oldest[row.queue] = age(row.first, now)
    ended = select(Attempt.outcome, func.count().label("ended")).where(Attempt.outcome != "")
    attempts = {row.outcome: row.ended for row in session.execute(ended.group_by(Attempt.outcome))}
    took = _seconds_between(Prediction.created_at, Prediction.ended_at, is_sqlite=is_sqlite)
    asked = select(
        Prediction.state, func.count().label("asked"), func.sum(took).label("seconds")
    ).group_by(Prediction.state)
    predictions = session.execute(asked).all()
    sizes = session.execute(
        select(
            select(func.coalesce(func.sum(Checkpoint.num_bytes), 0))
            .where(Checkpoint.state == "registered")
            .scalar_subquery()
            .label("checkpoints"),
            select(func.coalesce(func.sum(ScalarSummary.count), 0))
            .scalar_subquery()
            .label("points"),
            _database_bytes(is_sqlite=is_sqlite).label("database"),
        )
    ).one()
    return Gauges(
        runs=runs,
        queued=queued,
        oldest=oldest,
        attempts=attempts,
        workers=_workers(session, now),
        predictions={row.state: row.asked for row in predictions},
        prediction_seconds={row.state: float(row.seconds or 0.0) for row in predictions},
        checkpoint_bytes=int(sizes.checkpoints),
        scalar_points=int(sizes.points),
        database_bytes=int(sizes.database),
    )


def _workers(session: Session, now: datetime) -> tuple[WorkerGauge, ...]:
    rows = session.execute(
        select(
            Worker.role,
            Worker.state,
            func.count().label("workers"),
            func.min(Worker.hb_at).label("beat"),
            func.sum(Worker.memory_used).label("used"),
            func.sum(Worker.memory_bytes).label("total"),
        )
        .group_by(Worker.role, Worker.state)
        .order_by(Worker.role, Worker.state)
    )
    return tuple(
        WorkerGauge(
            row.role, row.state, row.workers, age(row.beat, now), int(row.used), int(row.total)
        )
        for row in rows
    )


def age(moment: datetime, now: datetime) -> float:
    """Seconds since a moment, at least 0: clocks of machines differ."""
    return max(0.0, (now - moment).total_seconds())


def _seconds_between(first: Any, last: Any, *, is_sqlite: bool) -> ColumnElement[float]:
    if is_sqlite:
        return (func.julianday(last) - func.julianday(first)) * 86400.0
    return extract("epoch", last - first).cast(Float)


def _database_bytes(*, is_sqlite: bool) -> ColumnElement[Any]:
    if is_sqlite:
        return literal_column(SQLITE_BYTES)
    return func.pg_database_size(func.current_database())
