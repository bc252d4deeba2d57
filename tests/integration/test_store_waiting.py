"""Why queued runs wait, in a sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, update

from core.store import workers
from core.store.clock import utcnow
from core.store.models import Run
from core.store.session import Store
from core.store.waiting import Offer, fits, waiting_reasons
from tests.store_tools import claim, recipe, submit, worker

GB = 10**9


def reason(store: Store, run_id: str) -> str:
    with store.read() as session:
        return waiting_reasons(session, [run_id])[run_id]


def change(store: Store, run_id: str, **values: object) -> None:
    with store.write() as session:
        session.execute(update(Run).where(Run.id == run_id).values(**values))


def test_a_run_waits_for_a_worker_of_its_queue(store: Store) -> None:
    (run_id,) = submit(store, queue="gpu").run_ids
    assert reason(store, run_id) == "no worker serves the queue gpu"
    worker(store, "other")
    gone = worker(store, "gone", ["gpu"])
    with store.write() as session:
        workers.stop(session, gone)
        workers.register(
            session, name="p", role="predict", host="here", pid=2, queues=["gpu", "default"]
        )
    assert reason(store, run_id) == "no worker serves the queue gpu"
    worker(store, "right", ["gpu"])
    assert reason(store, run_id) == ""


def test_a_run_waits_for_a_device_that_is_large_enough(store: Store) -> None:
    (run_id,) = submit(store).run_ids
    change(store, run_id, memory_bytes=12_500_000_000)
    worker(store, "small", memory_bytes=4 * GB)
    worker(store, "middle", memory_bytes=8 * GB)
    worker(store, "large of another queue", ["gpu"], memory_bytes=80 * GB)
    assert reason(store, run_id) == (
        "needs 12.5 GB; the largest device that serves the queue default has 8 GB"
    )
    worker(store, "unknown")
    assert reason(store, run_id) == ""


def test_a_run_that_is_tried_again_later_says_when(store: Store) -> None:
    study = submit(store, recipe(seeds=(0, 1)))
    worker(store)
    change(store, study.run_ids[0], not_before=utcnow() + timedelta(seconds=20))
    change(store, study.run_ids[1], not_before=utcnow() - timedelta(seconds=20))
    assert reason(store, study.run_ids[0]) in ("retrying in 20 s", "retrying in 19 s")
    assert reason(store, study.run_ids[1]) == ""


def test_all_queued_runs_are_answered_with_two_queries(store: Store) -> None:
    study = submit(store, recipe(seeds=range(6)))
    held = claim(store, worker(store))[0]
    seen: list[str] = []
    with store.read() as session:
        bind = session.get_bind()

        def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            seen.append(statement)

        event.listen(bind, "before_cursor_execute", note)
        try:
            told = waiting_reasons(session)
        finally:
            event.remove(bind, "before_cursor_execute", note)
        assert held.id not in waiting_reasons(session, [held.id])
    assert told == dict.fromkeys(set(study.run_ids) - {held.id}, "")
    assert len([statement for statement in seen if statement.startswith("SELECT")]) == 2


@pytest.mark.parametrize(
    ("need", "offer", "expected"),
    [
        (0, Offer(("a",), 5), True),
        (5, Offer(("a",), 5), True),
        (6, Offer(("a",), 5), False),
        (6, Offer(("a",), 0), True),
        (0, Offer(("b",), 5), False),
    ],
)
def test_the_same_rule_decides_in_python_and_in_claims(
    need: int, offer: Offer, expected: bool, store: Store
) -> None:
    assert fits("a", need, offer) is expected
    (run_id,) = submit(store, queue="a").run_ids
    change(store, run_id, memory_bytes=need)
    taken = claim(store, worker(store, "w", offer.queues, offer.memory_bytes))
    assert bool(taken) is expected
