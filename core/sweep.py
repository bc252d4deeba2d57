"""What any process may do for the others: take runs from silent workers, ring idle ones again.

Any number of sweepers may work at once. Taking a run is guarded by what the observer saw, and a
ring too many only makes a worker look into the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from core.states import ACTIVE
from core.store import runs, workers
from core.store.leases import LeaseObserver
from core.store.models import Run, Worker
from core.store.session import Store
from core.store.waiting import Offer, claim_order, ready, suits

log = logging.getLogger(__name__)

Ring = Callable[[str, str], object]
"""Wakes the workers of a queue for a run: run id and queue name, as ``core.queue.ring_execute``."""

LOOKS_BEFORE_RING = 2
LOOKS_A_LEASE = 12
SHORTEST_SECONDS = 0.2


def sweep_seconds(lease_seconds: float) -> float:
    """Time between two looks for silent workers: what a look comes late adds to the lease."""
    return max(SHORTEST_SECONDS, lease_seconds / LOOKS_A_LEASE)


class Sweeper:
    """Notices dead workers and lost messages.

    Args:
        store: The database.
        lease_seconds: Time without a heartbeat after which a worker is held for lost.
        clock: Monotonic clock in seconds; no wall clock decides anything here.
        ring: Wakes the workers of a queue; None: ``ring_again`` does nothing.
        poll_seconds: Time between two looks of a worker.
    """

    def __init__(
        self,
        store: Store,
        lease_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        ring: Ring | None = None,
        *,
        poll_seconds: float = 3.0,
    ) -> None:
        self._store = store
        self._leases = LeaseObserver(lease_seconds, clock)
        self._clock = clock
        self._ring = ring
        self._patience = LOOKS_BEFORE_RING * poll_seconds
        self._seen: dict[str, float] = {}
        self.alive: frozenset[str] = frozenset()
        """Workers that counted as alive at the last ``sweep``."""

    def sweep(self, *, but: str = "") -> int:
        """Take the runs from workers that were silent for the whole lease.

        Args:
            but: The caller's own worker, which never takes its own runs away.

        Returns:
            Runs that were taken, a count; most are queued again.

        Raises:
            StoreError: If the database refuses; the next call tries again.
        """
        with self._store.read() as session:
            counters = workers.counters(session)
        self.alive = frozenset(counters)
        overdue = [seen for seen in self._leases.expired(counters) if seen.worker_id != but]
        if not overdue:
            return 0
        moved = self._store.transact(lambda session: runs.expire(session, overdue))
        log.warning("%d silent workers lost %d runs", len(overdue), len(moved))
        return len(moved)

    def ring_again(self) -> int:
        """Ring for runs that came first for an idle worker throughout two of its looks.

        The message of such a run was lost with the broker, or never sent.

        Returns:
            Runs that were rung for, a count.

        Raises:
            StoreError: If the database refuses; the next call tries again.
        """
        if self._ring is None:
            return 0
        with self._store.read() as session:
            first = _first_for(session, _idle(session))
        now = self._clock()
        self._seen = {run_id: self._seen.get(run_id, now) for run_id in first}
        rung = [run_id for run_id, since in self._seen.items() if now - since >= self._patience]
        for run_id in rung:
            self._ring(run_id, first[run_id])
            self._seen[run_id] = now
        return len(rung)


def _idle(session: Session) -> set[Offer]:
    """What living workers take that hold no run."""
    holds = exists().where(Run.worker_id == Worker.id, Run.state.in_(list(ACTIVE)))
    rows = session.execute(
        select(Worker.queues, Worker.memory_bytes).where(
            Worker.state == "alive", Worker.role == "train", ~holds
        )
    )
    return {Offer(tuple(row.queues), row.memory_bytes) for row in rows}


def _first_for(session: Session, idle: Iterable[Offer]) -> dict[str, str]:
    """Run that each worker would claim next, with its queue; one for equal workers."""
    found: dict[str, str] = {}
    for offer in idle:
        wanted = (*ready(), *suits(offer.queues, offer.memory_bytes))
        row = session.execute(
            select(Run.id, Run.queue).where(*wanted).order_by(*claim_order()).limit(1)
        ).one_or_none()
        if row is not None:
            found[row.id] = row.queue
    return found
