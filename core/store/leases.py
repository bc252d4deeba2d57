"""Leases by heartbeat counters, judged on the observer's own monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LOOK_SHARE = 1 / 4
"""Longest part of the lease that one silence between two looks counts for."""


@dataclass(frozen=True)
class Observation:
    """A worker whose heartbeat counter stood at ``hb_seq``."""

    worker_id: str
    hb_seq: int


class LeaseObserver:
    """Finds workers whose counter did not change for the whole lease.

    No wall clock takes part, so a jump of it, or a clock that differs between machines, never
    takes a run away. A new observer waits a full lease before it judges anybody.

    An observer that could not look for a while, because it was held up or the database was away,
    does not know who was silent meanwhile: of the time between two looks at most a share of the
    lease counts.

    Args:
        lease_seconds: Time without a change after which a worker is held for lost; look at least
            ``1 / LOOK_SHARE`` times as often.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease_seconds
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_at: float | None = None

    def expired(self, counters: Mapping[str, int]) -> list[Observation]:
        """Take note of the counters of all living workers; return those that are overdue.

        Args:
            counters: ``hb_seq`` by worker id (``workers.counters``).
        """
        now = self._clock()
        blind = 0.0
        if self._looked_at is not None:
            blind = max(0.0, now - self._looked_at - LOOK_SHARE * self._lease)
        self._looked_at = now
        before = {worker: (seq, since + blind) for worker, (seq, since) in self._seen.items()}
        self._seen = {
            worker: before[worker] if before.get(worker, (None, 0.0))[0] == seq else (seq, now)
            for worker, seq in counters.items()
        }
        return [
            Observation(worker, seq)
            for worker, (seq, since) in self._seen.items()
            if now - since >= self._lease
        ]
