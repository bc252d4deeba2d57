"""Whatever workers, people and accidents do in whatever order, runs live as the model says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from core.store import migrate, outcomes
from core.store.session import Store
from tests.run_life_machine import RunLife
from tests.services import postgres_database, postgres_server

LENGTH = 100
AN_HOUR = 3_600
QUICK, POSTGRES, FULL = 5_000, 500, 50_000
MOST_EXTRA = 5
RARE = (
    "damage", "learn with an old fence", "save with an old fence", "end with an old fence",
    "answers lost", "end succeeded", "sweep",
)  # fmt: skip
MEMORY_DISK = Path("/dev/shm")


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let back-off pass by the machine's rule alone, however slow this computer is."""
    waits = dict.fromkeys(outcomes.BACK_OFF_SECONDS, (AN_HOUR,))
    monkeypatch.setattr(outcomes, "BACK_OFF_SECONDS", waits)


@contextmanager
def sqlite_store() -> Iterator[Store]:
    """A database on a disk in memory, where there is one: this is about order, not about disks."""
    where = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        url = f"sqlite:///{folder}/studio.sqlite3"
        migrate.upgrade(url)
        store = Store(url)
        yield store
        store.close()


@contextmanager
def postgres_store() -> Iterator[Store]:
    with postgres_server() as server, postgres_database(server) as url:
        migrate.upgrade(url)
        store = Store(url)
        yield store
        store.close()


def live(store: Store, steps: int) -> None:
    """Let the machine take about so many steps; what fails is printed as a program to replay."""
    RunLife.store = store
    told = RunLife.steps
    told.clear()
    run(steps)
    assert told["steps"] >= steps * 0.7, told
    if steps < QUICK:
        return
    # What is drawn leaves out some rules for long; a machine that never comes to these would test
    # little.
    for _ in range(MOST_EXTRA):
        if all(told[name] for name in RARE):
            break
        run(steps // 5)
    assert all(told[name] for name in RARE), told


def run(steps: int) -> None:
    """Let the machine take about so many steps more."""
    run_state_machine_as_test(
        RunLife,
        settings=settings(
            max_examples=steps // LENGTH,
            stateful_step_count=LENGTH,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(1_200)
def test_five_thousand_steps_on_sqlite() -> None:
    with sqlite_store() as store:
        live(store, QUICK)


def test_five_hundred_steps_on_postgresql() -> None:
    with postgres_store() as store:
        live(store, POSTGRES)


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_fifty_thousand_steps_on_sqlite() -> None:
    with sqlite_store() as store:
        live(store, FULL)


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_five_thousand_steps_on_postgresql() -> None:
    with postgres_store() as store:
        live(store, QUICK)
