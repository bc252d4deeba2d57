"""Runs a set-up of real processes under a schedule of faults and judges what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Row, Select, select

from core.errors import StoreError
from core.settings import Settings
from core.store import migrate
from core.store.models import Run, Worker
from core.store.session import Store
from tests.chaos.faults import Fault, Hand, Kind, Targets, schedule
from tests.chaos.people import Habits, People
from tests.chaos.processes import (
    Machine,
    Pace,
    Postgres,
    Service,
    broker_service,
    free_port,
    kill_a_writer,
    postgres,
    trainers,
    web_service,
)
from tests.chaos.verdict import Expectation, Verdict, history, judge
from tests.chaos.worker_entry import FLUSH, FLUSH_CHECKPOINT

Database = Literal["sqlite", "postgresql"]
PAUSE_SECONDS = 0.3
"""A dead process is started again after this time."""
WARM_UP_SECONDS = 150.0


@dataclass(frozen=True)
class Plan:
    """A run of the harness, repeatable as far as its schedule goes.

    Attributes:
        counts: Faults of each kind.
        pause: Shortest and longest time between two faults, in seconds.
        writes: Places at which a supervisor may be stopped before it writes.
        fenced: False: the control, in which the workers' writes carry no fence.
        one_at_a_time: True waits until what was stopped goes on before the next fault.
        settle: Seconds in which everything must end once the faults are over.
    """

    database: Database
    seed: int
    counts: Mapping[Kind, int]
    habits: Habits
    machines: int = 2
    pause: tuple[float, float] = (0.3, 0.9)
    pace: Pace = field(default_factory=Pace)
    writes: tuple[str, ...] = (FLUSH, FLUSH_CHECKPOINT)
    fenced: bool = True
    with_web: bool = False
    one_at_a_time: bool = False
    settle: float = 90.0

    @property
    def faults(self) -> list[Fault]:
        return schedule(self.seed, self.counts, self.pause, self.pace, self.writes)


@dataclass
class Outcome:
    """What a run of the harness did and left.

    Attributes:
        done: Faults by kind.
        missed: Faults that found nothing to hit; a trainer was killed in place of each.
        woken_late: Supervisors that were woken to write while another one held their runs.
        refused_starts: Workers that were started while the database was away, and left.
        held_off: What the guards of the workers counted, by word.
        story: For people: the schedule with its seed, what happened, and the runs concerned.
    """

    plan: Plan
    verdict: Verdict
    done: Counter[str]
    missed: list[Fault]
    woken_late: int
    held_off: Counter[str]
    people: dict[str, int]
    starts: dict[str, int]
    refused_starts: int
    seconds: float
    story: str = ""

    @property
    def report(self) -> dict[str, Any]:
        """Figures for a results file."""
        verdict = self.verdict
        return {
            "database": self.plan.database,
            "seed": self.plan.seed,
            "machines": self.plan.machines,
            "lease_seconds": round(self.plan.pace.lease, 1),
            "beat_seconds": round(self.plan.pace.beat, 2),
            "faults": sum(self.done.values()),
            "faults_by_kind": dict(sorted(self.done.items())),
            "faults_missed": len(self.missed),
            "runs": sum(verdict.states.values()),
            "runs_by_state": dict(sorted(verdict.states.items())),
            "attempts": verdict.attempts,
            "attempts_by_outcome": dict(sorted(verdict.outcomes.items())),
            "woken_while_another_held_its_runs": self.woken_late,
            "held_off": dict(sorted(self.held_off.items())),
            "people": self.people,
            "process_starts": self.starts,
            "starts_refused_without_database": self.refused_starts,
            "points_checked": verdict.points,
            "findings": len(verdict.findings),
            "seconds": round(self.seconds, 1),
        }


def environment_of(home: Path, database_url: str, pace: Pace | None) -> dict[str, str]:
    """Environment of all processes of a set-up; the default time-outs without a pace."""
    times = {}
    if pace is not None:
        times = {
            "STUDIO_LEASE_SECONDS": str(pace.lease),
            "STUDIO_BEAT_SECONDS": str(pace.beat),
            "STUDIO_POLL_SECONDS": str(pace.poll),
            "STUDIO_STALL_SECONDS": str(pace.stall),
        }
    return {
        **os.environ,
        **times,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "STUDIO_HOME": str(home),
        "STUDIO_DATABASE_URL": database_url,
        "STUDIO_GROUP_SIZE": "2",
        "STUDIO_THREADS": "1",
        "STUDIO_OFFLINE": "1",
        "STUDIO_DEMO": "0",
    }


class SetUp:
    """Database, broker, web process and machines of one run of the harness."""

    def __init__(self, plan: Plan, home: Path, stack: ExitStack) -> None:
        self.plan, self.home = plan, home
        for name in ("logs", "chaos"):
            (home / name).mkdir(parents=True, exist_ok=True)
        self.postgres: Postgres | None = None
        url = ""
        if plan.database == "postgresql":
            self.postgres = stack.enter_context(postgres())
            url = self.postgres.url
        self.settings = Settings(home=home, database_url=url)
        migrate.upgrade(self.settings.sqlalchemy_url)
        self.store = Store(self.settings.sqlalchemy_url)
        stack.callback(self.store.close)
        self.environment = environment = environment_of(home, url, plan.pace)
        self.broker = broker_service(self.settings, environment)
        self.port = free_port()
        self.web = web_service(home, environment, self.port) if plan.with_web else None
        self.machines = [
            Machine(f"m{number}", home, environment, fenced=plan.fenced)
            for number in range(plan.machines)
        ]

    @property
    def services(self) -> list[Service]:
        web = [self.web] if self.web else []
        return [self.broker, *web, *self.machines]

    def keep(self) -> None:
        now = time.monotonic()
        for service in self.services:
            service.keep(now, PAUSE_SECONDS)

    def break_database(self, kind: Kind, seconds: float) -> None:
        if self.postgres is not None:
            self.postgres.crash()
            time.sleep(seconds / 4)
            self.postgres.start()
            return
        file = self.home / "studio.sqlite3"
        if kind is Kind.DATABASE_LOCK:
            kill_a_writer(file, "BEGIN EXCLUSIVE", seconds)
        else:
            kill_a_writer(file, "BEGIN IMMEDIATE", 0.2)

    @property
    def is_complete(self) -> bool:
        """True when every machine has registered, so that it knows how to leave."""
        rows = self._read(select(Worker.name, Worker.pid).where(Worker.state == "alive"))
        here = {(row.name, row.pid) for row in rows}
        return all((machine.name, machine.pid) in here for machine in self.machines)

    def held(self, name: str) -> dict[str, int]:
        """Fence of each run that stands in a machine's name; empty while the database is away."""
        query = select(Run.id, Run.fence).join(Worker, Worker.id == Run.worker_id)
        rows = self._read(query.where(Worker.name == name, Worker.state == "alive"))
        return {row.id: row.fence for row in rows}

    def is_taken(self, held: Mapping[str, int]) -> bool:
        rows = self._read(
            select(Run.id, Run.fence).where(Run.id.in_(list(held)), Run.worker_id.is_not(None))
        )
        return any(row.fence > held[row.id] + 1 for row in rows)

    def _read(self, query: Select[Any]) -> Sequence[Row[Any]]:
        try:
            with self.store.read() as session:
                return session.execute(query).all()
        except StoreError:
            return ()

    def counts(self) -> Counter[str]:
        """What the machines wrote down about guards and points."""
        return Counter(
            line
            for file in (self.home / "chaos").glob("counts-*")
            for line in file.read_text().splitlines()
        )


