"""Sweepers with a clock of their own: silent workers, lost messages, many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from core.states import Outcome, RunState
from core.store import runs, workers
from core.store.models import Run
from core.store.session import Store
from core.sweep import Sweeper
from tests.soundness import check
from tests.store_tools import claim, end, make_ready, recipe, row, start, submit, worker

LEASE = 30.0


class Clock:
    """Monotonic seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Bell:
    """Notes what was rung."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, str]] = []

    def __call__(self, run_id: str, queue: str) -> bool:
        self.rings.append((run_id, queue))
        return True


@pytest.fixture(autouse=True)
def sound(store: Store) -> object:
    """Whatever a test does, no invariant may break."""
    yield
    with store.read() as session:
        assert check(session) == []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bell() -> Bell:
    return Bell()


def beat(store: Store, worker_id: str) -> None:
    with store.write() as session:
        workers.beat(session, worker_id)


def pass_lease(clock: Clock, *sweepers: Sweeper) -> None:
    """Let a lease pass in which the sweepers look as often as they should and find nothing."""
    for _ in range(3):
        clock.now += LEASE / 4
        assert [sweeper.sweep() for sweeper in sweepers] == [0] * len(sweepers)
    clock.now += LEASE / 4


def test_a_silent_worker_loses_its_runs_after_a_full_lease(store: Store, clock: Clock) -> None:
    submit(store, recipe(seeds=(0, 1)))
    silent, alive = worker(store, "silent"), worker(store, "alive")
    lost, kept = start(store, silent), start(store, alive)
    clock.now += 500
    sweeper = Sweeper(store, LEASE, clock)
    for step in (0, 7, 14, 21, 28, 29):
        clock.now = 2_000.0 + step
        with store.write() as session:
            runs.beat(session, alive, {kept.id: kept.fence})
        assert sweeper.sweep() == 0
    assert sweeper.alive == {silent, alive}
    clock.now += 1
    assert sweeper.sweep() == 1
    assert [row(store, run.id).state for run in (lost, kept)] == ["queued", "running"]
    assert sweeper.sweep() == 0
    assert sweeper.alive == {alive}


def test_a_sweeper_never_takes_the_runs_of_its_own_worker(store: Store, clock: Clock) -> None:
    submit(store)
    mine = worker(store)
    run = start(store, mine)
    sweeper = Sweeper(store, LEASE, clock)
    assert sweeper.sweep(but=mine) == 0
    pass_lease(clock, sweeper)
    assert sweeper.sweep(but=mine) == 0
    assert row(store, run.id).state == "running"
    assert sweeper.sweep() == 1


def test_a_run_that_was_to_stop_ends_when_its_worker_is_gone(store: Store, clock: Clock) -> None:
    submit(store)
    run = start(store, worker(store))
    with store.write() as session:
        runs.request_cancel(session, run.id)
    sweeper = Sweeper(store, LEASE, clock)
    sweeper.sweep()
    pass_lease(clock, sweeper)
    assert sweeper.sweep() == 1
    assert row(store, run.id).state == RunState.CANCELLED


def test_many_sweepers_take_each_run_once(store: Store, clock: Clock) -> None:
    submit(store, recipe(seeds=range(8)))
    held = [run for number in range(4) for run in claim(store, worker(store, f"w{number}"), 2)]
    sweepers = [Sweeper(store, LEASE, clock) for _ in range(4)]
    assert [sweeper.sweep() for sweeper in sweepers] == [0] * 4
    pass_lease(clock, *sweepers)
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda sweeper: sweeper.sweep(), sweepers))
    assert sum(taken) == 8
    after = [row(store, run.id) for run in held]
    assert {(run.state, run.infra_left) for run in after} == {("queued", 2)}
    assert [run.fence for run in after] == [run.fence + 1 for run in held]


def test_an_idle_worker_is_rung_for_a_run_that_it_passes_over(
    store: Store, clock: Clock, bell: Bell
) -> None:
    sweeper = Sweeper(store, LEASE, clock, bell, poll_seconds=3.0)
    first = submit(store, queue="gpu")
    submit(store)
    worker(store, "gpu", ["gpu"])
    assert sweeper.ring_again() == 0
    clock.now += 5.9
    assert sweeper.ring_again() == 0
    clock.now += 0.1
    assert sweeper.ring_again() == 1
    assert bell.rings == [(first.run_ids[0], "gpu")]
    assert sweeper.ring_again() == 0
    clock.now += 6
    assert sweeper.ring_again() == 1


def test_no_ring_without_a_worker_that_may_take_the_run(
    store: Store, clock: Clock, bell: Bell
) -> None:
    study = submit(store, recipe(seeds=(0, 1)))
    with store.write() as session:
        session.execute(update(Run).values(memory_bytes=9))
    small = worker(store, "small", memory_bytes=8)
    other = worker(store, "other", ["gpu"])
    busy = worker(store, "busy")
    held = claim(store, busy)[0]
    sweeper = Sweeper(store, LEASE, clock, bell)
    silent = Sweeper(store, LEASE, clock)
    for _ in range(3):
        clock.now += 100
        assert sweeper.ring_again() == 0
        assert silent.ring_again() == 0
    end(store, held, Outcome.CRASHED)
    for _ in range(2):
        clock.now += 100
        for one in (small, other, busy):
            beat(store, one)
        sweeper.ring_again()
    assert bell.rings == [(study.run_ids[1], "default")]
    make_ready(store)


def test_a_queue_that_moves_on_needs_no_ring(store: Store, clock: Clock, bell: Bell) -> None:
    submit(store, recipe(seeds=range(3)))
    idle, quick = worker(store, "idle"), worker(store, "quick")
    sweeper = Sweeper(store, LEASE, clock, bell, poll_seconds=3.0)
    for _ in range(3):
        assert sweeper.ring_again() == 0
        clock.now += 5.5
        end(store, start(store, quick), Outcome.FAILED, kind="diverged")
    beat(store, idle)
    assert bell.rings == []
