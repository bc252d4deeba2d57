"""Who may take which run: queues, memory, the layout of the database, and who comes first."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update

from core.errors import ConfigError, NotFound
from core.states import Outcome
from core.store import migrate, queries, runs, studies
from core.store.models import Run
from core.store.session import Store
from tests.soundness import check
from tests.store_tools import (
    attempts,
    checkpoint,
    claim,
    end,
    make_ready,
    recipe,
    row,
    start,
    submit,
    succeed,
    worker,
)

TUNED = recipe(("prompt_tuning",), seeds=(0, 1), tuning={"protocol": "tuned", "trials": 2})


@pytest.fixture(autouse=True)
def sound(store: Store) -> object:
    """Whatever a test does, no invariant may break."""
    yield
    with store.read() as session:
        assert check(session) == []


def give_memory(store: Store, *amounts: int) -> None:
    """Say what the runs need, in the order of their ordinals."""
    with store.write() as session:
        for ordinal, amount in enumerate(amounts, start=1):
            session.execute(update(Run).where(Run.ordinal == ordinal).values(memory_bytes=amount))


def test_a_worker_takes_runs_of_its_queues_alone(store: Store) -> None:
    large = submit(store, queue="gpu-large")
    usual = submit(store)
    assert [run.study_id for run in claim(store, worker(store), 4)] == [usual.id]
    assert claim(store, worker(store, "other", ["gpu-small"]), 4) == []
    both = worker(store, "both", ["gpu-small", " gpu-large", "gpu-large"])
    assert [run.study_id for run in claim(store, both, 4)] == [large.id]


@pytest.mark.parametrize("name", ["a b", "-x", "x" * 41, "gpu;drop"])
def test_a_queue_must_have_a_plain_name(name: str, store: Store) -> None:
    with pytest.raises(ConfigError, match="no name of a queue"):
        worker(store, "w1", [name])
    with pytest.raises(ConfigError, match="no name of a queue"):
        submit(store, queue=name)


def test_a_run_that_needs_more_than_the_device_has_is_left_for_another(store: Store) -> None:
    study = submit(store, recipe(seeds=(0, 1, 2)))
    give_memory(store, 12, 8, 0)
    small, unknown = worker(store, "small", memory_bytes=8), worker(store, "unknown")
    assert [claim(store, small)[0].id for _ in range(2)] == list(study.run_ids[1:])
    assert claim(store, small) == []
    assert claim(store, unknown)[0].id == study.run_ids[0]


def test_partners_join_while_the_sum_fits(store: Store) -> None:
    study = submit(store, recipe(seeds=range(5)))
    give_memory(store, 4, 3, 5, 0, 3)
    mine = worker(store, memory_bytes=10)
    taken = [[study.run_ids.index(run.id) for run in claim(store, mine, 5)] for _ in range(2)]
    assert taken == [[0, 1, 3, 4], [2]]
    assert [row(store, run_id).group_size for run_id in study.run_ids] == [4, 4, 1, 4, 4]


def test_a_worker_of_another_layout_claims_nothing(store: Store) -> None:
    submit(store)
    mine = worker(store)
    with store.write() as session:
        assert migrate.is_current(session)
        assert migrate.layout_problem(session) == ""
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        assert claim(store, mine) == []
        with store.read() as session:
            assert not migrate.is_current(session)
            problem = migrate.layout_problem(session)
        assert "migration 9999" in problem
        assert f"knows {migrate.head()}" in problem
    finally:
        with store.write() as session:
            values = {"head": migrate.head()}
            session.execute(text("UPDATE alembic_version SET version_num = :head"), values)
    assert len(claim(store, mine)) == 1


def test_a_priority_moves_a_study_its_queued_runs_and_its_finals(store: Store) -> None:
    demo = submit(store, TUNED, priority=-10)
    user = submit(store)
    mine = worker(store)
    held = claim(store, worker(store, "w0"))[0]
    assert held.study_id == user.id
    first = claim(store, mine)[0]
    with store.write() as session:
        assert studies.set_priority(session, demo.id, 5, actor="ada") == 1
        assert studies.set_priority(session, demo.id, 5) == 0
    assert [row(store, run_id).priority for run_id in demo.run_ids] == [-10, 5]
    succeed(store, first)
    succeed(store, claim(store, mine)[0])
    with store.read() as session:
        overview = queries.study_overview(session, demo.id)
    assert [line.priority for line in overview.runs] == [-10, 5, 5, 5]
    told = [event.reason for event in overview.events if event.after == "priority"]
    assert told == ["ada set the priority to 5."]


def test_a_priority_out_of_range_or_of_no_study_is_refused(store: Store) -> None:
    study = submit(store)
    with store.write() as session, pytest.raises(ConfigError, match="1001 is no priority"):
        studies.set_priority(session, study.id, 1001)
    with store.write() as session, pytest.raises(NotFound):
        studies.set_priority(session, "0" * 32, 1)


def test_a_run_put_to_the_front_comes_before_all_others(store: Store) -> None:
    high = submit(store, priority=7)
    study = submit(store, recipe(seeds=(0, 1, 2)))
    mine = worker(store)
    with store.write() as session:
        assert runs.to_front(session, study.run_ids[2])
        assert runs.to_front(session, study.run_ids[2], actor="ada")
    assert row(store, study.run_ids[2]).priority == 8
    assert claim(store, mine)[0].id == study.run_ids[2]
    assert claim(store, mine)[0].study_id == high.id
    with store.write() as session:
        assert not runs.to_front(session, study.run_ids[2])
        with pytest.raises(NotFound, match="no run nowhere"):
            runs.to_front(session, "nowhere")
    with store.read() as session:
        events = queries.study_overview(session, study.id).events
    told = [event.reason for event in events if event.after == "to_front"]
    assert told == ["Run 3 was put to the front by user."]


def test_priorities_and_claims_at_the_same_moment_lose_nothing(store: Store) -> None:
    study = submit(store, recipe(seeds=range(24)))
    barrier = threading.Barrier(4, timeout=60)
    taken: list[str] = []

    def work(name: str) -> None:
        mine, until = worker(store, name), time.monotonic() + 60
        barrier.wait()
        # A look passes over runs that another transaction holds just now; the next one finds them.
        while len(taken) < len(study.run_ids) and time.monotonic() < until:
            taken.extend(run.id for run in claim(store, mine, 2))

    def order() -> None:
        barrier.wait()
        for priority, run_id in enumerate(study.run_ids[::-1]):
            with store.write() as session:
                studies.set_priority(session, study.id, priority)
            with store.write() as session:
                runs.to_front(session, run_id)

    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(work, name) for name in ("w1", "w2")]
        jobs += [threads.submit(order) for _ in range(2)]
        for job in jobs:
            job.result()
    assert sorted(taken) == sorted(study.run_ids)


def test_a_run_that_served_alone_may_join_others_again(store: Store) -> None:
    study = submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    group = claim(store, mine, 2)
    with store.write() as session:
        fences = {run.id: run.fence for run in group}
        runs.release_all(session, mine, fences, "trainer died", log_tails={group[0].id: "tail"})
    assert [attempts(store, run.id)[0].log_tail for run in group] == ["tail", ""]
    first = start(store, mine)
    with store.write() as session:
        runs.register_checkpoint(session, first.id, first.fence, checkpoint(5))
    end(store, first, Outcome.CRASHED, detail="trainer died")
    assert row(store, first.id).must_run_alone, "it may be the one that ended the group"
    make_ready(store)
    for made_checkpoint in (False, True):
        with store.write() as session:
            session.execute(update(Run).where(Run.id != first.id).values(priority=-1))
        again = start(store, mine)
        assert again.id == first.id
        if made_checkpoint:
            with store.write() as session:
                runs.register_checkpoint(session, again.id, again.fence, checkpoint(9))
        end(store, again, Outcome.DRAINED)
        assert row(store, first.id).must_run_alone is not made_checkpoint
    assert row(store, study.run_ids[1]).must_run_alone


def test_a_run_that_ran_out_of_memory_stays_alone_until_a_person_retries(store: Store) -> None:
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    large, other = claim(store, mine, 2)
    succeed(store, other)
    end(store, large, Outcome.OUT_OF_MEMORY)
    alone = start(store, mine)
    with store.write() as session:
        runs.register_checkpoint(session, alone.id, alone.fence, checkpoint(5))
    end(store, alone, Outcome.DRAINED)
    assert row(store, large.id).must_run_alone
    again = start(store, mine)
    end(store, again, Outcome.FAILED, kind="diverged")
    with store.write() as session:
        runs.retry(session, large.id)
    retried = row(store, large.id)
    assert (retried.must_run_alone, retried.oom_left, retried.checkpoint_step) == (False, 1, 5)
