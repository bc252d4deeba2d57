"""Two brokers, one behaviour: embedded on a unix socket, and Redis over TCP with a password."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.queue import Bell, make_app, queue_options
from core.settings import Settings
from core.states import RunState
from core.store.session import Store
from tests.services import BrokerServer, embedded_broker, redis_tcp_server
from tests.worker_tools import (
    Watcher,
    fake_supervisor,
    open_store,
    queue_runs,
    quick_settings,
    running,
    wait_for,
)
from worker.celery_app import Doorbell
from worker.supervisor import Supervisor

PASSWORD = "s3cr3t0f1ts0wn"
LONG_POLL = 20.0
PLAN = {"steps": 3, "pause": 0.01, "checkpoint_every": 2}


@pytest.fixture(params=["embedded", "tcp"])
def broker(request: pytest.FixtureRequest, home: Path) -> Iterator[BrokerServer]:
    if request.param == "embedded":
        with embedded_broker(home) as server:
            yield server
    else:
        with redis_tcp_server(PASSWORD) as server:
            yield server


def bell_of(url: str) -> Bell:
    return Bell(make_app(lambda: queue_options(url)))


class Workshop:
    """A supervisor with a fake trainer, woken by a doorbell."""

    def __init__(self, home: Path, server: BrokerServer, poll_seconds: float) -> None:
        self.settings = quick_settings(home, broker_url=server.url, poll_seconds=poll_seconds)
        self.store: Store = open_store(self.settings)
        self.watcher = Watcher(self.store)
        self.supervisor: Supervisor = fake_supervisor(self.store, self.settings, PLAN)
        self.rings: list[str] = []
        self.doorbell = Doorbell(self.settings.celery_broker_url, "execute", self.rung)
        self.supervisor.on_turn = self.doorbell.keep_alive
        self.bell = bell_of(self.settings.celery_broker_url)

    def rung(self, identifier: str) -> None:
        self.rings.append(identifier)
        self.supervisor.wake()

    def listens(self) -> None:
        """Wait until a ring arrives; the consumer takes a moment to connect."""
        wait_for(lambda: self.bell.ring("execute", "hello") and "hello" in self.rings, 30)

    def submit(self, count: int) -> list[str]:
        ids = queue_runs(self.store, count)
        for run_id in ids:
            self.bell.ring("execute", run_id)
        return ids

    def each_once(self, ids: list[str]) -> None:
        self.watcher.wait_state(ids, RunState.SUCCEEDED, 60)
        assert [len(self.watcher.attempts(run_id)) for run_id in ids] == [1] * len(ids)


@pytest.fixture
def open_workshop(home: Path, broker: BrokerServer) -> Iterator[Callable[[float], Workshop]]:
    opened: list[Workshop] = []

    def start(poll_seconds: float) -> Workshop:
        opened.append(Workshop(home, broker, poll_seconds))
        return opened[-1]

    yield start
    for workshop in opened:
        workshop.doorbell.stop()
        workshop.store.close()


def test_a_ring_is_heard_long_before_the_next_look(
    open_workshop: Callable[[float], Workshop],
) -> None:
    workshop = open_workshop(LONG_POLL)
    with running(workshop.supervisor):
        workshop.listens()
        began = time.monotonic()
        ids = workshop.submit(1)
        wait_for(lambda: workshop.watcher.states(ids) != [RunState.QUEUED])
        assert time.monotonic() - began < LONG_POLL / 4
        workshop.each_once(ids)


def test_a_broker_that_comes_back_empty_loses_no_run(
    broker: BrokerServer, open_workshop: Callable[[float], Workshop]
) -> None:
    workshop = open_workshop(0.5)
    ids = workshop.submit(5)
    broker.kill()
    ids += workshop.submit(5)
    broker.start()
    with running(workshop.supervisor):
        workshop.each_once(ids)
        workshop.rings.clear()
        workshop.listens()
        broker.kill()
        later = workshop.submit(2)
        workshop.each_once(later)
        broker.start()
        workshop.rings.clear()
        workshop.listens()


def test_without_any_broker_runs_are_found_by_looking(
    broker: BrokerServer, open_workshop: Callable[[float], Workshop]
) -> None:
    broker.kill()
    workshop = open_workshop(0.2)
    with running(workshop.supervisor):
        ids = workshop.submit(3)
        workshop.each_once(ids)
    assert workshop.rings == []


def test_a_wrong_password_holds_nobody_up_and_is_never_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with redis_tcp_server(PASSWORD) as server:
        wrong = server.url.replace(PASSWORD, "n0tth1s0ne")
        bell = bell_of(wrong)
        for _ in range(3):
            began = time.monotonic()
            assert bell.ring("execute", "run") is False
            assert time.monotonic() - began < 1.0
        assert bell_of(server.url).ring("execute", "run")
    wait_for(lambda: caplog.records)
    assert "find queued work by themselves" in caplog.text
    assert PASSWORD not in caplog.text
    assert "n0tth1s0ne" not in caplog.text


def test_the_address_decides_which_broker_it_is(home: Path) -> None:
    assert Settings(home=home).celery_broker_url.startswith("redis+socket://")
    url = f"redis://:{PASSWORD}@redis:6379/0"
    assert Settings(home=home, broker_url=url).celery_broker_url == url