def go(plan: Plan, home: Path) -> Outcome:
    """Run a plan: start everything, do the faults, let everything end, judge."""
    began = time.monotonic()
    with ExitStack() as stack:
        setup = SetUp(plan, home, stack)
        people = People(
            setup.settings.sqlalchemy_url, setup.settings.celery_broker_url, plan.seed, plan.habits
        )
        targets = Targets(
            setup.machines,
            setup.broker,
            setup.web,
            setup.break_database,
            setup.held,
            setup.is_taken,
            setup.keep,
        )
        hand = Hand(targets)
        with _running(setup, people):
            _warm_up(setup, hand)
            for fault in plan.faults:
                hand.wait(fault.pause)
                hand.do(fault)
                if plan.one_at_a_time:
                    hand.wait_for_the_stopped()
            hand.wait_for_the_stopped()
            people.is_launching = False
            hand.note("the faults are over")
            hand.rest()
            _settle(setup, people, hand)
            people.stop()
            hand.note("all runs have ended" if people.all_ended else "runs are left")
            late = _leave(setup)
            hand.note("the machines have left")
        late += hand.orphans
        verdict = judge(setup.store, home, Expectation(people.run_ids, people.unwanted))
        verdict.findings += late + people.seen + _studio_check(setup)
        verdict.findings += [text for service in setup.services for text in service.fallen]
        story = _story(plan, setup, hand, setup.store, verdict)
        return Outcome(
            plan,
            verdict,
            hand.done,
            hand.missed,
            hand.woken_late,
            setup.counts(),
            people.counts,
            {service.name: service.starts for service in setup.services},
            sum(service.refusals for service in setup.services),
            time.monotonic() - began,
            story,
        )


