"""Which queued runs a worker may take, and why the others wait."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from core.disk import size
from core.errors import ConfigError
from core.states import RunState
from core.store.clock import database_time, utcnow
from core.store.models import DEFAULT_QUEUE, QUEUE_LENGTH, Run, Worker

QUEUE_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{QUEUE_LENGTH - 1}}}")


@dataclass(frozen=True)
class Offer:
    """What one living worker takes.

    Attributes:
        queues: Names of the queues that it serves.
        memory_bytes: Memory of its device; 0 when it is not known.
    """

    queues: tuple[str, ...]
    memory_bytes: int


def queue_names(names: Iterable[str]) -> tuple[str, ...]:
    """Check names of queues and leave doubles out; none at all is the queue ``default``.

    Raises:
        ConfigError: Naming the first one that is no name of a queue.
    """
    found = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in found:
        if not QUEUE_NAME.fullmatch(name):
            raise ConfigError(
                f"'{name}' is no name of a queue.",
                field="queue",
                hint=f"Use up to {QUEUE_LENGTH} letters, digits, _ and -, such as gpu-large.",
            )
    return found or (DEFAULT_QUEUE,)


def ready() -> tuple[ColumnElement[bool], ...]:
    """Conditions of queued runs whose time has come, by the database's clock."""
    return (
        Run.state == RunState.QUEUED.value,
        or_(Run.not_before.is_(None), Run.not_before <= database_time()),
    )


def claim_order() -> tuple[ColumnElement[Any], ...]:
    """Order in which queued runs are claimed: priority first, then age."""
    return (Run.priority.desc(), Run.created_at.asc(), Run.study_id.asc(), Run.ordinal.asc())


def suits(queues: Sequence[str], memory_bytes: int) -> tuple[ColumnElement[bool], ...]:
    """Conditions of runs that a worker with these queues and this memory may take; see ``fits``."""
    of_queue = Run.queue.in_(list(queues))
    return (of_queue, Run.memory_bytes <= memory_bytes) if memory_bytes else (of_queue,)


def fits(queue: str, memory_bytes: int, offer: Offer) -> bool:
    """Tell whether a worker may take a run; memory of 0 on either side is unknown and fits."""
    is_small = not memory_bytes or not offer.memory_bytes or memory_bytes <= offer.memory_bytes
    return queue in offer.queues and is_small


def offers(session: Session) -> list[Offer]:
    """What the living workers that train take."""
    rows = session.execute(
        select(Worker.queues, Worker.memory_bytes).where(
            Worker.state == "alive", Worker.role == "train"
        )
    )
    return [Offer(tuple(row.queues), row.memory_bytes) for row in rows]


def waiting_reasons(session: Session, run_ids: Collection[str] | None = None) -> dict[str, str]:
    """Say why queued runs wait, by run id; "" for those that wait for their turn alone.

    Args:
        run_ids: Runs to look at, for lists that show a piece of a long queue; None: all queued
            runs. Those that are not queued are left out of the answer.
    """
    living = offers(session)
    query = select(Run.id, Run.queue, Run.memory_bytes, Run.not_before).where(
        Run.state == RunState.QUEUED.value
    )
    if run_ids is not None:
        query = query.where(Run.id.in_(list(run_ids)))
    now = utcnow()
    return {
        row.id: _obstacle(row.queue, row.memory_bytes, living) or _back_off(row.not_before, now)
        for row in session.execute(query)
    }


def _obstacle(queue: str, memory_bytes: int, living: Sequence[Offer]) -> str:
    """Say what keeps every living worker from taking a run; "" when one may."""
    serving = [offer for offer in living if queue in offer.queues]
    if not serving:
        return f"no worker serves the queue {queue}"
    if any(fits(queue, memory_bytes, offer) for offer in serving):
        return ""
    largest = max(offer.memory_bytes for offer in serving)
    return (
        f"needs {size(memory_bytes)}; the largest device that serves the queue {queue} has "
        f"{size(largest)}"
    )


def _back_off(not_before: datetime | None, now: datetime) -> str:
    seconds = (not_before - now).total_seconds() if not_before else 0.0
    return f"retrying in {max(1, round(seconds))} s" if seconds > 0 else ""
