"""What a supervisor does about trainers, databases and disks that fail it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy import text

from core import fault_points
from core.states import RunState
from core.store import runs, scalars
from core.store.models import Worker
from core.store.session import Store
from tests import worker_tools
from tests.counting import DEV, LOSS, values_until
from tests.faulting import install_faults
from tests.hanging_proxy import hanging_proxy
from tests.worker_tools import (
    QUICK,
    SLOW,
    Watcher,
    children_of,
    fake_supervisor,
    is_alive,
    queue_runs,
    quick_settings,
    running,
    trainer_of,
    wait_for,
)
from worker.memory import MemoryMeter
from worker.supervisor import Supervisor


def test_a_trainer_that_hangs_is_shown_then_ended_and_the_run_goes_on(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stall.SHOWN_SECONDS", 0.5)
    [run_id] = queue_runs(file_store, 1)
    plan = {**QUICK, "steps": 30, "stall_at": 8}
    settings = quick_settings(home, stall_seconds=2.0)
    with running(fake_supervisor(file_store, settings, plan)) as supervisor:
        wait_for(lambda: watcher.run(run_id).is_stalled)
        assert watcher.run(run_id).state == RunState.RUNNING
        pid = trainer_of(supervisor)
        wait_for(lambda: watcher.attempts(run_id)[0].outcome)
        assert not is_alive(pid)
        assert not watcher.run(run_id).is_stalled
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    first, second = watcher.attempts(run_id)
    assert (first.outcome, second.outcome) == ("stalled", "succeeded")
    assert "no progress for" in first.detail
    assert "perhaps_fail" in first.log_tail, "the log shows where it hung"
    assert second.resumed_from_step == 5
    assert watcher.run(run_id).infra_left == 2


def test_a_group_that_hangs_is_tried_one_by_one_and_nobody_pays(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    ids = queue_runs(file_store, 2)
    settings = quick_settings(home, stall_seconds=1.0)
    with running(fake_supervisor(file_store, settings, {**QUICK, "stall_at": 8})):
        wait_for(lambda: all(watcher.attempts(i)[0].outcome for i in ids if watcher.attempts(i)))
        wait_for(lambda: all(watcher.run(run_id).must_run_alone for run_id in ids))
        watcher.wait_state(ids, RunState.SUCCEEDED)
    assert [watcher.attempts(run_id)[0].outcome for run_id in ids] == ["stalled", "stalled"]
    assert {watcher.run(run_id).infra_left for run_id in ids} == {3}


def test_a_long_evaluation_is_no_stall(file_store: Store, home: Path, watcher: Watcher) -> None:
    [run_id] = queue_runs(file_store, 1)
    plan = {**QUICK, "evaluate_for": 2.5, "load_for": 1.0}
    settings = quick_settings(home, stall_seconds=0.8)
    with running(fake_supervisor(file_store, settings, plan)):
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    assert len(watcher.attempts(run_id)) == 1


def test_what_an_attempt_says_is_kept_with_it(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    ids = queue_runs(file_store, 2)
    plan = {**QUICK, "notice": "Continued in another environment: torch 1 → 2."}
    with running(fake_supervisor(file_store, quick_settings(home), plan)):
        watcher.wait_state(ids, RunState.SUCCEEDED)
    for run_id in ids:
        [attempt] = watcher.attempts(run_id)
        assert attempt.notice == "Continued in another environment: torch 1 → 2."
        assert attempt.log_path == watcher.run(run_id).log_path
        assert "[S1-1 S1-2] fake trainer has 2 runs" in attempt.log_tail
    with file_store.read() as session:
        curves = scalars.read_curves(session, {ids[0]: scalars.Cursor()})[ids[0]].curves
    for name in (LOSS, DEV):
        assert list(curves[name].values) == values_until(ids[0], 12, name)


def test_a_trainer_killed_for_want_of_memory_is_told_apart_from_a_crash(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    [run_id] = queue_runs(file_store, 1)
    plan = {**QUICK, "steps": 50, "pause": 0.05, "fill": 96, "die_at": 40}
    supervisor = fake_supervisor(file_store, quick_settings(home), plan)
    meter = MemoryMeter(limit=110 << 20)
    supervisor._memory = supervisor._host._memory = meter
    with running(supervisor):
        wait_for(lambda: watcher.run(run_id).oom_left == 0)
    [attempt] = watcher.attempts(run_id)
    assert (attempt.outcome, attempt.kind) == ("out_of_memory", "oom_host")
    assert "when memory ran out (it used 1" in attempt.detail
    assert "MB of 115 MB)" in attempt.detail
    assert watcher.run(run_id).infra_left == 3


def test_the_list_of_workers_tells_queues_and_memory(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    others = queue_runs(file_store, 1)
    mine = queue_runs(file_store, 1, queue="gpu-large")
    supervisor = fake_supervisor(
        file_store, quick_settings(home), QUICK, queues=("gpu-large", "night"), memory_bytes=10**9
    )
    with running(supervisor):
        watcher.wait_state(mine, RunState.SUCCEEDED)

        def told() -> Worker:
            with file_store.read() as session:
                return session.get_one(Worker, supervisor.worker_id)

        wait_for(lambda: told().memory_used)
        assert (told().queues, told().memory_bytes) == (["gpu-large", "night"], 10**9)
        assert 10**6 < told().memory_used < 10**9
    assert watcher.states(others) == [RunState.QUEUED]
    assert watcher.run(others[0]).attempt == 0


def test_a_demo_does_not_step_aside_for_a_run_that_its_worker_cannot_take(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    demo = queue_runs(file_store, 1, priority=-10)
    with running(fake_supervisor(file_store, quick_settings(home), {**QUICK, "steps": 100})):
        watcher.wait_step(demo[0], 3)
        queue_runs(file_store, 1, queue="gpu")
        watcher.wait_state(demo, RunState.SUCCEEDED)
    assert [attempt.outcome for attempt in watcher.attempts(demo[0])] == ["succeeded"]


def test_nothing_is_claimed_from_a_newer_database_and_it_is_said_once(
    file_store: Store,
    home: Path,
    watcher: Watcher,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("worker.supervisor.NO_ROOM_SECONDS", 0.1)
    ids = queue_runs(file_store, 1)
    with file_store.write() as session:
        known = session.scalar(text("SELECT version_num FROM alembic_version"))
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with running(fake_supervisor(file_store, quick_settings(home), QUICK)):
        time.sleep(1.0)
        assert watcher.run(ids[0]).attempt == 0
        with file_store.write() as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{known}'"))
        watcher.wait_state(ids, RunState.SUCCEEDED)
    assert caplog.text.count("stands at migration 9999") == 1
    assert caplog.text.count("runs are taken again") == 1


def test_nothing_is_claimed_without_room_and_it_is_said_once(
    file_store: Store,
    home: Path,
    watcher: Watcher,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("worker.supervisor.NO_ROOM_SECONDS", 0.1)
    monkeypatch.setattr("core.disk.FULL_BYTES", 10**18)
    ids = queue_runs(file_store, 1)
    with running(fake_supervisor(file_store, quick_settings(home), QUICK)):
        time.sleep(1.0)
        assert watcher.run(ids[0]).attempt == 0
        monkeypatch.setattr("core.disk.FULL_BYTES", 0)
        monkeypatch.setattr("core.disk.FULL_SHARE", 0.0)
        watcher.wait_state(ids, RunState.SUCCEEDED)
    assert caplog.text.count("Free some space there.") == 1
    assert caplog.text.count("runs are taken again") == 1


def hang_sqlite(home: Path) -> Callable[[], None]:
    """Hold the write lock; return what lets it go."""
    connection = sqlite3.connect(home / "studio.sqlite3", timeout=20, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def check_own_stop(store: Store, home: Path, hang: Callable[[], Callable[[], None]]) -> None:
    """A database that holds the supervisor up inside a call still ends the trainer in time."""
    watcher = Watcher(store)
    lease = 5.0
    [run_id] = queue_runs(store, 1)
    settings = quick_settings(home, lease_seconds=lease)
    # Its steps take longer than the lease: it cannot be done before it is ended.
    plan = {**SLOW, "steps": 150, "pause": 0.05}
    with running(fake_supervisor(store, settings, plan)) as supervisor:
        watcher.wait_step(run_id, 7)
        pid = trainer_of(supervisor)
        release, began = hang(), time.monotonic()
        try:
            wait_for(lambda: not is_alive(pid))
            took = time.monotonic() - began
            assert 0.2 * lease < took < lease, f"ended after {took:.2f} s"
            time.sleep(0.5)
        finally:
            release()
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    outcomes = [attempt.outcome for attempt in watcher.attempts(run_id)]
    # On a busy machine it may happen once more.
    assert outcomes == ["drained"] * (len(outcomes) - 1) + ["succeeded"], watcher.told(run_id)
    assert len(outcomes) > 1
    assert "could not be reached" in watcher.attempts(run_id)[0].detail
    assert watcher.run(run_id).infra_left == 3
    with store.read() as session:
        curves = scalars.read_curves(session, {run_id: scalars.Cursor()})[run_id].curves
    assert list(curves[LOSS].values)[-1] == values_until(run_id, 150)[-1]


def test_a_locked_sqlite_ends_the_trainer_before_the_lease(file_store: Store, home: Path) -> None:
    check_own_stop(file_store, home, lambda: hang_sqlite(home))


def test_a_silent_postgresql_ends_the_trainer_before_the_lease(
    postgres: str, home: Path, request: pytest.FixtureRequest
) -> None:
    if "?host=" not in postgres:
        pytest.skip("this PostgreSQL does not listen on a unix socket that is known")
    shared: Store = request.getfixturevalue("migrated_postgres")
    with hanging_proxy(unquote(shared.url)) as (proxy, url):
        store = Store(url)

        def hang() -> Callable[[], None]:
            proxy.hang()
            return proxy.flow

        try:
            check_own_stop(store, home, hang)
        finally:
            store.close()


@pytest.mark.full
def test_crashes_are_noticed_within_a_second(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    took = []
    with running(fake_supervisor(file_store, quick_settings(home, group_size=1), SLOW)) as it:
        for run_id in queue_runs(file_store, 5):
            watcher.wait_step(run_id, 3)
            os.kill(trainer_of(it), signal.SIGKILL)
            killed = time.monotonic()
            wait_for(lambda: watcher.attempts(run_id)[0].outcome == "crashed")  # noqa: B023
            took.append(time.monotonic() - killed)
            with file_store.write() as session:
                runs.request_cancel(session, run_id)
    assert statistics.median(took) < 1.0, took


@pytest.mark.full
def test_ten_drains_lose_no_step(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.supervisor.DRAIN_SECONDS", 20.0)
    [run_id] = queue_runs(file_store, 1)
    for number in range(10):
        with running(fake_supervisor(file_store, quick_settings(home), SLOW)) as supervisor:
            watcher.wait_step(run_id, watcher.run(run_id).last_step + 6)
            pid = trainer_of(supervisor)
        assert not is_alive(pid)
        run, attempt = watcher.run(run_id), watcher.attempts(run_id)[number]
        assert (run.state, attempt.outcome) == (RunState.QUEUED, "drained")
        assert run.checkpoint_step == run.last_step == attempt.last_step
    attempts = watcher.attempts(run_id)
    resumed = [attempt.resumed_from_step for attempt in attempts]
    assert resumed == [0, *(attempt.last_step for attempt in attempts[:-1])]
    assert watcher.run(run_id).infra_left == 3
    assert sum(attempt.discarded_points for attempt in attempts) == 0


def cancel(store: Store, supervisor: Supervisor, watcher: Watcher, run_id: str) -> float:
    """Ask a run to stop as the page does; return the seconds until it has."""
    asked = time.monotonic()
    with store.write() as session:
        runs.request_cancel(session, run_id)
    supervisor.wake()
    watcher.wait_state([run_id], RunState.CANCELLED)
    return time.monotonic() - asked


def test_cancel_takes_two_seconds_at_most(file_store: Store, home: Path, watcher: Watcher) -> None:
    """Default beats: the ring alone makes the supervisor look. The best of three counts."""
    settings = quick_settings(home, beat_seconds=2.0, poll_seconds=3.0, group_size=1)
    took = []
    with running(fake_supervisor(file_store, settings, SLOW)) as supervisor:
        for run_id in queue_runs(file_store, 3):
            supervisor.wake()
            watcher.wait_step(run_id, 3)
            took.append(cancel(file_store, supervisor, watcher, run_id))
    assert min(took) < 2.0, took


def test_a_deaf_trainer_with_loaders_is_ended_within_seconds_and_leaves_none(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    [run_id] = queue_runs(file_store, 1)
    plan = {**SLOW, "is_deaf": True, "ignores_term": True, "children": 2}
    with running(fake_supervisor(file_store, quick_settings(home), plan)) as supervisor:
        watcher.wait_step(run_id, 3)
        trainer = trainer_of(supervisor)
        family = [trainer, *children_of(trainer)]
        assert len(family) == 3
        assert cancel(file_store, supervisor, watcher, run_id) < 12.0
        wait_for(lambda: not any(map(is_alive, family)), 2.0)


def test_json_logs_name_the_run_in_every_line(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_json = (*worker_tools.FAKE_TRAINER, "--log-format", "json")
    monkeypatch.setattr(worker_tools, "FAKE_TRAINER", as_json)
    [run_id] = queue_runs(file_store, 1)
    with running(fake_supervisor(file_store, quick_settings(home), QUICK)):
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    run = watcher.run(run_id)
    lines = [json.loads(line) for line in Path(run.log_path).read_text().splitlines()]
    assert lines
    assert {(line["run"], line["attempt"], line["fence"]) for line in lines} == {
        ("S1-1", 1, run.fence)
    }


@pytest.mark.parametrize("how", ["database", "nospace"])
@pytest.mark.parametrize("point", ["checkpoint.told", "supervisor.recorded", "supervisor.claimed"])
def test_a_failure_at_a_point_of_the_supervisor_is_made_good(
    file_store: Store, home: Path, watcher: Watcher, point: str, how: str
) -> None:
    [run_id] = queue_runs(file_store, 1)
    marks = home / "marks"
    install_faults({point: how}, once=marks)
    try:
        with running(fake_supervisor(file_store, quick_settings(home), QUICK)):
            watcher.wait_state([run_id], RunState.SUCCEEDED)
    finally:
        fault_points.install(None)
    assert (marks / point).exists()
    outcomes = [attempt.outcome for attempt in watcher.attempts(run_id)]
    assert outcomes == (["drained"] if point == "supervisor.claimed" else []) + ["succeeded"]
    with file_store.read() as session:
        curves = scalars.read_curves(session, {run_id: scalars.Cursor()})[run_id].curves
    assert list(curves[LOSS].values) == values_until(run_id, 12)
