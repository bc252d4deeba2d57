"""Checkpoints of runs on both databases: pruned, dropped, and given up when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.reporting import Ending
from core.states import Outcome, RunState
from core.store import runs
from core.store.models import Run
from core.store.models_data import Checkpoint
from core.store.session import Store
from tests.soundness import check
from tests.store_tools import checkpoint, claim, end, reasons, row, start, submit, succeed, worker


@pytest.fixture(autouse=True)
def sound(store: Store) -> object:
    """Whatever a test does, no invariant may break."""
    yield
    with store.read() as session:
        assert check(session) == []


def states(store: Store, run_id: str) -> dict[int, str]:
    """State of each checkpoint by its step."""
    with store.read() as session:
        found = select(Checkpoint.step, Checkpoint.state).where(Checkpoint.run_id == run_id)
        return {line.step: line.state for line in session.execute(found)}


def test_pruning_keeps_the_newest_two_and_the_best_checkpoint(store: Store) -> None:
    submit(store)
    run = start(store, worker(store))
    with store.write() as session:
        for step in (10, 20, 30, 40):
            runs.register_checkpoint(
                session, run.id, run.fence, checkpoint(step, is_best=step < 20)
            )
        assert sorted(runs.prune_checkpoints(session, run.id, run.fence)) == ["run/20"]
        assert runs.prune_checkpoints(session, run.id, run.fence) == []


def test_only_a_success_lets_its_checkpoints_go(store: Store) -> None:
    submit(store)
    run = start(store, worker(store))
    with store.write() as session:
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(10))
        assert runs.drop_checkpoints(session, run.id, run.fence) == []
        done = Ending(Outcome.SUCCEEDED, files={"adapter": Path("a/adapter")})
        runs.end_attempt(session, run.id, run.fence, done)
        assert runs.drop_checkpoints(session, run.id, run.fence - 1) == []
        assert runs.drop_checkpoints(session, run.id, run.fence) == ["run/10"]
    with store.read() as session:
        assert not [line for line in check(session) if "checkpoint" in line]


def test_a_damaged_checkpoint_is_given_up_for_the_one_before(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        for step in (50, 60):
            runs.register_checkpoint(session, run.id, run.fence, checkpoint(step))
    end(store, run, Outcome.DRAINED)
    told = []
    for left, place in ((60, "run/60"), (50, "run/50")):
        run = claim(store, mine)[0]
        assert (run.checkpoint_step, run.checkpoint) == (left, place)
        state = end(store, run, Outcome.FAILED, kind="damaged_checkpoint", detail="A byte is off.")
        assert state is RunState.QUEUED
        with store.read() as session:
            told.append(reasons(session, run.id)[0])
    assert told == [
        "checkpoint 60 is damaged; continues from update 50",
        "checkpoint 50 is damaged; starts again from the beginning",
    ]
    run = claim(store, mine)[0]
    assert (run.checkpoint_step, run.checkpoint) == (0, None)
    assert row(store, run.id).infra_left == 1
    assert states(store, run.id) == {50: "damaged", 60: "damaged"}


def test_a_retry_never_meets_the_same_damaged_checkpoint_again(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(60))
        session.execute(update(Run).values(infra_left=0))
    assert end(store, run, Outcome.FAILED, kind="damaged_checkpoint") is RunState.FAILED
    with store.write() as session:
        assert runs.retry(session, run.id) is RunState.QUEUED
    assert claim(store, mine)[0].checkpoint is None


def test_the_files_of_damaged_checkpoints_go_with_a_success(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    with store.write() as session:
        for step in (50, 60):
            runs.register_checkpoint(session, run.id, run.fence, checkpoint(step))
    end(store, run, Outcome.FAILED, kind="damaged_checkpoint")
    again = start(store, mine)
    with store.write() as session:
        assert runs.prune_checkpoints(session, run.id, again.fence) == []
    succeed(store, again)
    with store.write() as session:
        assert runs.drop_checkpoints(session, run.id, run.fence) == []
        assert runs.drop_checkpoints(session, run.id, again.fence) == ["run/50", "run/60"]
    assert states(store, run.id) == {50: "deleted", 60: "damaged"}


def test_a_retry_continues_from_the_newest_checkpoint_of_any_attempt(store: Store) -> None:
    submit(store)
    mine = worker(store)
    first = start(store, mine)
    with store.write() as session:
        runs.register_checkpoint(session, first.id, first.fence, checkpoint(40))
    end(store, first, Outcome.DRAINED)
    second = start(store, mine)
    with store.write() as session:
        runs.register_checkpoint(session, second.id, second.fence, checkpoint(100))
    state = end(store, second, Outcome.FAILED, kind="evaluation", detail="Scoring failed.")
    assert state is RunState.FAILED
    with store.write() as session:
        assert runs.retry(session, first.id) is RunState.QUEUED
    third = claim(store, mine)[0]
    assert (third.checkpoint_step, third.checkpoint) == (100, "run/100")
