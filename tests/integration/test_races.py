"""Races with real threads and processes on both databases: each is decided once."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.reporting import Ending
from core.states import ACTIVE, Outcome, RunState
from core.store import endings, runs, studies
from core.store.models import Attempt, Run, RunEvent, Study
from core.store.session import Store
from tests.claiming_process import claim_all
from tests.soundness import check
from tests.store_tools import claim, recipe, submit, worker
from tests.worker_tools import fake_supervisor, queue_runs, quick_settings, running, wait_for

RACES = 200
GROUP = 20
PROCESSES, QUEUED = 8, 200
LAUNCHES, LAUNCHERS, LAUNCH_SECONDS = 1_000, 4, 10.0
BELLS = 1_000
LONGEST_LEAD = 0.004


def sound(store: Store) -> None:
    with store.snapshot() as session:
        assert check(session) == []


def together(*works: Callable[[], None]) -> None:
    """Let each work begin at the same moment, in a thread of its own."""
    barrier = threading.Barrier(len(works), timeout=60)

    def begin(work: Callable[[], None]) -> None:
        barrier.wait()
        work()

    with ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(begin, work) for work in works]:
            done.result(timeout=120)


def held_runs(store: Store, count: int) -> list[runs.ClaimedRun]:
    """Queue runs and let one worker begin all of them."""
    submit(store, recipe(seeds=range(count)))
    claimed = claim(store, worker(store), count)
    with store.write() as session:
        for run in claimed:
            assert runs.started(session, run.id, run.fence)
    return claimed


def test_cancel_and_finish_lead_to_one_ending(store: Store) -> None:
    """Both sides reach for each run at nearly the same moment; either may be first."""
    claimed = [run for _ in range(RACES // GROUP) for run in held_runs(store, GROUP)]
    start = threading.Barrier(2, timeout=60)

    def race() -> Iterator[runs.ClaimedRun]:
        for run in claimed:
            start.wait()
            time.sleep(random.uniform(0, LONGEST_LEAD))
            yield run

    def cancel() -> None:
        for run in race():
            with store.write() as session:
                endings.request_cancel(session, run.id)

    def finish() -> None:
        for run in race():
            done = Ending(Outcome.SUCCEEDED, files={"adapter": Path("a")})
            with store.write() as session:
                assert runs.end_attempt(session, run.id, run.fence, done) is not None

    together(cancel, finish)
    with store.read() as session:
        states = Counter(session.scalars(select(Run.state)))
        ends = Counter(
            session.scalars(
                select(RunEvent.run_id).where(RunEvent.after.in_(["succeeded", "cancelled"]))
            )
        )
    assert set(states) == {RunState.SUCCEEDED, RunState.CANCELLED}
    assert ends == Counter({run.id: 1 for run in claimed})
    sound(store)


def test_eight_processes_claim_each_run_once(store: Store) -> None:
    for _ in range(4):
        submit(store, recipe(seeds=range(QUEUED // 4)))
    with store.read() as session:
        ids = list(session.scalars(select(Run.id)))
    # Children of one process that has imported everything already: eight imports take long.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.claiming_process"])
    barrier = context.Barrier(PROCESSES, timeout=120)
    answers = context.SimpleQueue()
    processes = [
        context.Process(target=claim_all, args=(store.url, f"w{number}", barrier, answers))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    taken = [answers.get() for _ in processes]
    assert Counter(run_id for some in taken for run_id in some) == Counter(ids)
    assert sum(bool(some) for some in taken) > 1
    sound(store)


def test_a_thousand_launches_with_one_key_are_one_study(store: Store) -> None:
    wanted = recipe()
    configs = wanted.runs()
    made: list[studies.CreatedStudy] = []

    def launch() -> None:
        for _ in range(LAUNCHES // LAUNCHERS):
            with store.write() as session:
                made.append(
                    studies.create_study(session, wanted, configs, idempotency_key="one click")
                )

    began = time.process_time()
    together(*[launch] * LAUNCHERS)
    assert time.process_time() - began < LAUNCH_SECONDS
    assert len(made) == LAUNCHES
    assert sum(study.is_new for study in made) == 1
    assert len({study.id for study in made}) == 1
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 1
        assert session.scalar(select(func.count()).select_from(Run)) == 1
    sound(store)


def test_a_thousand_bells_make_no_further_attempts(store: Store, home: Path) -> None:
    run_ids = queue_runs(store, 3)
    supervisor = fake_supervisor(store, quick_settings(home), {"steps": 8, "pause": 0.005})
    with running(supervisor):
        for _ in range(BELLS):
            supervisor.wake()
        wait_for(lambda: _ended(store) == len(run_ids))
        for _ in range(BELLS):
            supervisor.wake()
    with store.read() as session:
        assert Counter(session.scalars(select(Attempt.run_id))) == Counter(run_ids)
    sound(store)


def _ended(store: Store) -> int:
    with store.read() as session:
        wanted = Run.state == RunState.SUCCEEDED.value
        return session.scalar(select(func.count()).select_from(Run).where(wanted)) or 0


def test_a_study_is_cancelled_while_its_runs_end_in_another_order(store: Store) -> None:
    """Two transactions that lock the same runs the other way round: one is done again."""
    claimed = sorted(held_runs(store, 12), key=lambda run: run.id)

    def finish() -> None:
        def work(session: Session) -> None:
            for run in reversed(claimed):
                runs.end_attempt(session, run.id, run.fence, Ending(Outcome.FAILED, kind="x"))

        store.transact(work)

    def cancel() -> None:
        store.transact(lambda session: endings.cancel_study(session, claimed[0].study_id))

    together(finish, cancel)
    with store.read() as session:
        states = set(session.scalars(select(Run.state)))
    assert not states & set(ACTIVE)
    sound(store)
