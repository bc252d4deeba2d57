"""What waits to be written: kept while the database is away, dropped when it can never be taken."""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.errors import StoreError
from core.reporting import Progress
from core.store.models import Attempt
from core.store.session import Store
from tests.store_tools import recipe, row, start, submit, worker
from worker.outbox import Outbox


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
    outbox.add("nobody", refused, after=lambda: after.append("nobody"))
    outbox.add(second.id, lambda _: True, after=lambda: after.append(second.id))
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

    outbox.add("", broken, about=("r1", "r2"))
    for _ in range(3):
        with pytest.raises(StoreError, match="full"):
            outbox.flush()
    assert {"r1", "r2"} <= outbox.waiting
