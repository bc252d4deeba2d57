"""A thread of the web process that looks for silent workers and for runs whose ring was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core import queue
from core.errors import StoreError
from core.settings import Settings
from core.store.session import Store
from core.sweep import Sweeper, sweep_seconds

STOP_SECONDS = 5.0

logger = logging.getLogger(__name__)


class SweepingThread:
    """Sweeps a few times a lease until it is stopped; a database that is away only delays it.

    Args:
        sweeper: Takes runs from silent workers and rings again.
        settings: Lease and poll times.
    """

    def __init__(self, sweeper: Sweeper, settings: Settings) -> None:
        self._sweeper = sweeper
        self._sweep_seconds = sweep_seconds(settings.lease_seconds)
        self._ring_seconds = 2 * settings.poll_seconds
        self._stopped = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that waits for a database is left behind after five seconds."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        sweep_at = ring_at = 0.0
        while not self._stopped.is_set():
            now = time.monotonic()
            if now >= sweep_at:
                sweep_at = now + self._sweep_seconds
                self._look("sweep")
            if now >= ring_at:
                ring_at = now + self._ring_seconds
                self._look("ring")
            self._stopped.wait(max(0.05, min(sweep_at, ring_at) - time.monotonic()))

    def _look(self, what: str) -> None:
        try:
            if what == "sweep":
                self._sweeper.sweep()
            else:
                self._sweeper.ring_again()
        except StoreError as error:
            if not self._is_failing:
                logger.warning("looking for silent workers fails: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False


@asynccontextmanager
async def sweeping(store: Store, settings: Settings) -> AsyncIterator[None]:
    """Sweep while the application lives."""
    sweeper = Sweeper(
        store,
        settings.lease_seconds,
        ring=queue.ring_execute,
        poll_seconds=settings.poll_seconds,
    )
    thread = SweepingThread(sweeper, settings)
    thread.start()
    try:
        yield
    finally:
        thread.stop()
