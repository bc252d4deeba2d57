"""The checker on both databases: it finds each damage, and nothing in a studio at work."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import fault_points
from core.errors import StoreError
from core.reporting import Ending
from core.states import Outcome
from core.store import check as check_module
from core.store import runs, scalars, studies
from core.store.check import examine
from core.store.clock import utcnow
from core.store.models import Attempt, Run, RunEvent, Study, StudyEvent, Worker
from core.store.models_data import Artifact, Checkpoint, ScalarChunk, ScalarSummary
from core.store.session import Collided, Store
from tests.soundness import check
from tests.store_tools import checkpoint, claim, end, recipe, start, submit, worker

LIVE_TURNS = 6


def learn(store: Store, run: runs.ClaimedRun, steps: range) -> None:
    """Tell a loss at each step."""
    with store.write(durable=False) as session:
        points = [(step, {"train/loss": 1.0 / step}) for step in steps]
        assert scalars.append(session, run.id, run.fence, points)


@pytest.fixture
def lived_in(store: Store) -> Store:
    """One run succeeded, one failed, one trains in its second attempt, one waits."""
    submit(store, recipe(seeds=(0, 1, 2, 3)))
    mine = worker(store)
    done = start(store, mine, step=4)
    learn(store, done, range(1, 5))
    result = {"updates": 4, "dev": {"accuracy": 0.5}}
    end(store, done, Outcome.SUCCEEDED, result=result, files={"adapter": Path("a/adapter")})
    end(store, start(store, mine), Outcome.FAILED, kind="diverged", detail="NaN")
    run = start(store, mine, step=4)
    learn(store, run, range(1, 5))
    with store.write() as session:
        assert runs.register_checkpoint(session, run.id, run.fence, checkpoint(3))
    end(store, run, Outcome.DRAINED)
    again = start(store, mine, step=6)
    assert (again.id, again.checkpoint_step) == (run.id, 3)
    learn(store, again, range(4, 7))
    with store.read() as session:
        assert check(session) == []
    return store


SUCCEEDED, RUNNING = Run.state == "succeeded", Run.state == "running"


def event_after_the_end(session: Session) -> None:
    """End the succeeded run a second time."""
    run = session.query(Run).filter(SUCCEEDED).one()
    run.version += 1
    session.flush()
    values = {"version": run.version, "before": "succeeded", "after": "failed"}
    session.execute(
        insert(RunEvent).values(run_id=run.id, reason="", actor="", at=utcnow(), **values)
    )


def lost_points(session: Session) -> None:
    """Take the first chunk of the succeeded run, as if its commit had been lost."""
    run = session.query(Run).filter(SUCCEEDED).one()
    for model in (ScalarChunk, ScalarSummary):
        session.execute(delete(model).where(model.run_id == run.id))
    session.execute(text("DELETE FROM scalar_pyramid WHERE run_id = :run"), {"run": run.id})


def gap(session: Session) -> None:
    """Let the succeeded run's loss begin at step 2."""
    run = session.query(Run).filter(SUCCEEDED).one()
    chunk = session.query(ScalarChunk).filter_by(run_id=run.id).one()
    chunk.steps, chunk.values = chunk.steps[4:], chunk.values[8:]
    chunk.count, chunk.first_step = 3, 2
    session.flush()


def late_points(session: Session) -> None:
    """Give the second attempt's points to the first."""
    session.execute(update(ScalarChunk).where(ScalarChunk.attempt == 2).values(attempt=1))


def a_final_twice(session: Session) -> None:
    """Say that the study was tuned, and that two of its runs have the same seed."""
    session.execute(update(Study).values(protocol="tuned"))
    session.execute(update(Run).values(init_seed=0))


DAMAGE = {
    "it is succeeded at version": event_after_the_end,
    "it made 4 updates and has no train/loss": lost_points,
    "train/loss has 3 points up to update 4": gap,
    "attempt 2 began at update 3, but update 6 of attempt 1 is still there": late_points,
    "the same final run twice": a_final_twice,
    "but its worker is stopped": update(Worker).values(state="stopped"),
    "held by a worker that does not train": update(Worker).values(role="predict"),
    "serves the queues []": update(Worker).values(queues=[]),
    "its memory is -1 of 0": update(Worker).values(memory_used=-1),
    "and counts as stalled": update(Run).where(SUCCEEDED).values(is_stalled=True),
    "a queue without a name": update(Run).values(queue=" "),
    "it needs -1 bytes": update(Run).values(memory_bytes=-1),
    "its queue has no name": update(Study).values(queue=""),
    "it is stopping, but nobody asked": update(Run).where(RUNNING).values(state="stopping"),
    "has no outcome and has ended": update(Attempt).values(outcome=""),
    "but its last attempt failed": update(Attempt).values(outcome="failed", ended_at=utcnow()),
    "is behind its last attempt's": update(Run).where(RUNNING).values(fence=2, attempt=2),
    "continues from update 0, but update 3": update(Run).values(checkpoint_step=0),
    "the start of its attempt 2": update(Checkpoint).values(step=1, attempt=2),
    "attempt 7, which never was": update(Checkpoint).values(attempt=7),
    "its adapter is not registered": delete(Artifact),
    "train/loss ends at update 4": update(Run).where(SUCCEEDED).values(result={"updates": 5}),
    "it was claimed 1 time in": update(RunEvent)
    .where(RunEvent.version == 2)
    .values(after="queued"),
    "2 endings since it was last queued again": update(RunEvent)
    .where(RunEvent.after == "running", RunEvent.run_id.in_(select(Run.id).where(SUCCEEDED)))
    .values(after="failed", before=""),
}


