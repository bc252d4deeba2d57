"""What tests of workers share: a store, small studies, a supervisor with a fake trainer."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.recipe import Recipe
from core.settings import Settings
from core.states import ENDED, RunState
from core.store import studies
from core.store.models import Attempt, Run, RunEvent
from core.store.session import Store
from core.sweep import Ring
from tests.fresh_database import make_database
from worker.supervisor import Supervisor, WorkerDescription
from worker.trainer_logs import TrainerLogs
from worker.trainer_process import TrainerProcess

ROOT = Path(__file__).resolve().parents[1]
FAKE_TRAINER = (sys.executable, str(ROOT / "tests" / "fake_trainer.py"))
SLOW: dict[str, Any] = {"steps": 2000, "pause": 0.01, "checkpoint_every": 5}
QUICK: dict[str, Any] = {"steps": 12, "pause": 0.005, "checkpoint_every": 5}
"""Plans of the fake trainer."""


def fake_environment(plan: dict[str, Any]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_TRAINER": json.dumps(plan)}


def quick_settings(home: Path, **values: Any) -> Settings:
    quick = {"lease_seconds": 10.0, "beat_seconds": 0.1, "poll_seconds": 0.1, **values}
    return Settings(home=home, **quick)


def open_store(settings: Settings) -> Store:
    make_database(settings.sqlalchemy_url)
    return Store(settings.sqlalchemy_url)


def queue_runs(
    store: Store,
    count: int = 1,
    *,
    priority: int = 0,
    queue: str = "default",
    method: str = "prompt_tuning",
    backbone: Path | None = None,
    **training: Any,
) -> list[str]:
    recipe = Recipe.model_validate(
        {
            "name": "a test",
            "tasks": ["desk"],
            "methods": [method],
            **({"backbones": [{"path": str(backbone)}]} if backbone else {}),
            "seeds": {"init": list(range(count))},
            "training": training,
        }
    )
    with store.write() as session:
        created = studies.create_study(
            session, recipe, recipe.runs(), priority=priority, queue=queue
        )
    return list(created.run_ids)


def wait_for(what: Callable[[], object], seconds: float = 40.0, told: str = "") -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"waited {seconds} s in vain {told}"
        time.sleep(0.02)


class Watcher:
    """Reads the database for a test."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self, run_id: str) -> Run:
        with self.store.read() as session:
            return session.get_one(Run, run_id)

    def states(self, run_ids: list[str]) -> list[str]:
        return [self.run(run_id).state for run_id in run_ids]

    def attempts(self, run_id: str) -> list[Attempt]:
        with self.store.read() as session:
            query = select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.attempt)
            return list(session.scalars(query))

    def told(self, run_id: str) -> str:
        with self.store.read() as session:
            query = select(RunEvent.reason).where(RunEvent.run_id == run_id)
            return "\n".join(session.scalars(query.order_by(RunEvent.version)))

    def wait_state(self, run_ids: list[str], state: RunState, seconds: float = 40.0) -> None:
        def reached() -> bool:
            return set(self.states(run_ids)) == {state}

        try:
            wait_for(reached, seconds)
        except AssertionError:
            lines = "\n".join(f"{self.run(r).state}: {self.told(r)}" for r in run_ids)
            raise AssertionError(f"not {state} after {seconds} s:\n{lines}") from None

    def wait_step(self, run_id: str, step: int, seconds: float = 40.0) -> None:
        def reached() -> bool:
            run = self.run(run_id)
            assert run.state not in ENDED, f"{run.state} {run.exit_detail}"
            return run.last_step >= step

        wait_for(reached, seconds)


def fake_supervisor(
    store: Store,
    settings: Settings,
    plan: dict[str, Any],
    *,
    name: str = "tester",
    queues: tuple[str, ...] = ("default",),
    memory_bytes: int = 0,
    ring: Ring | None = None,
) -> Supervisor:
    """Make a supervisor whose trainer follows a plan of ``tests.fake_trainer``."""

    def start_trainer(logs: TrainerLogs, group_id: str) -> TrainerProcess:
        return TrainerProcess(FAKE_TRAINER, fake_environment(plan), logs.path(group_id))

    description = WorkerDescription(name, "cpu", {}, queues, memory_bytes)
    return Supervisor(store, settings, description, start_trainer, ring=ring)


@contextmanager
def running(supervisor: Supervisor) -> Iterator[Supervisor]:
    """Run a supervisor in a thread; at the end it drains and must leave in time."""
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.request_stop()
        thread.join(30.0)
        assert not thread.is_alive(), "the supervisor did not leave"


def trainer_of(supervisor: Supervisor) -> int:
    """Process id of a supervisor's trainer."""
    pid = supervisor._host.pid
    assert pid is not None
    return pid


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(part) for part in text.split()]