@contextmanager
def _running(setup: SetUp, people: People) -> Iterator[None]:
    for service in setup.services:
        service.start()
    people.start()
    try:
        yield
    finally:
        people.stop()
        for service in setup.services:
            service.kill()


def _warm_up(setup: SetUp, hand: Hand) -> None:
    """Wait until every machine trains; without that nothing could be hit."""
    until = time.monotonic() + WARM_UP_SECONDS
    while not all(machine.trainer for machine in setup.machines):
        logs = "\n".join(f"== {service.name}\n{service.log[-3000:]}" for service in setup.services)
        assert time.monotonic() < until, f"the machines do not train:\n{logs}"
        hand.wait(0.1)


def _settle(setup: SetUp, people: People, hand: Hand) -> None:
    """Wait until every run has ended and every machine is back, or the time for it is over."""
    until = time.monotonic() + setup.plan.settle
    while people.is_alive() and time.monotonic() < until:
        if people.all_ended and setup.is_complete:
            break
        hand.wait(0.1)
    hand.rest()


def _leave(setup: SetUp) -> list[str]:
    """End the machines politely; say what did not go or was left behind."""
    findings = []
    for machine in setup.machines:
        machine.send(signal.SIGTERM)
    for machine in setup.machines:
        code = machine.left()
        if code != 0:
            findings.append(f"leave: machine {machine.name} left with {code}")
    findings += [f"orphan: trainer {pid} is alive at the end" for pid in trainers(setup.home)]
    return findings


def _studio_check(setup: SetUp) -> list[str]:
    """What ``studio check --files`` says, as people call it."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "core.cli", "check", "--files"],
        env=setup.environment,
        cwd=setup.home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 0:
        return []
    lines = (done.stdout + done.stderr).splitlines()
    return [f"studio check: {line}" for line in lines[-20:]]


def _story(plan: Plan, setup: SetUp, hand: Hand, store: Store, verdict: Verdict) -> str:
    parts = [
        f"seed {plan.seed} on {plan.database}, fenced: {plan.fenced}; the schedule:",
        *map(str, plan.faults),
        "what happened:",
        *hand.log,
        *verdict.findings[:40],
    ]
    if verdict.findings:
        try:
            parts.append(history(store, verdict.findings))
        except StoreError as error:
            parts.append(str(error))
        parts += [f"== {service.name}\n{service.log[-2500:]}" for service in setup.services]
    return "\n".join(parts)
