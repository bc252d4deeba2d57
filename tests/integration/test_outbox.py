"""What waits to be written: kept while the database is away, dropped when it can never be taken."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from core import fault_points
from core.artifacts import ArtifactStore
from core.errors import StoreError
from core.reporting import Ending, Progress
from core.states import Outcome
from core.store import endings, runs, workers
from core.store.models import Attempt
from core.store.session import Collided, Store
from tests.soundness import check
from tests.store_tools import claim, end, recipe, row, start, submit, worker
from worker.active import ActiveRun, Group
from worker.memory import MemoryMeter
from worker.outbox import Outbox
from worker.protocol import CheckpointMessage
from worker.recorder import Recorder
from worker.shipping import Remover
from worker.trainer_host import TrainerHost
from worker.trainer_logs import TrainerLogs
from worker.trainer_process import TrainerProcess


def test_a_write_that_no_database_takes_holds_up_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    first, second = start(store, mine), start(store, mine)
    outbox, after = Outbox(store), []

    def refused(session: Session) -> bool:
        session.execute(insert(Attempt).values(run_id="nobody", attempt=1, fence=1, worker_id=mine))
        return True

    outbox.add_progress(first.id, first.fence, Progress("training", 7, 100))
    outbox.add("nobody", 1, refused, after=lambda: after.append("nobody"))
    outbox.add(second.id, second.fence, lambda _: True, after=lambda: after.append(second.id))
    outbox.add_progress(second.id, second.fence, Progress("training", 9, 100))
    assert outbox.flush() == set()
    assert outbox.is_empty
    assert after == [second.id]
    assert [row(store, run.id).last_step for run in (first, second)] == [7, 9]
    assert "run nobody is dropped" in caplog.text


def test_what_meets_a_database_that_fails_is_kept(store: Store) -> None:
    outbox = Outbox(store)

    def broken(_: Session) -> bool:
        raise StoreError("The disk is full.")

    outbox.add("", 0, broken, about=("r1", "r2"))
    for _ in range(3):
        with pytest.raises(StoreError, match="full"):
            outbox.flush()
    assert {"r1", "r2"} <= outbox.waiting


@pytest.fixture
def lose_an_answer() -> Iterator[Callable[[], None]]:
    """Make the next commit happen without its writer hearing of it."""
    left: list[str] = []

    def fault(point: str) -> None:
        if point in left:
            left.remove(point)
            raise StoreError("The connection broke after the commit.")

    fault_points.install(fault)
    yield lambda: left.append("store.committed")
    fault_points.install(None)


def active(run: runs.ClaimedRun, folder: Path) -> ActiveRun:
    config = recipe().runs()[0]
    return ActiveRun(run.id, run.slug, config, run.fence, run.attempt, 0, folder, None)


def failing(run: runs.ClaimedRun, pause: Callable[[], object]) -> Callable[[Session], bool]:
    """A write that ends a run and then lets time pass."""

    def write(session: Session) -> bool:
        ending = Ending(Outcome.FAILED, kind="diverged")
        is_done = runs.end_attempt(session, run.id, run.fence, ending) is not None
        pause()
        return is_done

    return write


def test_a_study_is_cancelled_while_a_worker_writes_its_runs_in_another_order(
    store: Store,
) -> None:
    study = submit(store, recipe(seeds=range(3)))
    claimed = sorted(claim(store, worker(store), 3), key=lambda run: run.id, reverse=True)
    outbox, has_begun, tries = Outbox(store), threading.Event(), list[int]()

    def pause() -> None:
        tries.append(1)
        has_begun.set()
        time.sleep(0.3)

    for run in claimed:
        outbox.add(run.id, run.fence, failing(run, pause))
    with ThreadPoolExecutor() as threads:
        flushed = threads.submit(outbox.flush)
        assert has_begun.wait(60)
        with store.write() as session:
            assert endings.cancel_study(session, study.id) == 0
        assert flushed.result(60) == set()
    assert len(tries) == len(claimed), "nothing had to be done again"
    with store.read() as session:
        assert check(session) == []


def test_two_workers_that_end_runs_of_two_studies_do_not_wait_for_each_other(
    store: Store,
) -> None:
    ends, tries = list[runs.ClaimedRun](), list[int]()
    for _ in range(2):
        submit(store, recipe(seeds=(0, 1)))
        ends += claim(store, worker(store), 2)
    one, other = Outbox(store), Outbox(store)

    def pause() -> None:
        tries.append(1)
        time.sleep(0.3)

    for outbox, order in ((one, (0, 2)), (other, (3, 1))):
        for index in order:
            outbox.add(ends[index].id, ends[index].fence, failing(ends[index], pause))
    with ThreadPoolExecutor() as threads:
        assert [lost for lost in threads.map(Outbox.flush, (one, other)) if lost] == []
    assert len(tries) == 4, "nothing had to be done again"
    with store.read() as session:
        assert check(session) == []


def test_a_worker_stops_while_another_transaction_has_its_row(store: Store) -> None:
    submit(store)
    mine = worker(store)
    run, has_begun = start(store, mine), threading.Event()

    def beat() -> None:
        with store.write() as session:
            workers.beat(session, mine)
            has_begun.set()
            time.sleep(0.3)
            runs.progress(session, run.id, run.fence, Progress("training", 7, 100))

    with ThreadPoolExecutor() as threads:
        beaten = threads.submit(beat)
        assert has_begun.wait(60)
        with store.write() as session:
            workers.stop(session, mine)
        beaten.result(60)
    assert row(store, run.id).state == "queued"


def test_a_deadlock_is_written_again_at_once(store: Store) -> None:
    outbox, tries = Outbox(store), list[int]()

    def write(_: Session) -> bool:
        tries.append(1)
        if len(tries) < 3:
            raise Collided("Two changes stood in each other's way.")
        return True

    outbox.add("r1", 1, write)
    assert outbox.flush() == set()
    assert len(tries) == 3


def test_what_an_old_claim_lost_does_not_touch_the_new_one(store: Store, tmp_path: Path) -> None:
    submit(store)
    mine = worker(store)
    old = start(store, mine)
    recorder = Recorder(store, tmp_path, Remover(ArtifactStore("", tmp_path)))
    outbox = recorder.outbox
    outbox.add_points(old.id, old.fence, [(1, {"x": 1.0})])
    end(store, old, Outcome.DRAINED)
    new = start(store, mine)
    outbox.add_points(new.id, new.fence, [(2, {"x": 2.0})])
    outbox.add_progress(new.id, new.fence, Progress("training", 7, 100))
    assert outbox.flush() == {(old.id, old.fence)}
    assert row(store, new.id).last_step == 7

    with selectors.DefaultSelector() as selector:
        logs, memory = TrainerLogs(tmp_path / "logs"), MemoryMeter("")
        host = TrainerHost(recorder, (), never, logs, memory, selector, 60.0, time.monotonic)
        host.group = Group("g", {new.id: active(new, tmp_path)}, 1, tmp_path / "log")
        outbox.add_points(new.id, new.fence, [(8, {"x": 2.0})])
        outbox.add_progress(new.id, new.fence, Progress("training", 8, 100))
        host.lose(old.id, old.fence)
        assert host.fences == {new.id: new.fence}
        assert len(outbox.waiting) == 1
        host.lose(new.id, new.fence)
        assert host.fences == {}
        assert outbox.waiting == set()
        memory.close()


def test_folders_go_although_the_answer_to_the_commit_was_lost(
    store: Store, tmp_path: Path, lose_an_answer: Callable[[], None]
) -> None:
    submit(store)
    run = start(store, worker(store))
    remover = Remover(ArtifactStore("", tmp_path))
    recorder, held = Recorder(store, tmp_path, remover), active(run, tmp_path / "run")

    def save(step: int) -> None:
        folder = tmp_path / "run" / str(step)
        folder.mkdir(parents=True)
        recorder.checkpoint(
            held,
            CheckpointMessage(
                run_id=run.id,
                step=step,
                folder=str(folder),
                sha256="0",
                num_bytes=1,
                is_best=False,
            ),
        )

    def flush_twice() -> None:
        lose_an_answer()
        with pytest.raises(StoreError, match="after the commit"):
            recorder.outbox.flush()
        recorder.outbox.flush()
        remover.close()

    for step in (10, 20, 30):
        save(step)
    flush_twice()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["20", "30"]
    save(40)
    recorder.outbox.add_points(run.id, run.fence, [(41, {"x": 1.0})])
    recorder.end(held, Ending(Outcome.SUCCEEDED, files={"adapter": tmp_path / "run" / "adapter"}))
    flush_twice()
    assert list((tmp_path / "run").iterdir()) == []
    assert row(store, run.id).state == "succeeded"
    with store.read() as session:
        assert check(session) == []


def never(_logs: TrainerLogs, _group: str) -> TrainerProcess:
    raise AssertionError("no trainer is needed")
