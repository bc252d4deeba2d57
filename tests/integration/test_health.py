"""``/readyz`` and ``/metrics`` of the whole application, and the thread that sweeps beside it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from starlette.testclient import TestClient

from app import health
from app.health import Health, health_router
from app.metrics import StudioCollector
from app.security import Gate
from app.sweeping import sweeping
from core.errors import StoreError
from core.reporting import Ending
from core.settings import Settings
from core.states import Outcome, RunState
from core.store import endings, predictions
from core.store.session import Store
from tests.integration.test_queue_api import counted_queries
from tests.live_studio import wait_for
from tests.services import embedded_broker, redis_tcp_server
from tests.store_tools import claim, recipe, row, start, submit, worker

LOOPBACK = "http://127.0.0.1:7860"


@dataclass(frozen=True)
class Desk:
    """An application with its health routes alone."""

    client: TestClient
    store: Store
    settings: Settings


@pytest.fixture
def desk(store: Store, home: Path) -> Desk:
    settings = Settings(home=home)
    return Desk(client_of(store, settings), store, settings)


def client_of(store: Store, settings: Settings) -> TestClient:
    app = FastAPI()
    app.include_router(health_router(store, settings, "1.2.3"))
    app.add_middleware(Gate)
    return TestClient(app, base_url=LOOPBACK)


def test_ready_needs_database_broker_and_worker(desk: Desk) -> None:
    alone = desk.client.get("/readyz")
    assert alone.status_code == 200
    assert alone.json()["status"] == "degraded"
    assert (alone.json()["broker"], alone.json()["workers"]) == ("away", 0)
    worker(desk.store)
    with embedded_broker(desk.settings.home_path):
        whole = desk.client.get("/readyz").json()
    share = whole.pop("disk_free_share")
    assert whole == {
        "status": "ready",
        "database": "answers",
        "schema": "current",
        "broker": "answers",
        "workers": 1,
    }
    assert 0 < share < 1
    assert desk.client.get("/readyz").json()["status"] == "degraded"


def test_a_broker_with_a_password_is_asked_and_never_named(store: Store, home: Path) -> None:
    with redis_tcp_server("secret-word") as server:
        settings = Settings(home=home, broker_url=server.url)
        assert client_of(store, settings).get("/readyz").json()["broker"] == "answers"
        wrong = Settings(home=home, broker_url=server.url.replace("secret-word", "wrong-word"))
        answered = client_of(store, wrong).get("/readyz")
    assert answered.json()["broker"] == "away"
    assert "word" not in answered.text


def test_another_layout_is_not_ready(desk: Desk) -> None:
    with desk.store.write() as session:
        (right,) = session.scalars(text("SELECT version_num FROM alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        answered = desk.client.get("/readyz")
    finally:
        with desk.store.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": right})
    assert answered.status_code == 503
    assert answered.json()["status"] == "unready"
    assert "0001" in answered.json()["schema"]


def test_a_database_that_hangs_is_not_ready_within_two_seconds(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = threading.Event()
    monkeypatch.setattr(Health, "_database", lambda _: awake.wait(30))
    began = time.monotonic()
    try:
        answered = desk.client.get("/readyz")
        took = time.monotonic() - began
    finally:
        awake.set()
    assert answered.status_code == 503
    assert answered.json()["database"] == health.NO_ANSWER
    assert took < 4.0  # two seconds, and what a machine under load adds


def test_a_database_that_is_gone_says_so(home: Path) -> None:
    store = Store(f"sqlite:///{home / 'empty.sqlite3'}")
    client = client_of(store, Settings(home=home))
    answered = client.get("/readyz")
    assert (answered.status_code, answered.json()["schema"]) == (503, "unknown")
    assert "alembic_version" in answered.json()["database"]
    store.close()


def test_metrics_are_read_by_prometheus_and_name_no_run(desk: Desk) -> None:
    store = desk.store
    submit(store, recipe(seeds=(0, 1, 2)))
    submit(store, queue="night")
    mine = worker(store, memory_bytes=8_000_000_000)
    held = start(store, mine, step=5)
    with store.write() as session:
        endings.end_attempt(session, held.id, held.fence, Ending(Outcome.FAILED, kind="diverged"))
        asked = predictions.create_prediction(session, ["a text"], [held.id], "")
        predictions.take_pending(session)
        predictions.finish(session, asked)
    with counted_queries() as sent:
        answered = desk.client.get("/metrics")
    assert len([one for one in sent if one.lstrip().startswith("SELECT")]) <= 5
    assert answered.headers["content-type"].startswith("text/plain; version=")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answered.text)
        for sample in family.samples
    }
    assert found["studio_build_info", ("version", "1.2.3")] == 1
    assert found["studio_runs", ("state", "queued")] == 3
    assert found["studio_runs", ("state", "failed")] == 1
    assert found["studio_queued_runs", ("queue", "default")] == 2
    assert found["studio_queued_runs", ("queue", "night")] == 1
    assert found["studio_queue_oldest_seconds", ("queue", "night")] >= 0
    assert found["studio_attempts_total", ("outcome", "failed")] == 1
    assert found["studio_workers", ("role", "train"), ("state", "alive")] == 1
    assert found["studio_worker_memory_bytes", ("role", "train")] == 8_000_000_000
    assert found["studio_worker_slowest_beat_seconds", ("role", "train")] < 60
    assert found["studio_predictions", ("state", "done")] == 1
    assert 0 <= found["studio_prediction_seconds", ("state", "done")] < 60
    assert found[("studio_database_bytes",)] > 1000
    assert 0 < found[("studio_disk_free_share",)] < 1
    assert held.slug not in answered.text
    assert held.id not in answered.text


def test_many_scrapes_are_one_look(desk: Desk) -> None:
    now = [100.0]
    collector = StudioCollector(desk.store, desk.settings, "dev", clock=lambda: now[0])
    with counted_queries() as sent:
        first = collector.gauges()
        assert collector.gauges() is first
    assert len([one for one in sent if one.lstrip().startswith("SELECT")]) == 5
    submit(desk.store)
    now[0] += 1.0
    assert collector.gauges().runs == {"queued": 1}


def test_other_host_names_see_no_numbers(desk: Desk) -> None:
    for path in ("/metrics", "/readyz", "/healthz"):
        assert desk.client.get(path, headers={"host": "evil.example"}).status_code == 400
        assert desk.client.get(path, headers={"host": "localhost:7860"}).status_code == 200


def test_the_application_takes_runs_from_silent_workers(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = submit(store).run_ids
    claim(store, worker(store))
    failures = [StoreError("The database is away.")]
    settings = Settings(home=home, lease_seconds=0.4, poll_seconds=0.1)
    read = store.read

    def flaky() -> object:
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(store, "read", flaky)
    names = {thread.name for thread in threading.enumerate()}
    with TestClient(FastAPI(lifespan=lambda _: sweeping(store, settings))):
        assert "sweeper" in {thread.name for thread in threading.enumerate()} - names
        assert wait_for(lambda: row(store, run_id).state == RunState.QUEUED, 20)
    assert not failures
    assert "sweeper" not in {thread.name for thread in threading.enumerate()}
