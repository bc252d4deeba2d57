"""Routes behind Queue & workers, on both databases: who works, what waits, in which order, why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event, insert, select, update
from starlette.testclient import TestClient

from app.api import curves, home, queue, runs, studies
from app.api._errors import add_error_handlers
from core import disk
from core.reporting import Ending
from core.settings import Settings
from core.states import Outcome
from core.store import endings, workers
from core.store import runs as stored_runs
from core.store.clock import utcnow
from core.store.columns import new_id
from core.store.models import Attempt, Run, Worker
from core.store.session import Store
from tests.store_tools import claim, end, recipe, start, submit, worker

MANY = 10_000
MOST_QUERIES = 7


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    """The routers under test in an application of their own."""
    app = FastAPI()
    app.state.store, app.state.settings = store, Settings(home=tmp_path, offline=True)
    add_error_handlers(app)
    for router in (curves.router, home.router, queue.router, runs.router, studies.router):
        app.include_router(router, prefix="/api")
    return TestClient(app)


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """Statements that are sent to any database meanwhile."""
    sent: list[str] = []

    def see(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", see)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", see)


def get(client: TestClient, path: str = "/queue") -> Any:
    answered = client.get(f"/api{path}")
    assert answered.status_code == 200, answered.text
    return answered.json()


def post(client: TestClient, path: str, body: object = None, status: int = 200) -> Any:
    answered = client.post(f"/api{path}", json=body)
    assert answered.status_code == status, answered.text
    return answered.json()


def order(client: TestClient) -> list[str]:
    return [run["slug"] for run in get(client)["waiting"]]


def test_nothing_there_is_an_empty_answer(client: TestClient) -> None:
    view = get(client)
    assert (view["workers"], view["gone"], view["waiting"]) == ([], [], [])
    assert (view["num_waiting"], view["queues"], view["studies"]) == (0, {}, [])
    assert view["silent_after"] == 6.0


def test_workers_tell_their_device_their_runs_and_the_age_of_their_beat(
    client: TestClient, store: Store
) -> None:
    submit(store)
    busy = worker(store, "busy", queues=("default", "gpu"), memory_bytes=16_000_000_000)
    gone = worker(store, "gone")
    held = start(store, busy, step=40)
    with store.write() as session:
        stored_runs.beat(session, busy, {held.id: held.fence}, memory_used=4_000_000_000)
        assert stored_runs.stalled(session, held.id, held.fence, True)
        late = {"hb_at": utcnow() - timedelta(seconds=30)}
        session.execute(update(Worker).where(Worker.id == busy).values(**late))
        workers.stop(session, gone)
    view = get(client)
    (line,) = view["workers"]
    assert (line["name"], line["queues"]) == ("busy", ["default", "gpu"])
    assert (line["memory_used"], line["memory_bytes"]) == (4_000_000_000, 16_000_000_000)
    assert 30 <= line["seconds_silent"] < 60
    (run,) = line["runs"]
    assert (run["slug"], run["last_step"], run["is_stalled"]) == ("S1-1", 40, True)
    assert [(one["name"], one["state"]) for one in view["gone"]] == [("gone", "stopped")]


def test_runs_wait_in_the_order_of_claims_each_with_its_reason(
    client: TestClient, store: Store
) -> None:
    busy = worker(store, "busy", memory_bytes=8_000_000_000)
    submit(store, recipe(seeds=(0, 1, 2, 3)), memory_of=lambda _: 1_000_000_000)
    held = start(store, busy, step=10)
    with store.write() as session:
        values = {"total_steps": 100, "last_step": 10, "seconds_per_step": 0.5}
        session.execute(update(Run).where(Run.id == held.id).values(**values))
        later = utcnow() + timedelta(seconds=20)
        second = select(Run.id).where(Run.ordinal == 2).scalar_subquery()
        session.execute(update(Run).where(Run.id == second).values(not_before=later))
    submit(store, memory_of=lambda _: 12_000_000_000)
    submit(store, queue="night", priority=3)
    waiting = get(client)["waiting"]
    assert [run["slug"] for run in waiting] == ["S3-1", "S1-2", "S1-3", "S1-4", "S2-1"]
    assert [run["position"] for run in waiting] == [1, 2, 3, 4, 5]
    reasons = {run["slug"]: run["reason"] for run in waiting}
    assert reasons["S3-1"] == "no worker serves the queue night"
    assert reasons["S1-2"].startswith("retrying in ")
    assert (reasons["S1-3"], reasons["S1-4"]) == ("", "")
    assert reasons["S2-1"].startswith("needs 12 GB; the largest device")
    starts = {run["slug"]: run["starts_in"] for run in waiting}
    # The worker is free after 90 updates of half a second, and takes the first that it may take.
    assert starts == {"S3-1": None, "S1-2": None, "S1-3": 45.0, "S1-4": None, "S2-1": None}


def test_a_run_is_put_to_the_front_or_cancelled(client: TestClient, store: Store) -> None:
    ids = submit(store, recipe(seeds=(0, 1, 2))).run_ids
    submit(store, priority=5)
    assert order(client) == ["S2-1", "S1-1", "S1-2", "S1-3"]
    assert post(client, f"/runs/{ids[2]}/to-front")["moved"] is True
    assert order(client) == ["S1-3", "S2-1", "S1-1", "S1-2"]
    post(client, f"/runs/{ids[0]}/cancel")
    assert order(client) == ["S1-3", "S2-1", "S1-2"]
    assert post(client, f"/runs/{ids[0]}/to-front")["moved"] is False
    assert client.post("/api/runs/nothing/to-front").status_code == 404


def test_a_study_runs_first_in_its_turn_or_later(client: TestClient, store: Store) -> None:
    first, second = submit(store, recipe(seeds=(0, 1))), submit(store)
    # Whoever is placed first last, is first.
    post(client, f"/studies/{first.id}/place", {"place": "first"})
    post(client, f"/studies/{second.id}/place", {"place": "first"})
    assert order(client) == ["S2-1", "S1-1", "S1-2"]
    post(client, f"/studies/{first.id}/place", {"place": "first"})
    assert order(client) == ["S1-1", "S1-2", "S2-1"]
    post(client, f"/studies/{first.id}/place", {"place": "later"})
    assert order(client) == ["S2-1", "S1-1", "S1-2"]
    assert [study["slug"] for study in get(client)["studies"]] == ["S2", "S1"]
    post(client, f"/studies/{first.id}/place", {"place": "normal"})
    post(client, f"/studies/{second.id}/place", {"place": "normal"})
    assert order(client) == ["S1-1", "S1-2", "S2-1"]
    post(client, f"/studies/{first.id}/place", {"place": "sideways"}, status=422)
    post(client, "/studies/nothing/place", {"place": "first"}, status=404)


def test_a_long_queue_costs_no_more_queries(client: TestClient, store: Store) -> None:
    ids = submit(store, recipe(seeds=(0,))).run_ids
    worker(store)
    with store.write() as session:
        table = Run.__table__
        row = dict(session.execute(select(table).where(table.c.id == ids[0])).mappings().one())
        changes = ({"id": new_id(), "ordinal": n} for n in range(2, MANY + 1))
        session.execute(insert(table), [row | change for change in changes])
    with counted_queries() as sent:
        view = get(client)
    found = [statement for statement in sent if statement.lstrip().startswith(("SELECT", "WITH"))]
    assert len(found) <= MOST_QUERIES
    assert (view["num_waiting"], len(view["waiting"])) == (MANY, 100)


def test_a_study_is_queued_where_it_is_asked_for(client: TestClient, store: Store) -> None:
    worker(store, queues=("default", "gpu"))
    body = {"recipe": recipe().to_yaml(), "queue": "night"}
    study = post(client, "/studies", body, status=201)
    assert study["note"].startswith("No worker serves the queue night now")
    (run,) = get(client)["waiting"]
    assert run["queue"] == "night"
    assert run["memory_bytes"] > 100_000_000
    assert post(client, "/studies", body | {"queue": " gpu "}, status=201)["note"] == ""
    refused = post(client, "/studies", body | {"queue": "no name!"}, status=422)
    assert (refused["field"], refused["code"]) == ("queue", "config")
    assert get(client)["queues"] == {"gpu": 1, "night": 1}


def test_a_full_disk_refuses_studies_and_a_low_one_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(free: int, total: int) -> None:
        monkeypatch.setattr(disk, "room", lambda folder: disk.Room(str(folder), free, total))

    body = {"recipe": recipe().to_yaml()}
    monkeypatch.setattr(home, "room", lambda folder: disk.room(folder))
    leave(4_000_000_000, 100_000_000_000)
    assert get(client, "/status")["disk"]["level"] == "low"
    leave(150_000_000, 1_000_000_000)
    assert get(client, "/status")["disk"]["level"] == "full"
    refused = post(client, "/studies", body, status=422)
    assert refused["message"].endswith("is lost.")
    assert "150 MB free, 15.0% of it" in refused["message"]
    assert get(client)["num_waiting"] == 0
    leave(50_000_000_000, 100_000_000_000)
    post(client, "/studies", body, status=201)


def test_every_attempt_tells_how_it_ended_and_has_its_log(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    (run_id,) = submit(store).run_ids
    with store.write() as session:
        here = workers.register(
            session, name="w", role="train", host=socket.gethostname(), pid=1, device="cpu"
        )
    (first,) = claim(store, here)
    log = tmp_path / "logs" / "group-1.log"
    log.parent.mkdir()
    log.write_text("\x1b[31mred\x1b[0m <b>line</b>\n", encoding="utf-8")
    with store.write() as session:
        stored_runs.started(session, run_id, first.fence, log_path=str(log))
        assert stored_runs.notice(session, run_id, first.fence, "Another environment.")
    path = f"/api/runs/{run_id}/attempts/1/log"
    answered = client.get(path)
    assert answered.headers["content-type"] == "text/plain; charset=utf-8"
    assert answered.text == "red <b>line</b>\n"
    with store.write() as session:
        ending = Ending(Outcome.FAILED, kind="evaluation", detail="The test file is gone.")
        endings.end_attempt(session, run_id, first.fence, ending, log_tail="kept \x1b[1mend\x1b[m")
    assert client.get(path).text == "kept end"
    body = get(client, f"/runs/{run_id}")
    assert body["ended"]["button"] == "Evaluate again"
    assert body["ended"]["action"] == "retry"
    (one,) = body["attempts"]
    assert (one["title"], one["notice"]) == ("Evaluation failed", "Another environment.")
    assert (one["device"], one["outcome"], one["has_log"]) == ("cpu", "failed", True)
    assert client.get(f"/api/runs/{run_id}/attempts/2/log").status_code == 404


def test_the_time_of_a_run_is_that_of_its_attempts(client: TestClient, store: Store) -> None:
    (run_id,) = submit(store).run_ids
    mine = worker(store)
    began = utcnow() - timedelta(hours=1)
    # It works for 30 seconds, waits for 20 minutes, works for 70 more and is cancelled later.
    for number, (at, seconds) in enumerate([(0, 30), (1230, 70)], 1):
        held = start(store, mine, step=4 * number)
        end(store, held, Outcome.DRAINED, detail="the worker is shutting down")
        first = began + timedelta(seconds=at)
        span = {"started_at": first, "ended_at": first + timedelta(seconds=seconds)}
        with store.write() as session:
            one = (Attempt.run_id == run_id, Attempt.attempt == number)
            session.execute(update(Attempt).where(*one).values(**span))
    with store.write() as session:
        endings.request_cancel(session, run_id)
    body = get(client, f"/runs/{run_id}")
    assert body["seconds_at_work"] == 100
    assert [one["seconds"] for one in body["attempts"]] == [30, 70]


def test_a_log_outside_the_home_folder_is_not_read(
    client: TestClient, store: Store, tmp_path: Path
) -> None:
    (run_id,) = submit(store).run_ids
    with store.write() as session:
        here = workers.register(
            session, name="w", role="train", host=socket.gethostname(), pid=1, device="cpu"
        )
    claim(store, here)
    outside = Path("/etc/hostname")
    (tmp_path / "link.log").symlink_to(outside)
    for path in (outside, tmp_path / "link.log", tmp_path / ".." / "x.log", tmp_path):
        with store.write() as session:
            changed = update(Attempt).where(Attempt.run_id == run_id).values(log_path=str(path))
            session.execute(changed)
        assert client.get(f"/api/runs/{run_id}/attempts/1/log").text == "", path
