from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.errors import StoreError
from core.states import RunState
from core.store import runs, scalars, workers
from core.store.session import Store
from tests.worker_tools import (
    QUICK,
    ROOT,
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
from worker import claiming
from worker.supervisor import Supervisor


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cooperation take as long as it takes: the machine that tests may be busy."""
    monkeypatch.setattr("worker.active.COOPERATIVE_SECONDS", 60.0)
    monkeypatch.setattr("worker.active.LONGEST_COOPERATIVE_SECONDS", 60.0)
    monkeypatch.setattr("worker.supervisor.MAKE_ROOM_SECONDS", 60.0)


def supervise(store: Store, home: Path, plan: dict[str, Any], **settings: Any) -> Supervisor:
    return fake_supervisor(store, quick_settings(home, **settings), plan)


def test_claimed_runs_are_trained_together_and_end(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    ids = queue_runs(file_store, 6)
    with running(supervise(file_store, home, QUICK, group_size=4)):
        watcher.wait_state(ids, RunState.SUCCEEDED)
    groups = {watcher.run(run_id).log_path for run_id in ids}
    assert len(groups) == 2
    run = watcher.run(ids[0])
    assert run.result is not None
    assert run.result["train_loss"] is None
    assert "fake trainer has 4 runs" in Path(run.log_path).read_text()
    with file_store.read() as session:
        page = scalars.read_curves(session, {ids[0]: scalars.Cursor()})[ids[0]]
    assert page.curves["train/loss"].steps == list(range(1, 13))
    kept = sorted((home / "artifacts" / "runs" / ids[0]).glob("*/step-*"))
    assert kept == [], "a success keeps its adapter alone"


def test_a_killed_trainer_is_followed_by_one_that_continues(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    [run_id] = queue_runs(file_store, 1)
    plan = {**QUICK, "steps": 60, "pause": 0.03}
    with running(supervise(file_store, home, plan)) as supervisor:
        watcher.wait_step(run_id, 12)
        os.kill(trainer_of(supervisor), signal.SIGKILL)
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    first, second = watcher.attempts(run_id)
    assert first.outcome == "crashed"
    assert "SIGKILL" in first.detail
    assert 10 <= first.last_step < 60
    assert f"SIGKILL from outside at update {first.last_step}; continues" in watcher.told(run_id)
    assert second.resumed_from_step >= 10
    assert f"continues from update {second.resumed_from_step}" in watcher.told(run_id)
    with file_store.read() as session:
        page = scalars.read_curves(session, {run_id: scalars.Cursor()})[run_id]
    assert page.curves["train/loss"].steps == list(range(1, 61)), "no gap and no step twice"


def test_a_group_that_dies_is_tried_one_by_one_and_only_the_culprit_pays(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    ids = queue_runs(file_store, 2)
    with running(supervise(file_store, home, {**QUICK, "die_at": 3})):
        wait_for(lambda: any(watcher.run(run_id).must_run_alone for run_id in ids))
        first = [watcher.attempts(run_id)[0] for run_id in ids]
        assert all("2 runs trained together" in attempt.detail for attempt in first)
        assert {watcher.run(run_id).infra_left for run_id in ids} == {3}
        wait_for(lambda: any(watcher.run(run_id).infra_left < 3 for run_id in ids))
    assert all(watcher.run(run_id).must_run_alone for run_id in ids)
    alone = [attempt for run_id in ids for attempt in watcher.attempts(run_id)[1:]]
    assert "was ended by SIGKILL" in alone[0].detail
    assert alone[0].last_step in (1, 2)


@pytest.mark.usefixtures("patient")
def test_cancel_reaches_one_run_and_leaves_its_partner(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    stopped, partner = queue_runs(file_store, 2)
    with running(supervise(file_store, home, {**SLOW, "steps": 150})) as supervisor:
        watcher.wait_step(stopped, 5)
        with file_store.write() as session:
            assert runs.request_cancel(session, stopped) is RunState.STOPPING
        supervisor.wake()
        watcher.wait_state([stopped], RunState.CANCELLED)
        watcher.wait_state([partner], RunState.SUCCEEDED)
    assert [attempt.outcome for attempt in watcher.attempts(partner)] == ["succeeded"]


def test_a_run_that_does_not_listen_is_cancelled_by_force(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    stopped, partner = queue_runs(file_store, 2)
    plan = {**SLOW, "is_deaf": True, "ignores_term": True}
    with running(supervise(file_store, home, plan)) as supervisor:
        watcher.wait_step(stopped, 6)
        pid = trainer_of(supervisor)
        with file_store.write() as session:
            runs.request_cancel(session, stopped)
        watcher.wait_state([stopped], RunState.CANCELLED)
        assert not is_alive(pid)
        wait_for(lambda: len(watcher.attempts(partner)) == 2)
        run = watcher.run(partner)
        assert (run.infra_left, run.must_run_alone) == (3, False)
        assert run.checkpoint_step >= 5


@pytest.mark.usefixtures("patient")
def test_a_users_run_makes_the_demo_step_aside_without_losing_a_step(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    demo = queue_runs(file_store, 2, priority=-10)
    with running(supervise(file_store, home, {**SLOW, "steps": 120}, group_size=2)):
        watcher.wait_step(demo[0], 5)
        mine = queue_runs(file_store, 1)
        watcher.wait_state(mine, RunState.SUCCEEDED)
        watcher.wait_state(demo, RunState.SUCCEEDED)
    first, second = watcher.attempts(demo[0])
    assert first.outcome == "drained"
    assert second.resumed_from_step == first.last_step
    assert watcher.run(demo[0]).infra_left == 3


def test_stopping_the_worker_checkpoints_and_leaves_nothing(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.supervisor.DRAIN_SECONDS", 20.0)
    [run_id] = queue_runs(file_store, 1)
    with running(supervise(file_store, home, SLOW)) as supervisor:
        watcher.wait_step(run_id, 7)
        pid = trainer_of(supervisor)
    run = watcher.run(run_id)
    assert run.state == RunState.QUEUED
    assert run.checkpoint_step == run.last_step >= 7
    assert watcher.attempts(run_id)[0].outcome == "drained"
    assert not is_alive(pid)
    with file_store.read() as session:
        assert workers.counters(session) == {}


def test_stopping_does_not_wait_for_a_trainer_that_does_not_listen(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    [run_id] = queue_runs(file_store, 1)
    plan = {**SLOW, "is_deaf": True, "ignores_term": True}
    with running(supervise(file_store, home, plan)) as supervisor:
        watcher.wait_step(run_id, 7)
        pid = trainer_of(supervisor)
    assert not is_alive(pid)
    assert watcher.run(run_id).state == RunState.QUEUED
    assert watcher.run(run_id).infra_left == 3


WORKER = """
import sys
from pathlib import Path
from core.store.session import Store
from tests.worker_tools import fake_supervisor, quick_settings
settings = quick_settings(Path(sys.argv[1]), lease_seconds=5.0)
plan = {"steps": 2000, "pause": 0.01, "checkpoint_every": 5}
fake_supervisor(Store(settings.sqlalchemy_url), settings, plan).run()
"""


def start_worker(home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(home)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def pause(worker: subprocess.Popen[bytes], home: Path) -> None:
    """Stop a process at a moment when it does not hold the database's lock."""
    for _ in range(50):
        worker.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
        with closing(sqlite3.connect(home / "studio.sqlite3", timeout=0.2)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                worker.send_signal(signal.SIGCONT)
                time.sleep(0.05)
            else:
                connection.rollback()
                return
    raise AssertionError("the worker always held the lock")


def test_a_stopped_worker_loses_its_run_to_another_and_notices_when_it_wakes(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    [run_id] = queue_runs(file_store, 1)
    worker = start_worker(home)
    try:
        watcher.wait_step(run_id, 7)
        pause(worker, home)
        paused = time.monotonic()
        plan = {**QUICK, "steps": 200, "pause": 0.01}
        with running(supervise(file_store, home, plan, lease_seconds=5.0)):
            wait_for(lambda: len(watcher.attempts(run_id)) == 2)
            assert time.monotonic() - paused > 3.0, "a lease must not be cut short"
            watcher.wait_step(run_id, watcher.attempts(run_id)[1].resumed_from_step + 5)
            worker.send_signal(signal.SIGCONT)
            watcher.wait_state([run_id], RunState.SUCCEEDED)
        first, *drained, last = [attempt.outcome for attempt in watcher.attempts(run_id)]
        assert (first, last) == ("lost", "succeeded"), watcher.told(run_id)
        # With so short a lease a disk that stands still for a moment drains an attempt.
        assert set(drained) <= {"drained"}, watcher.told(run_id)
        with file_store.read() as session:
            page = scalars.read_curves(session, {run_id: scalars.Cursor()})[run_id]
        assert page.curves["train/loss"].steps == list(range(1, 201)), "no step twice"
        later = queue_runs(file_store, 1)
        watcher.wait_step(later[0], 1)
    finally:
        worker.kill()
        worker.wait()


def test_a_worker_that_was_killed_is_replaced_at_once_on_its_own_machine(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    [run_id] = queue_runs(file_store, 1)
    worker = start_worker(home)
    try:
        watcher.wait_step(run_id, 7)
        [trainer] = children_of(worker.pid)
    finally:
        worker.kill()
        worker.wait()
    wait_for(lambda: not is_alive(trainer))
    # A lease of ten minutes: nobody waits for it.
    with running(supervise(file_store, home, {**QUICK, "steps": 30}, lease_seconds=600)):
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    assert [attempt.outcome for attempt in watcher.attempts(run_id)] == ["lost", "succeeded"]


def test_training_ends_before_the_lease_when_the_database_is_away(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = queue_runs(file_store, 1)
    supervisor = supervise(file_store, home, {**SLOW, "steps": 400}, lease_seconds=5.0)
    real = Store.write
    away = False

    def write(self: Store, *, durable: bool = True) -> Any:
        if away:
            raise StoreError("The database is away.")
        return real(self, durable=durable)

    with running(supervisor):
        watcher.wait_step(run_id, 7)
        pid = trainer_of(supervisor)
        monkeypatch.setattr(Store, "write", write)
        away, before = True, time.monotonic()
        wait_for(lambda: not is_alive(pid))
        assert time.monotonic() - before > 0.5, "a short trouble must not end the training"
        away = False
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    attempts = watcher.attempts(run_id)
    assert [attempt.outcome for attempt in attempts] == ["drained", "succeeded"]
    assert "could not be reached" in attempts[0].detail
    assert watcher.run(run_id).infra_left == 3


@pytest.mark.parametrize("plan", [{"garbage": True}, {"huge": True}, {"die_at_start": True}])
def test_a_trainer_that_cannot_work_is_told_and_does_not_go_round_for_ever(
    file_store: Store, home: Path, watcher: Watcher, plan: dict[str, Any]
) -> None:
    [run_id] = queue_runs(file_store, 1)
    with running(supervise(file_store, home, plan)):
        wait_for(lambda: watcher.run(run_id).infra_left < 3)
    detail = watcher.attempts(run_id)[0].detail
    assert ("cannot be understood" in detail) or ("exit code 3" in detail)
    assert watcher.run(run_id).log_path


def test_runs_wait_while_their_folders_cannot_be_made(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.supervisor.NO_ROOM_SECONDS", 0.1)
    ids = queue_runs(file_store, 2)
    folder = home / "artifacts" / "runs"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file stands in the way")
    with running(supervise(file_store, home, QUICK)):
        time.sleep(0.5)
        assert watcher.states(ids) == ["queued", "queued"]
        assert watcher.run(ids[0]).attempt == 0
        folder.unlink()
        watcher.wait_state(ids, RunState.SUCCEEDED)


def test_a_log_that_cannot_be_made_strands_no_run(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    ids = queue_runs(file_store, 2)
    (home / "logs").write_text("a file stands in the way")
    with running(supervise(file_store, home, QUICK)):
        wait_for(lambda: all(watcher.run(run_id).must_run_alone for run_id in ids))
        (home / "logs").unlink()
        watcher.wait_state(ids, RunState.SUCCEEDED)
    assert "could not be started" in watcher.attempts(ids[0])[0].detail


def test_a_claim_whose_answer_was_lost_is_given_back(
    file_store: Store, home: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run_id] = queue_runs(file_store, 1)
    real = claiming.claim_group
    lost: list[object] = []

    def claim_group(*arguments: Any) -> list[Any]:
        claimed = real(*arguments)
        if claimed and not lost:
            lost.extend(claimed)
            raise StoreError("The connection broke after the commit.")
        return claimed

    monkeypatch.setattr("worker.claimer.claim_group", claim_group)
    with running(supervise(file_store, home, QUICK)):
        watcher.wait_state([run_id], RunState.SUCCEEDED)
    assert [attempt.outcome for attempt in watcher.attempts(run_id)] == ["drained", "succeeded"]


def test_an_error_that_nobody_foresaw_is_pinned_on_no_innocent_run(
    file_store: Store, home: Path, watcher: Watcher
) -> None:
    ids = queue_runs(file_store, 2)
    with running(supervise(file_store, home, {**QUICK, "raise_at": 3})):
        watcher.wait_state(ids, RunState.FAILED)
    for run_id in ids:
        assert [attempt.outcome for attempt in watcher.attempts(run_id)] == ["crashed", "failed"]
        assert watcher.run(run_id).infra_left == 3
        assert "ValueError" in watcher.run(run_id).exit_detail


def test_importing_the_supervisor_loads_no_torch() -> None:
    code = (
        "import sys, worker.supervisor, worker.celery_app, worker.__main__\n"
        "bad = {'torch', 'transformers', 'gradio', 'plotly'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
