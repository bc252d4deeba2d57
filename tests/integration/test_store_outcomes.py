"""What follows on each outcome of an attempt, and what is told while it lives."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from core.errors import BackboneChanged, DiskFull, EvaluationError, NonFiniteLoss, StudioError
from core.reporting import Ending, Progress
from core.states import Outcome, RunState
from core.store import endings, runs, workers
from core.store.clock import database_time, utcnow
from core.store.leases import Observation
from core.store.models import Run
from core.store.session import Store
from tests.store_tools import (
    attempts,
    checkpoint,
    claim,
    end,
    make_ready,
    reasons,
    recipe,
    row,
    start,
    submit,
    worker,
)

pytestmark = pytest.mark.usefixtures("sound")


def seconds_to_wait(store: Store, run_id: str) -> int:
    """How long after its last attempt a run may be taken again, however long ago that was."""
    not_before, ended_at = row(store, run_id).not_before, attempts(store, run_id)[-1].ended_at
    assert not_before is not None
    assert ended_at is not None
    return round((not_before - ended_at).total_seconds())


def test_a_stalled_run_is_tried_again_later_each_time_and_then_fails(store: Store) -> None:
    submit(store)
    mine = worker(store)
    waits = []
    for _ in range(3):
        run = start(store, mine, step=10)
        with store.write() as session:
            assert runs.register_checkpoint(session, run.id, run.fence, checkpoint(5))
            assert runs.stalled(session, run.id, run.fence, True)
        assert row(store, run.id).is_stalled
        assert end(store, run, Outcome.STALLED, detail="no step for 130 s") is RunState.QUEUED
        assert not row(store, run.id).is_stalled
        waits.append(seconds_to_wait(store, run.id))
        make_ready(store)
    assert waits == [5, 30, 120]
    with store.read() as session:
        assert reasons(session, run.id)[0] == (
            "stalled at update 10 (no step for 130 s); continues from update 5 after 120 s"
        )
    last = start(store, mine, step=10)
    assert end(store, last, Outcome.STALLED, detail="no step for 130 s") is RunState.FAILED
    failed = row(store, last.id)
    assert failed.exit_kind == "stalled"
    assert "for the 4th time; it is not tried again" in failed.exit_detail
    assert [one.outcome for one in attempts(store, last.id)] == ["stalled"] * 4


def test_crashes_lost_workers_and_stalls_share_one_budget(store: Store) -> None:
    submit(store)
    mine = worker(store)
    end(store, start(store, mine), Outcome.CRASHED, detail="trainer died")
    make_ready(store)
    run = start(store, mine)
    with store.write() as session:
        (state,) = runs.expire(session, [Observation(mine, 0)]).values()
    assert state is RunState.QUEUED
    assert seconds_to_wait(store, run.id) == 5
    make_ready(store)
    mine = worker(store, "w2")
    end(store, start(store, mine), Outcome.STALLED)
    assert seconds_to_wait(store, run.id) == 120
    make_ready(store)
    assert end(store, start(store, mine), Outcome.CRASHED) is RunState.FAILED
    assert (row(store, run.id).infra_left, row(store, run.id).oom_left) == (0, 1)


def test_a_stall_in_a_group_costs_nobody_anything(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    group = claim(store, mine, 2)
    with store.write() as session:
        fences = {run.id: run.fence for run in group}
        tails = {run.id: f"log of {run.id}" for run in group}
        endings.release_all(
            session, mine, fences, "no step for 130 s", outcome=Outcome.STALLED, log_tails=tails
        )
    for run in group:
        (attempt,) = attempts(store, run.id)
        assert (attempt.outcome, attempt.kind) == ("stalled", "stalled")
        assert attempt.log_tail == f"log of {run.id}"
        now = row(store, run.id)
        assert (now.state, now.must_run_alone, now.infra_left) == ("queued", True, 3)


def test_the_event_of_a_group_that_died_says_everything_once(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    group = claim(store, mine, 2)
    killed = "The trainer was ended by SIGKILL from outside while 2 runs trained together."
    with store.write() as session:
        first, second = group
        assert runs.started(session, first.id, first.fence)
        assert runs.register_checkpoint(session, first.id, first.fence, checkpoint(5))
        runs.progress(session, first.id, first.fence, Progress("training", 7, 100))
        endings.release_all(session, mine, {run.id: run.fence for run in group}, killed)
    rest = "Which of them caused it is not known, so each is tried alone; this one was at update"
    with store.read() as session:
        told = [reasons(session, run.id)[0] for run in group]
    assert told == [
        f"{killed} {rest} 7 and continues from update 5",
        f"{killed} {rest} 0 and starts again from the beginning",
    ]


def test_host_memory_is_tried_once_more_and_device_memory_is_not(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    host, device = start(store, mine, step=3), start(store, mine, step=3)
    ending = {"detail": "The device's memory ran out."}
    assert end(store, device, Outcome.OUT_OF_MEMORY, **ending) is RunState.FAILED
    killed = "The system ended the trainer for want of memory"
    with store.write() as session:
        states = endings.release_all(
            session, mine, {host.id: host.fence}, killed, outcome=Outcome.OUT_OF_MEMORY
        )
    assert states == {host.id: RunState.QUEUED}
    assert seconds_to_wait(store, host.id) == 10
    make_ready(store)
    again = start(store, mine, step=4)
    assert end(store, again, Outcome.OUT_OF_MEMORY, kind="oom_host", detail=killed) is (
        RunState.FAILED
    )
    failed = row(store, host.id)
    assert (failed.attempt, failed.exit_kind, failed.infra_left) == (2, "out_of_memory", 3)
    assert "smaller batch size" in failed.exit_detail


@pytest.mark.parametrize("error", [BackboneChanged, DiskFull, EvaluationError, NonFiniteLoss])
def test_what_would_only_happen_again_is_not_tried_again(
    error: type[StudioError], store: Store
) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine, step=4)
    with store.write() as session:
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(4))
    assert end(store, run, Outcome.FAILED, kind=error.code) is RunState.FAILED
    assert (row(store, run.id).exit_kind, row(store, run.id).infra_left) == (error.code, 3)
    with store.write() as session:
        assert runs.retry(session, run.id) is RunState.QUEUED
    assert claim(store, mine)[0].checkpoint_step == 4


def test_a_back_off_heeds_the_clock_of_the_database_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    for module in ("waiting", "outcomes", "clock"):
        monkeypatch.setattr(
            f"core.store.{module}.utcnow", lambda: utcnow() + timedelta(hours=1), raising=False
        )
    end(store, run, Outcome.CRASHED)
    assert seconds_to_wait(store, run.id) == 1
    for wait, found in ((60, 0), (0, 1)):
        with store.write() as session:
            session.execute(update(Run).values(not_before=database_time(wait)))
        assert len(claim(store, mine)) == found


def test_notices_are_lines_of_the_living_attempt(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    lines = ["Continued in another\nenvironment.", "A\0 second one.", "A second one.", "  "]
    with store.write() as session:
        assert all(runs.notice(session, run.id, run.fence, line) for line in lines)
        assert not runs.notice(session, run.id, run.fence - 1, "stale")
    told = "Continued in another environment.\nA second one."
    assert attempts(store, run.id)[0].notice == told
    with store.write() as session:
        assert runs.notice(session, run.id, run.fence, "x" * 5000)
    assert attempts(store, run.id)[0].notice == told
    end(store, run, Outcome.DRAINED)
    with store.write() as session:
        assert not runs.notice(session, run.id, run.fence, "too late")
    again = start(store, mine)
    assert [one.notice for one in attempts(store, run.id)] == [told, ""]
    with store.write() as session:
        assert runs.notice(session, again.id, again.fence, "new")
    assert [one.notice for one in attempts(store, run.id)] == [told, "new"]


def test_only_the_holder_says_that_a_run_stalls_and_a_claim_takes_it_back(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        assert not runs.stalled(session, run.id, run.fence + 1, True)
        assert runs.stalled(session, run.id, run.fence, True)
        assert runs.stalled(session, run.id, run.fence, False)
    assert not row(store, run.id).is_stalled
    with store.write() as session:
        assert runs.stalled(session, run.id, run.fence, True)
        assert runs.drain_all(session, mine, {run.id: run.fence}, "the worker ends")
        assert not runs.stalled(session, run.id, run.fence, True)
    assert not row(store, claim(store, mine)[0].id).is_stalled


def test_an_attempt_keeps_the_path_and_the_end_of_its_log(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = claim(store, mine)[0]
    with store.write() as session:
        runs.request_cancel(session, run.id)
        assert runs.started(session, run.id, run.fence, log_path="logs/a.log")
        ending = Ending(Outcome.CANCELLED)
        long = "x" * endings.LOG_TAIL_LENGTH + "\0last line"
        runs.end_attempt(session, run.id, run.fence, ending, log_tail=long)
    (attempt,) = attempts(store, run.id)
    assert attempt.log_path == "logs/a.log"
    assert attempt.log_tail.endswith("xlast line")
    assert len(attempt.log_tail) == endings.LOG_TAIL_LENGTH


def test_a_beat_tells_the_memory_in_use(store: Store) -> None:
    mine = worker(store, queues=["gpu", "default"], memory_bytes=80)
    with store.write() as session:
        runs.beat(session, mine, {}, memory_used=30)
    with store.read() as session:
        (line,) = workers.list_workers(session)
    assert (line.queues, line.memory_bytes, line.memory_used) == (("gpu", "default"), 80, 30)
