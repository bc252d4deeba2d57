"""The supervisor: claims runs, hands them to its trainer process, writes down what it tells.

One thread does everything, so there is no beat that can stop unnoticed while training goes on;
a second one only ends the trainer when that thread is held up too long to beat. Only the
supervisor writes to the database and holds fences. A database that is away ends the trainer before
the lease ends; a broker that is away only delays a claim to the next look.
"""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from core.artifacts import artifact_store
from core.errors import StoreError
from core.settings import Settings
from core.states import StopKind
from core.store import runs, workers
from core.store.models import DEFAULT_QUEUE
from core.store.session import Store
from core.sweep import Ring, Sweeper, sweep_seconds
from core.wording import counted
from worker.active import Cause
from worker.claimer import Claimer
from worker.identity import Identity, dead_workers, own_identity
from worker.lease_guard import LeaseGuard
from worker.memory import MemoryMeter
from worker.recorder import Recorder
from worker.shipping import Remover
from worker.trainer_host import TrainerHost
from worker.trainer_logs import TrainerLogs
from worker.trainer_process import TrainerProcess

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
MEASURE_SECONDS = 1.0
LONGEST_WAIT = 0.5
DRAIN_SECONDS = 3.0
MAKE_ROOM_SECONDS = 10.0
IDLE_TRAINER_SECONDS = 300.0
NO_ROOM_SECONDS = 10.0
LEASE_SHARE = 2 / 3
"""Part of the lease after which a supervisor without beats ends its trainer: before anybody else
may take the runs."""

StartTrainer = Callable[[TrainerLogs, str], TrainerProcess]
"""Starts a trainer whose first output goes to the log file of the group with this id."""


@dataclass
class Timer:
    """Says when something that repeats is due."""

    seconds: float
    due_at: float = 0.0

    def due(self, now: float) -> bool:
        """Tell whether it is due, and if so start the next interval."""
        if now < self.due_at:
            return False
        self.due_at = now + self.seconds
        return True


@dataclass(frozen=True)
class WorkerDescription:
    """What the list of workers shows about this one, and which runs it is given.

    Attributes:
        name: For people.
        device: For people, for example ``cpu, 2 threads``.
        info: Facts about machine and device.
        queues: Queues that it serves.
        memory_bytes: Memory of its device; runs that need more are not given to it. 0: unknown.
        gpu: Identifier of its GPU for nvidia-smi; empty: it computes on the CPU.
    """

    name: str
    device: str
    info: dict[str, str | int]
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    memory_bytes: int = 0
    gpu: str = ""


