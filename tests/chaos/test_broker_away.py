"""A broker that forgets, or is not there: every run is trained, once, and nobody waits."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.actions import submit_recipe
from core.queue import EXECUTE, Bell, make_app, queue_options
from core.recipe import Recipe
from core.settings import Settings
from core.states import RunState
from tests.chaos.desk import Desk, desk
from tests.chaos.processes import Pace
from tests.soundness import check
from tests.worker_tools import open_store, queue_runs, wait_for

PACE = Pace(lease=30.0, beat=1.0, poll=1.0, stall=120.0)
"""Only the broker fails here: no machine may be held for lost because others have much to do."""


def assert_each_once(one: Desk, run_ids: list[str]) -> None:
    one.watcher.wait_state(run_ids, RunState.SUCCEEDED, 120.0)
    assert [one.watcher.run(run_id).attempt for run_id in run_ids] == [1] * len(run_ids)
    with one.store.snapshot() as session:
        assert check(session) == []


def test_a_wiped_broker_loses_no_queued_run(home: Path) -> None:
    """Ten runs are queued and rung for; all that the broker knows of them is gone."""
    with desk(home, PACE) as one:
        broker = one.broker()
        bell = Bell(make_app(lambda: queue_options(one.settings.celery_broker_url)))
        run_ids = queue_runs(one.store, 10, max_updates=10)
        for run_id in run_ids:
            wait_for(lambda: bell.ring(EXECUTE, run_id))  # noqa: B023
        broker.kill()
        one.broker()
        for name in ("m0", "m1"):
            one.machine(name)
        assert_each_once(one, run_ids)


def test_everything_works_without_a_broker(home: Path) -> None:
    with desk(home, PACE) as one:
        for name in ("m0", "m1"):
            one.machine(name)
        assert_each_once(one, queue_runs(one.store, 6, max_updates=10))


@pytest.fixture
def mute() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.parametrize("kind", ["absent", "mute"])
def test_a_launch_does_not_wait_for_the_broker(
    kind: str, mute: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mute if kind == "mute" else f"redis+socket://{home}/nothing.sock?virtual_host=0"
    bell = Bell(make_app(lambda: queue_options(url)))
    rung = []

    def ring(run_id: str, *queue: str) -> bool:
        rung.append(bell.ring(EXECUTE, run_id, *queue))
        return rung[-1]

    monkeypatch.setattr("core.queue.ring_execute", ring)
    settings = Settings(home=home, offline=True)
    store = open_store(settings)
    recipe = Recipe.model_validate(
        {
            "name": "no broker",
            "tasks": ["desk"],
            "methods": ["prompt_tuning"],
            "seeds": {"init": [1, 2, 3, 4]},
        }
    )
    waits = []
    for number in range(4):
        began = time.monotonic()
        study = submit_recipe(store, recipe, settings=settings, idempotency_key=str(number))
        waits.append(time.monotonic() - began)
        assert len(study.run_ids) == 4
    store.close()
    assert rung
    assert not any(rung)
    # The first launch also reads the data for the first time; it may only not wait for the bell.
    assert max(waits[1:]) <= 1.0, waits
    assert waits[0] <= 3.0, waits
