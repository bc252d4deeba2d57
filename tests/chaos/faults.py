"""What goes wrong, when, and where: a schedule from a seed, and the hand that does it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tests.chaos.processes import Machine, Pace, Service
from tests.chaos.worker_entry import FLUSH, FLUSHED
from worker.identity import start_mark

PATIENCE_SECONDS = 30.0
ORPHAN_SECONDS = 20.0
"""A trainer that still loads its modules hears of its supervisor's end only after that."""


class Kind(StrEnum):
    """One way of going wrong."""

    TRAINER_KILL = "kill -9 of a trainer"
    TRAINER_STOP = "trainer stopped beyond the lease"
    WORKER_KILL = "kill -9 of a supervisor"
    WORKER_STOP = "supervisor stopped beyond the lease"
    WRITE_STOP = "supervisor stopped beyond the lease just before it writes"
    POINT_KILL = "supervisor killed at a named point"
    MACHINE_STOP = "supervisor and trainer stopped beyond the lease"
    BROKER_WIPE = "kill -9 of the broker, back empty"
    WEB_KILL = "kill -9 of the web process"
    DATABASE_CRASH = "database restarted (immediate stop)"
    DATABASE_LOCK = "database locked for seconds, its holder killed"
    DATABASE_WRITER_KILL = "kill -9 of a process with an open write transaction"


POINTS = (
    "supervisor.claimed",
    "supervisor.recorded",
    "checkpoint.told",
    "store.commit",
    "store.committed",
    FLUSH,
    FLUSHED,
)
STOPS = (Kind.TRAINER_STOP, Kind.WORKER_STOP, Kind.WRITE_STOP, Kind.MACHINE_STOP)


@dataclass(frozen=True)
class Fault:
    """One entry of a schedule.

    Attributes:
        pause: Seconds since the fault before it.
        target: Which machine, counted round.
        seconds: How long it lasts, where it lasts.
        point: Named place, where it needs one.
    """

    number: int
    kind: Kind
    pause: float
    target: int
    seconds: float
    point: str

    def __str__(self) -> str:
        where = f" at {self.point}" if self.point else ""
        return (
            f"{self.number:3} +{self.pause:.2f} s: {self.kind.value}{where}, "
            f"machine {self.target}, {self.seconds:.1f} s"
        )


def schedule(
    seed: int,
    counts: Mapping[Kind, int],
    pause: tuple[float, float],
    pace: Pace,
    writes: Sequence[str],
) -> list[Fault]:
    """Put so many faults of each kind into an order that only the seed decides.

    Args:
        writes: Places at which a supervisor may be stopped before it writes.
    """
    dice = random.Random(seed)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    dice.shuffle(kinds)
    faults = []
    for number, kind in enumerate(kinds, 1):
        seconds = dice.uniform(1.3, 2.0) * pace.lease if kind in STOPS else dice.uniform(0.5, 3.0)
        point = ""
        if kind is Kind.POINT_KILL:
            point = dice.choice(POINTS)
        elif kind is Kind.WRITE_STOP:
            point = dice.choice(writes)
        faults.append(
            Fault(number, kind, dice.uniform(*pause), dice.randrange(100), seconds, point)
        )
    return faults


@dataclass
class Targets:
    """Processes that can be hit.

    Attributes:
        break_database: Does a database fault of a kind for so many seconds.
        held: Fence of each run that a machine holds, by its name.
        is_taken: Tells whether another machine now holds one of such runs.
        tick: Keeps everything going while the hand waits.
    """

    machines: Sequence[Machine]
    broker: Service | None
    web: Service | None
    break_database: Callable[[Kind, float], None]
    held: Callable[[str], dict[str, int]]
    is_taken: Callable[[Mapping[str, int]], bool]
    tick: Callable[[], None]