@pytest.mark.parametrize("told", DAMAGE)
def test_each_damage_is_told(lived_in: Store, told: str) -> None:
    damage = DAMAGE[told]
    with lived_in.write() as session:
        if told == "is behind its last attempt's":
            session.execute(update(Attempt).where(Attempt.attempt == 2).values(fence=9))
        if callable(damage):
            damage(session)
        else:
            session.execute(damage)
        found = [str(finding) for finding in examine(session).findings]
    assert any(told in sentence for sentence in found), found


def test_study_events_have_no_gaps(lived_in: Store) -> None:
    with lived_in.write() as session:
        study = session.query(Study).one()
        session.add(StudyEvent(study_id=study.id, ordinal=2, kind="note", text="?"))
        session.flush()
        assert any("S1: its events" in finding for finding in check(session))


def test_the_report_counts_what_it_looked_at(
    lived_in: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lived_in.snapshot() as session:
        whole = examine(session)
        monkeypatch.setattr(check_module, "RUNS_AT_ONCE", 1)
        assert examine(session).counted == whole.counted
    counted = whole.counted
    assert (counted["runs"], counted["attempts"], counted["checkpoints"]) == (4, 4, 1)
    assert (counted["points"], counted["scalars"], counted["studies"]) == (10, 2, 1)
    assert "4 runs, 1 studies" in whole.examined


def test_a_snapshot_sees_one_state_and_stops_no_writer(store: Store) -> None:
    submit(store)
    with store.snapshot() as session:
        assert session.query(Run).count() == 1
        submit(store)
        assert session.query(Run).count() == 1
    with store.snapshot() as session:
        assert session.query(Run).count() == 2


def test_a_snapshot_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match=r"(?i)read-?only"), store.snapshot() as session:
        session.execute(insert(Study).values(number=1, name="x", recipe="{}"))


class Load(threading.Thread):
    """Does what workers and people do, at random, until it is told to stop."""

    def __init__(self, store: Store, seed: int) -> None:
        super().__init__()
        self.store, self.random, self.name = store, random.Random(seed), f"w{seed}"
        self.trouble: BaseException | None = None

    def run(self) -> None:
        try:
            mine = worker(self.store, self.name)
            for _ in range(LIVE_TURNS):
                self.turn(mine)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.trouble = error

    def turn(self, mine: str) -> None:
        claimed = claim(self.store, mine, self.random.choice((1, 3)))
        if not claimed:
            submit(self.store, recipe(seeds=range(3)))
            return
        for run in claimed:
            first = run.checkpoint_step + 1
            with self.store.write() as session:
                runs.started(session, run.id, run.fence)
            learn(self.store, run, range(first, first + 6))
            with self.store.write() as session:
                runs.register_checkpoint(session, run.id, run.fence, checkpoint(first + 2))
            if self.random.random() < 0.2:
                with self.store.write() as session:
                    runs.request_cancel(session, run.id)
            self.end(run, first + 5)

    def end(self, run: runs.ClaimedRun, step: int) -> None:
        outcome = self.random.choice((Outcome.SUCCEEDED, Outcome.DRAINED, Outcome.FAILED))
        result = {"updates": step} if outcome is Outcome.SUCCEEDED else {}
        files = {"adapter": Path("a")} if outcome is Outcome.SUCCEEDED else {}
        with self.store.write() as session:
            ending = Ending(outcome, kind="diverged", result=result, files=files)
            runs.end_attempt(session, run.id, run.fence, ending)
            runs.drop_checkpoints(session, run.id, run.fence)
        if self.random.random() < 0.3:
            with self.store.write() as session:
                runs.retry(session, run.id)


def test_a_studio_at_work_has_no_findings(store: Store) -> None:
    submit(store, recipe(seeds=range(6)))
    load = [Load(store, seed) for seed in range(3)]
    for thread in load:
        thread.start()
    looks = 0
    while any(thread.is_alive() for thread in load):
        with store.snapshot() as session:
            assert check(session) == []
        looks += 1
    for thread in load:
        thread.join(60)
        assert thread.trouble is None
    assert looks > 3


def test_a_transaction_passes_its_named_points(store: Store) -> None:
    passed: list[str] = []
    fault_points.install(passed.append)
    try:
        submit(store)
    finally:
        fault_points.install(None)
    assert passed == ["store.commit", "store.committed"]


@pytest.mark.parametrize(("point", "kept"), [("store.commit", 0), ("store.committed", 1)])
def test_a_launch_whose_commit_fails_is_repeated_safely(
    store: Store, point: str, kept: int
) -> None:
    def fail(name: str) -> None:
        if name == point:
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    fault_points.install(fail)
    try:
        with pytest.raises(StoreError):
            submit(store, idempotency_key="one")
    finally:
        fault_points.install(None)
    with store.read() as session:
        assert session.query(Study).count() == kept
    assert submit(store, idempotency_key="one").is_new == (not kept)
    with store.read() as session:
        assert session.query(Study).count() == 1


def test_work_that_collides_is_done_again(store: Store) -> None:
    calls = 0

    def work(session: Session) -> int:
        nonlocal calls
        calls += 1
        wanted = recipe()
        studies.create_study(session, wanted, wanted.runs())
        if calls < 3:
            raise OperationalError("x", {}, Exception("deadlock detected"))
        return calls

    assert store.transact(work) == 3
    with store.read() as session:
        assert session.query(Study).count() == 1

    def never(session: Session) -> None:
        raise OperationalError("x", {}, Exception("deadlock detected"))

    with pytest.raises(Collided, match="stood in each other's way"):
        store.transact(never)
