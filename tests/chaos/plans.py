"""Sizes and seeds of the runs under faults; ``CHAOS_SEED`` replays another schedule."""

from __future__ import annotations

import os

from tests.chaos.faults import Kind
from tests.chaos.figures import LONG
from tests.chaos.harness import Database, Plan
from tests.chaos.people import Habits
from tests.chaos.processes import Pace, slowness
from tests.chaos.worker_entry import FLUSH_CHECKPOINT

SEED = int(os.environ.get("CHAOS_SEED", "20261"))

QUICK = {
    Kind.TRAINER_KILL: 6,
    Kind.TRAINER_STOP: 1,
    Kind.WORKER_KILL: 3,
    Kind.WORKER_STOP: 2,
    Kind.WRITE_STOP: 2,
    Kind.MACHINE_STOP: 1,
    Kind.POINT_KILL: 2,
    Kind.BROKER_WIPE: 1,
}
FULL = {
    Kind.TRAINER_KILL: 55,
    Kind.TRAINER_STOP: 12,
    Kind.WORKER_KILL: 45,
    Kind.WORKER_STOP: 20,
    Kind.WRITE_STOP: 20,
    Kind.MACHINE_STOP: 12,
    Kind.POINT_KILL: 21,
    Kind.BROKER_WIPE: 12,
    Kind.WEB_KILL: 8,
}


def with_database(counts: dict[Kind, int], database: Database, number: int) -> dict[Kind, int]:
    """Add so many faults of the database itself."""
    if database == "postgresql":
        return {**counts, Kind.DATABASE_CRASH: number}
    half = number // 2
    return {**counts, Kind.DATABASE_LOCK: half, Kind.DATABASE_WRITER_KILL: number - half}


def quick(database: Database) -> Plan:
    return Plan(
        database,
        SEED,
        with_database(QUICK, database, 2),
        Habits(backlog=4),
        pause=(0.2, 0.6),
        pace=Pace().times(slowness()),
    )


def full(database: Database) -> Plan:
    return Plan(
        database,
        SEED,
        with_database(FULL, database, 16),
        Habits(backlog=10),
        machines=3,
        pause=(0.3, 1.2),
        pace=Pace().times(slowness()),
        with_web=True,
        settle=240.0,
    )


def control() -> Plan:
    """Long runs, nobody who cancels, and a machine that wakes up late with much to write."""
    return Plan(
        "sqlite",
        SEED,
        {Kind.WRITE_STOP: 1},
        Habits(backlog=4, steps=(LONG,), cancels=0.0),
        pace=Pace().times(slowness()),
        writes=(FLUSH_CHECKPOINT,),
        fenced=False,
        one_at_a_time=True,
        settle=30.0,
    )