@dataclass
class Hand:
    """Does faults; what it did is counted by kind.

    Attributes:
        missed: Faults that found nothing to hit; a trainer was killed in place of each.
        woken_late: Supervisors that were woken to write while another one held their runs.
        log: What happened, with the seconds since the start.
    """

    targets: Targets
    done: Counter[str] = field(default_factory=Counter)
    missed: list[Fault] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    woken_late: int = 0
    log: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _hurry: bool = False

    def do(self, fault: Fault) -> None:
        """Do one fault, waiting a while for something to hit; else kill a trainer."""
        if self._within(fault, PATIENCE_SECONDS):
            return
        self.missed.append(fault)
        self.note(f"missed {fault}")
        self._within(replace(fault, kind=Kind.TRAINER_KILL, point=""), PATIENCE_SECONDS)

    def _within(self, fault: Fault, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._try(fault):
                self.done[fault.kind.value] += 1
                self.note(f"did {fault}")
                return True
            self.wait(0.05)
        return False

    def note(self, text: str) -> None:
        """Add a line to the log, with the seconds since the start."""
        self.log.append(f"{time.monotonic() - self._began:7.2f} {text}")

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self._do_due(time.monotonic())
            self.targets.tick()
            if time.monotonic() >= until:
                return
            time.sleep(0.02)

    def wait_for_the_stopped(self) -> None:
        """Let every fault that lasts come to its own end."""
        while any(machine.is_stopped for machine in self.targets.machines):
            self.wait(0.1)

    def rest(self) -> None:
        """End what still lasts: stopped processes go on, the database is there."""
        self._hurry = True
        self._do_due(float("inf"))
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "the database did not come back"
        for machine in self.targets.machines:
            machine.withdraw()
            machine.send(signal.SIGCONT)

    def _do_due(self, now: float) -> None:
        due = [entry for entry in self._later if entry[0] <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for _, action in due:
            action()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def _try(self, fault: Fault) -> bool:
        match fault.kind:
            case Kind.TRAINER_KILL | Kind.TRAINER_STOP:
                return self._hit_trainer(fault)
            case Kind.WRITE_STOP | Kind.POINT_KILL:
                return self._hit_at_point(fault)
            case Kind.BROKER_WIPE:
                return _killed(self.targets.broker)
            case Kind.WEB_KILL:
                return _killed(self.targets.web)
            case Kind.DATABASE_CRASH | Kind.DATABASE_LOCK | Kind.DATABASE_WRITER_KILL:
                return self._break_database(fault)
            case _:
                return self._hit_worker(fault)

    def _machine(self, fault: Fault, with_trainer: bool) -> Machine | None:
        machines = self.targets.machines
        turned = [machines[(fault.target + k) % len(machines)] for k in range(len(machines))]
        for machine in turned:
            is_fit = machine.is_alive and not machine.is_stopped
            if is_fit and (machine.trainer or not with_trainer):
                return machine
        return None

    def _hit_trainer(self, fault: Fault) -> bool:
        machine = self._machine(fault, with_trainer=True)
        pid = machine.trainer if machine else None
        if pid is None:
            return False
        if fault.kind is Kind.TRAINER_KILL:
            return _signal(pid, signal.SIGKILL)
        self._after(fault.seconds, lambda: void(_signal(pid, signal.SIGCONT)))
        return _signal(pid, signal.SIGSTOP)

    def _hit_worker(self, fault: Fault) -> bool:
        machine = self._machine(fault, with_trainer=fault.kind is not Kind.WORKER_STOP)
        if machine is None:
            return False
        pid, trainer = machine.pid, machine.trainer
        if fault.kind is Kind.WORKER_KILL:
            machine.kill()
            self._expect_gone(trainer)
            return True
        pids = [pid, trainer] if fault.kind is Kind.MACHINE_STOP else [pid]
        for stopped in pids:
            if stopped:
                _signal(stopped, signal.SIGSTOP)
                self._after(fault.seconds, lambda it=stopped: void(_signal(it, signal.SIGCONT)))
        return True

    def _hit_at_point(self, fault: Fault) -> bool:
        """Have a machine hit itself; the order is withdrawn when it does not get there."""
        machine = self._machine(fault, with_trainer=True)
        if machine is None:
            return False
        is_stop = fault.kind is Kind.WRITE_STOP
        if is_stop and any(other.is_stopped for other in self.targets.machines):
            # Nobody would be there to take its runs.
            return False
        pid, trainer = machine.pid, machine.trainer
        machine.order(fault.point, signal.SIGSTOP if is_stop else signal.SIGKILL)
        until = time.monotonic() + PATIENCE_SECONDS / 3
        while machine.is_alive and not machine.is_stopped and time.monotonic() < until:
            time.sleep(0.01)
            self._do_due(time.monotonic())
        if machine.withdraw():
            return False
        if is_stop:
            self._go_on_when_taken(pid, self.targets.held(machine.name))
        else:
            self._expect_gone(trainer)
        return True

    def _go_on_when_taken(self, pid: int, held: Mapping[str, int]) -> None:
        """Wake a stopped supervisor at the worst moment: another one has just begun its runs."""
        until = time.monotonic() + PATIENCE_SECONDS

        def look() -> None:
            is_taken = bool(held) and self.targets.is_taken(held)
            if is_taken or not held or time.monotonic() >= until or self._hurry:
                self.woken_late += is_taken
                self.note(f"process {pid} goes on; its runs are taken: {is_taken}")
                _signal(pid, signal.SIGCONT)
            else:
                self._after(0.05, look)

        look()

    def _expect_gone(self, pid: int | None) -> None:
        """Look later whether the trainer of a dead supervisor is gone."""
        if pid is None:
            return
        mark = start_mark(pid)

        def look() -> None:
            if mark and start_mark(pid) == mark:
                self.orphans.append(
                    f"orphan: trainer {pid} lived {ORPHAN_SECONDS:.0f} s after its supervisor"
                )

        self._after(ORPHAN_SECONDS, look)

    def _break_database(self, fault: Fault) -> bool:
        """Break it in a thread, so that other faults go on meanwhile; one at a time."""
        if any(thread.is_alive() for thread in self._threads):
            return False
        thread = threading.Thread(
            target=self.targets.break_database, args=(fault.kind, fault.seconds), daemon=True
        )
        thread.start()
        self._threads = [thread]
        return True


def void(_result: object) -> None:
    """Take a result that nobody needs."""


def _killed(service: Service | None) -> bool:
    if service is None or not service.is_alive:
        return False
    service.kill()
    return True


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