class Supervisor:
    """Runs one trainer under one lease.

    Args:
        store: The database.
        settings: Time-outs, group size and folders.
        description: Name and device for people.
        start_trainer: Starts the trainer process; called when a group is there.
        identity: This process; found by itself when None.
        ring: Wakes the workers of a queue, for runs whose message was lost.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        description: WorkerDescription,
        start_trainer: StartTrainer,
        *,
        identity: Identity | None = None,
        ring: Ring | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._description = description
        self._identity = identity or own_identity()
        self._clock = clock
        self.on_turn: Callable[[], None] = lambda: None
        """Called in every turn of the loop."""
        self._selector = selectors.DefaultSelector()
        artifacts = artifact_store(settings)
        self._remover = Remover(artifacts)
        self._recorder = Recorder(store, settings.artifacts_path, self._remover)
        self._outbox = self._recorder.outbox
        self._memory = MemoryMeter(description.gpu)
        self._host = TrainerHost(
            self._recorder,
            settings.data_folders,
            start_trainer,
            TrainerLogs(settings.home_path / "logs"),
            self._memory,
            self._selector,
            settings.stall_seconds,
            clock,
        )
        self._claimer = Claimer(
            store,
            settings.artifacts_path,
            description.queues,
            description.memory_bytes,
            is_shared=artifacts.is_shared,
        )
        self._sweeper = Sweeper(
            store, settings.lease_seconds, clock, ring, poll_seconds=settings.poll_seconds
        )
        self._guard = LeaseGuard(
            LEASE_SHARE * settings.lease_seconds, lambda: self._host.busy_process, clock
        )
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._beat = Timer(settings.beat_seconds)
        self._look = Timer(settings.poll_seconds)
        self._sweep = Timer(sweep_seconds(settings.lease_seconds))
        self._flush = Timer(FLUSH_SECONDS)
        self._measure = Timer(MEASURE_SECONDS)
        self._told_failing = False
        self._stop_at: float | None = None
        self.worker_id = ""

    def wake(self) -> None:
        """Make the loop look at once; safe in signal handlers and other threads."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    def request_stop(self) -> None:
        """Ask the loop to drain and end; safe in signal handlers. Twice: end at once."""
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"s")

    def run(self) -> None:
        """Work until ``request_stop``; leaves no process behind.

        Raises:
            StoreError: If the worker cannot be registered at all.
        """
        self._register()
        self._guard.start()
        try:
            while not self._turn():
                pass
        finally:
            self._leave()

    def _turn(self) -> bool:
        """Do what is due; True when the loop is to end."""
        self._wait()
        now = self._clock()
        self.on_turn()
        if self._host.turn(now):
            self._look.due_at = 0.0
        try:
            self._write(now)
        except (StoreError, OSError) as error:
            self._database_failed(error)
        if self._host.group and self._guard.is_over:
            self._host.end_at_once(Cause.NO_DATABASE, self._guard.describe())
        if self._stop_at is not None:
            return self._host.group is None
        self._host.rest_after(IDLE_TRAINER_SECONDS, now)
        return False

    def _write(self, now: float) -> None:
        """Beat, write what waits, sweep and claim, as far as each is due.

        Raises:
            StoreError: If the database refuses; what waits is kept.
        """
        if self._beat.due(now):
            self._do_beat()
        if self._outbox.is_urgent or (not self._outbox.is_empty and self._flush.due(now)):
            self._write_down()
            self._flush.due_at = now + FLUSH_SECONDS
        if self._sweep.due(now):
            self._do_sweep()
        if self._look.due(now):
            self._do_look(now)

    def _write_down(self) -> None:
        """Write what waits; drop work on runs whose claim turns out to be lost."""
        for run_id, fence in self._outbox.flush():
            self._host.lose(run_id, fence)

    def _wait(self) -> None:
        timers = [self._beat, self._sweep, self._look]
        if not self._outbox.is_empty:
            timers.append(self._flush)
        wait = min(timer.due_at for timer in timers) - self._clock()
        events = self._selector.select(min(LONGEST_WAIT, max(0.0, wait)))
        if any(key.fd == self._wake_read for key, _ in events):
            self._heed(os.read(self._wake_read, 4096))

    def _heed(self, words: bytes) -> None:
        """Follow rings and stop requests; both are written into the wake pipe."""
        self._look.due_at = self._beat.due_at = 0.0
        if stops := words.count(b"s"):
            again = self._stop_at is not None or stops > 1
            self._stop_at = self._clock()
            seconds = 0.0 if again else DRAIN_SECONDS
            self._host.drain("the worker is shutting down", seconds)

    def _do_beat(self) -> None:
        """Renew the lease; orders for the runs come back with it."""
        began_at, fences = self._clock(), self._host.fences
        if self._measure.due(began_at):
            self._memory.look(self._host.pid, began_at)
        with self._store.write(durable=False) as session:
            answer = runs.beat(
                session,
                self.worker_id,
                fences,
                waiting=self._outbox.waiting,
                memory_used=self._memory.used,
            )
        self._guard.beaten(began_at)
        if self._told_failing:
            log.info("the database answers again")
            self._told_failing = False
        for run_id, word in answer.items():
            if word == StopKind.CANCEL:
                self._host.cancel(run_id)
            elif word == "lost":
                self._host.lose(run_id, fences[run_id])

    def _do_sweep(self) -> None:
        """Take runs from workers that no longer beat; come back when it happened to oneself."""
        if self._sweeper.sweep(but=self.worker_id):
            self._look.due_at = 0.0
        if self.worker_id not in self._sweeper.alive:
            self._come_back()
        self._sweeper.ring_again()

    def _come_back(self) -> None:
        """Count as alive again after others held this worker for lost; its runs may be gone."""
        log.warning("this worker was held for lost; it comes back")
        self._do_beat()
        with self._store.read() as session:
            known = workers.counters(session)
        if self.worker_id not in known:
            self._register()

    def _do_look(self, now: float) -> None:
        """Claim when the trainer is free; make room when a user waits behind the demo."""
        group = self._host.group
        if self._stop_at is not None:
            return
        if group is None:
            if self._guard.is_over:
                # Without a fresh beat, what is claimed would have to be ended at once.
                self._do_beat()
            limit = self._host.limit_below(self._settings.group_size)
            claimed = self._claimer.claim(self.worker_id, limit)
            if claimed is None:
                self._look.due_at = max(self._look.due_at, now + NO_ROOM_SECONDS)
            elif claimed:
                self._host.take(claimed)
            return
        is_busy = group.ladder is None and group.runs and group.priority < 0
        if is_busy and self._claimer.is_wanted_above(group.priority):
            self._host.drain("made room for a user's run", MAKE_ROOM_SECONDS)

    def _register(self) -> None:
        me, began_at = self._identity, self._clock()
        with self._store.write() as session:
            rows = workers.list_workers(session, alive_only=True)
            moved = runs.expire(session, dead_workers(rows, me))
            self.worker_id = workers.register(
                session,
                name=self._description.name,
                role="train",
                host=me.host,
                pid=me.pid,
                device=self._description.device,
                boot_id=me.boot_id,
                info={**self._description.info, **me.info},
                queues=self._description.queues,
                memory_bytes=self._description.memory_bytes,
            )
        self._guard.beaten(began_at)
        self._recorder.worker_id = self.worker_id
        if moved:
            log.info("queued again from a worker that died: %s", counted(len(moved), "run"))

    def _database_failed(self, error: StoreError | OSError) -> None:
        if not self._told_failing:
            log.error("%s Training goes on for a while; what it tells is kept.", error)
            self._told_failing = True
        # Not at once again: the loop must stay quick for the trainer.
        later = self._clock() + min(0.5, self._settings.beat_seconds)
        for timer in (self._beat, self._look, self._sweep, self._flush):
            timer.due_at = max(timer.due_at, later)
        self._outbox.is_urgent = False

    def _leave(self) -> None:
        """End the trainer, write what is left, and say goodbye; the lease tells the rest."""
        self._guard.stop()
        self._host.close()
        self._memory.close()
        try:
            self._write_down()
            with self._store.write() as session:
                workers.stop(session, self.worker_id)
        except (StoreError, OSError) as error:
            log.warning("the worker leaves without telling the database: %s", error)
        self._remover.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
