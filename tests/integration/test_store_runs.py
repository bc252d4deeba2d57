"""Claims, fences, endings, leases and cancellation on both databases."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from core.errors import NotFound
from core.reporting import Progress
from core.states import Outcome, RunState, StopKind
from core.store import runs, workers
from core.store.clock import utcnow
from core.store.leases import LeaseObserver, Observation
from core.store.models import Run
from core.store.session import Store
from tests.store_tools import (
    checkpoint,
    claim,
    end,
    make_ready,
    reasons,
    recipe,
    row,
    start,
    submit,
    succeed,
    worker,
)

pytestmark = pytest.mark.usefixtures("sound")


def test_eight_threads_claim_each_run_once(store: Store) -> None:
    study = submit(store, recipe(seeds=range(40)))

    def work(number: int) -> list[str]:
        mine, taken = worker(store, f"w{number}"), []
        while claimed := claim(store, mine, 3):
            taken += [run.id for run in claimed]
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [run_id for some in threads.map(work, range(8)) for run_id in some]
    assert Counter(taken) == Counter(study.run_ids)


def test_users_come_before_the_demo_and_the_oldest_first(store: Store) -> None:
    submit(store, is_demo=True, priority=-10)
    first = submit(store)
    second = submit(store)
    mine = worker(store)
    order = [claim(store, mine)[0] for _ in range(3)]
    assert [run.study_id for run in order[:2]] == [first.id, second.id]
    assert order[2].priority == -10


def test_a_group_shares_backbone_and_priority(store: Store) -> None:
    submit(store, recipe(("prompt_tuning", "fine_tuning", "linear_probe"), seeds=(0, 1)))
    submit(store, is_demo=True, priority=-10)
    mine = worker(store)
    groups = [claim(store, mine, 8) for _ in range(4)]
    told = [[(row(store, run.id).method_label, run.priority) for run in one] for one in groups]
    assert told == [
        [("prompt_tuning", 0)] * 2 + [("linear_probe", 0)] * 2,
        [("fine_tuning", 0)],
        [("fine_tuning", 0)],
        [("prompt_tuning", -10)],
    ]


def test_a_run_that_must_run_alone_joins_no_group(store: Store) -> None:
    study = submit(store, recipe(seeds=(0, 1, 2)))
    with store.write() as session:
        alone = Run.id == study.run_ids[1]
        session.execute(update(Run).where(alone).values(must_run_alone=True))
    mine = worker(store)
    groups = [[run.id for run in claim(store, mine, 3)] for _ in range(2)]
    assert groups == [[study.run_ids[0], study.run_ids[2]], [study.run_ids[1]]]


def test_a_lost_claim_changes_nothing(store: Store) -> None:
    submit(store)
    first, second = worker(store, "w1"), worker(store, "w2")
    old = start(store, first, step=5)
    with store.write() as session:
        assert runs.expire(session, [Observation(first, 0)]) == {old.id: RunState.QUEUED}
    make_ready(store)
    new = start(store, second, step=7)
    assert new.fence > old.fence
    before = row(store, old.id)
    with store.write() as session:
        assert not runs.started(session, old.id, old.fence)
        assert not runs.progress(session, old.id, old.fence, Progress("training", 50, 100))
        assert not runs.register_checkpoint(session, old.id, old.fence, checkpoint(50))
        assert runs.beat(session, first, {old.id: old.fence}) == {old.id: "lost"}
        assert runs.release_all(session, first, {old.id: old.fence}, "trainer died") == {}
    assert succeed(store, old) is None
    after = row(store, old.id)
    assert (after.version, after.last_step, after.worker_id) == (before.version, 7, second)


def test_a_beat_brings_the_wish_to_stop(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine, step=3)
    with store.write() as session:
        assert runs.beat(session, mine, {run.id: run.fence}) == {run.id: None}
        assert runs.request_cancel(session, run.id) is RunState.STOPPING
        assert runs.beat(session, mine, {run.id: run.fence}) == {run.id: StopKind.CANCEL}
    assert end(store, run, Outcome.CANCELLED) is RunState.CANCELLED
    assert row(store, run.id).exit_detail == "stopped as asked at update 3"


def test_a_run_that_finishes_while_stopping_is_cancelled(store: Store) -> None:
    submit(store)
    run = start(store, worker(store), step=100)
    with store.write() as session:
        runs.request_cancel(session, run.id)
    assert succeed(store, run) is RunState.CANCELLED
    assert row(store, run.id).result is None


def test_cancel_and_finish_race_to_exactly_one_end(store: Store) -> None:
    study = submit(store, recipe(seeds=range(12)))
    mine = worker(store)
    claimed = claim(store, mine, 12)
    barrier = threading.Barrier(2, timeout=60)

    def cancel() -> None:
        for run in claimed:
            barrier.wait()
            with store.write() as session:
                runs.request_cancel(session, run.id)

    with ThreadPoolExecutor(1) as thread:
        cancelling = thread.submit(cancel)
        for run in claimed:
            barrier.wait()
            assert succeed(store, run) in (RunState.SUCCEEDED, RunState.CANCELLED)
        cancelling.result()
    states = {row(store, run_id).state for run_id in study.run_ids}
    assert states <= {"succeeded", "cancelled"}


def test_a_queued_run_is_cancelled_at_once(store: Store) -> None:
    study = submit(store)
    with store.write() as session:
        assert runs.request_cancel(session, study.run_ids[0]) is RunState.CANCELLED
    assert claim(store, worker(store)) == []


def test_a_run_cancelled_between_its_attempts_says_what_it_had_done(store: Store) -> None:
    submit(store)
    run = start(store, worker(store), step=37)
    end(store, run, Outcome.DRAINED, detail="the worker is shutting down")
    with store.write() as session:
        assert runs.request_cancel(session, run.id) is RunState.CANCELLED
    told = "cancelled by user while it waited, after 37 updates"
    assert row(store, run.id).exit_detail == told
    with store.read() as session:
        assert reasons(session, run.id)[0] == told


def test_crashes_back_off_and_end_when_the_budget_is_used_up(store: Store) -> None:
    submit(store)
    mine = worker(store)
    waits = []
    for _ in range(3):
        run = start(store, mine, step=37)
        state = end(store, run, Outcome.CRASHED, kind="signal", detail="trainer died (signal 9)")
        assert state is RunState.QUEUED
        not_before = row(store, run.id).not_before
        assert not_before is not None
        waits.append(round((not_before - utcnow()).total_seconds()))
        assert claim(store, mine) == []
        make_ready(store)
    assert waits == [1, 5, 30]
    run = start(store, mine, step=37)
    assert end(store, run, Outcome.CRASHED, detail="trainer died") is RunState.FAILED
    assert row(store, run.id).exit_kind == "crash_loop"


def test_the_event_of_a_crash_says_where_it_continues(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine, step=30)
    with store.write() as session:
        assert runs.register_checkpoint(session, run.id, run.fence, checkpoint(30))
        runs.progress(session, run.id, run.fence, Progress("training", 37, 100))
    end(store, run, Outcome.CRASHED, detail="trainer died (signal 9)")
    with store.read() as session:
        assert reasons(session, run.id)[0] == (
            "trainer died (signal 9) at update 37; continues from update 30 after 1 s"
        )
    make_ready(store)
    again = claim(store, mine)[0]
    assert (again.checkpoint, again.checkpoint_step, again.attempt) == ("run/30", 30, 2)


def test_failures_of_the_run_itself_are_not_retried(store: Store) -> None:
    submit(store)
    run = start(store, worker(store))
    end(store, run, Outcome.FAILED, kind="diverged", detail="The loss became NaN.")
    failed = row(store, run.id)
    assert (failed.state, failed.exit_kind, failed.infra_left) == ("failed", "diverged", 3)


def test_draining_costs_no_budget(store: Store) -> None:
    submit(store)
    mine = worker(store)
    for _ in range(6):
        run = start(store, mine)
        with store.write() as session:
            states = runs.drain_all(session, mine, {run.id: run.fence}, "the worker stops")
        assert states == {run.id: RunState.QUEUED}
    assert row(store, run.id).infra_left == 3


def test_out_of_memory_leaves_the_group_first_and_fails_alone(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    first, second = claim(store, mine, 2)
    assert end(store, first, Outcome.OUT_OF_MEMORY) is RunState.QUEUED
    assert row(store, first.id).must_run_alone
    assert end(store, second, Outcome.DRAINED) is RunState.QUEUED
    (alone,) = claim(store, mine, 2)
    assert alone.id == first.id
    assert end(store, alone, Outcome.OUT_OF_MEMORY) is RunState.FAILED
    assert "smaller batch" in row(store, first.id).exit_detail


def test_a_dead_trainer_of_a_group_sends_everybody_back_alone(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1, 2)))
    mine = worker(store)
    group = claim(store, mine, 3)
    with store.write() as session:
        fences = {run.id: run.fence for run in group}
        states = runs.release_all(session, mine, fences, "trainer died (signal 9)")
    assert set(states.values()) == {RunState.QUEUED}
    assert all(row(store, run.id).infra_left == 3 for run in group)
    assert len(claim(store, mine, 3)) == 1


def test_a_dead_trainer_of_one_run_is_a_crash(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        runs.release_all(session, mine, {run.id: run.fence}, "trainer died")
    assert row(store, run.id).infra_left == 2


def test_a_silent_worker_loses_its_runs_and_a_beating_one_keeps_them(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    silent, alive = worker(store, "silent"), worker(store, "alive")
    lost, kept = start(store, silent), start(store, alive)
    now = [0.0]
    observer = LeaseObserver(30, clock=lambda: now[0])
    for now[0] in (0.0, 7.5, 15.0, 22.5, 29.0):
        with store.write() as session:
            runs.beat(session, alive, {kept.id: kept.fence})
            assert observer.expired(workers.counters(session)) == []
    now[0] = 31.0
    with store.write() as session:
        runs.beat(session, alive, {kept.id: kept.fence})
        overdue = observer.expired(workers.counters(session))
        assert runs.expire(session, overdue) == {lost.id: RunState.QUEUED}
    assert row(store, lost.id).fence == lost.fence + 1
    with store.read() as session:
        states = {one.name: one.state for one in workers.list_workers(session)}
    assert states == {"silent": "lost", "alive": "alive"}


def test_a_worker_that_beat_after_the_observation_is_not_expired(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        runs.beat(session, mine, {run.id: run.fence})
        assert runs.expire(session, [Observation(mine, 0)]) == {}
    assert row(store, run.id).state == "running"


def test_a_run_that_was_to_stop_is_cancelled_when_its_worker_is_lost(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        runs.request_cancel(session, run.id)
        assert runs.expire(session, [Observation(mine, 0)]) == {run.id: RunState.CANCELLED}


def test_retry_gives_fresh_budgets_and_success_is_final(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    end(store, run, Outcome.FAILED, kind="bad_data", detail="No files.")
    with store.write() as session:
        assert runs.retry(session, run.id) is RunState.QUEUED
    again = start(store, mine)
    assert succeed(store, again) is RunState.SUCCEEDED
    with store.write() as session:
        assert runs.retry(session, run.id) is RunState.SUCCEEDED
        assert runs.request_cancel(session, run.id) is RunState.SUCCEEDED
        with pytest.raises(NotFound, match="no run nowhere"):
            runs.retry(session, "nowhere")


def test_success_without_the_note_of_the_start_still_counts(store: Store) -> None:
    submit(store)
    run = claim(store, worker(store))[0]
    assert succeed(store, run) is RunState.SUCCEEDED


def test_a_worker_that_is_not_registered_gets_nothing(store: Store) -> None:
    submit(store)
    assert claim(store, "nobody") == []
    gone = worker(store)
    with store.write() as session:
        workers.stop(session, gone)
    assert claim(store, gone) == []


def test_back_off_is_over_when_its_time_has_passed(store: Store) -> None:
    study = submit(store)
    with store.write() as session:
        session.execute(update(Run).values(not_before=utcnow() - timedelta(seconds=1)))
    assert claim(store, worker(store))[0].id == study.run_ids[0]


def test_a_beat_gives_back_what_the_worker_does_not_know_that_it_holds(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1, 2)))
    mine, other = worker(store), worker(store, "w2")
    known, ending, unknown = (start(store, mine) for _ in range(3))
    submit(store)
    foreign = start(store, other)
    with store.write() as session:
        answer = runs.beat(session, mine, {known.id: known.fence}, waiting={ending.id})
    assert answer == {known.id: None}
    assert (row(store, unknown.id).state, row(store, unknown.id).infra_left) == ("queued", 3)
    assert {row(store, run.id).state for run in (known, ending, foreign)} == {"running"}


def test_a_worker_that_stops_leaves_no_run_in_its_name(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    first, second = claim(store, mine, 2)
    with store.write() as session:
        runs.request_cancel(session, second.id)
        workers.stop(session, mine)
    assert [row(store, run.id).state for run in (first, second)] == ["queued", "cancelled"]
    assert row(store, first.id).infra_left == 3


def test_texts_with_nul_are_stored_without_it(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    failed, done = claim(store, mine, 2)
    end(store, failed, Outcome.FAILED, kind="bad_data", detail="A\0B")
    files = {"adapter": Path("a/adapter")}
    end(store, done, Outcome.SUCCEEDED, result={"flags": ["a\0b"]}, files=files)
    assert row(store, failed.id).exit_detail == "AB"
    assert row(store, done.id).result == {"flags": ["ab"]}
