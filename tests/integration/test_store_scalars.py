"""Scalars and histograms: exact, truncated on resume, extremes kept however long a run is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.states import Outcome
from core.store import runs
from core.store.curve_arrays import MAX_BUCKETS, Buckets
from core.store.queries import summaries
from core.store.runs import ClaimedRun
from core.store.scalars import (
    Cursor,
    CurvePage,
    append,
    append_histogram,
    read_curves,
    read_histograms,
)
from core.store.session import Store
from tests.soundness import check
from tests.store_tools import checkpoint, claim, end, row, start, submit, worker


@pytest.fixture
def run(store: Store) -> ClaimedRun:
    submit(store)
    return start(store, worker(store))


@pytest.fixture(autouse=True)
def sound(store: Store) -> object:
    yield
    with store.read() as session:
        assert check(session) == []


def add(store: Store, run: ClaimedRun, steps: range, name: str = "train/loss") -> None:
    with store.write(durable=False) as session:
        assert append(session, run.id, run.fence, [(step, {name: step / 2}) for step in steps])


def read(store: Store, run: ClaimedRun, cursor: Cursor | None = None) -> CurvePage:
    with store.read() as session:
        return read_curves(session, {run.id: cursor or Cursor()})[run.id]


def resume(store: Store, run: ClaimedRun) -> ClaimedRun:
    """End the attempt without a fault and claim the run anew."""
    worker_id = row(store, run.id).worker_id
    end(store, run, Outcome.DRAINED)
    assert worker_id
    return claim(store, worker_id)[0]


def test_values_come_back_exactly_and_what_is_not_finite_is_a_gap(
    store: Store, run: ClaimedRun
) -> None:
    told = [0.1, math.nan, 1e-300, math.inf, -math.inf, 1 / 3]
    with store.write(durable=False) as session:
        append(session, run.id, run.fence, [(i + 1, {"x": v}) for i, v in enumerate(told)])
    curve = read(store, run).curves["x"]
    assert curve.steps == [1, 2, 3, 4, 5, 6]
    assert curve.values == [0.1, None, 1e-300, None, None, 1 / 3]
    with store.read() as session:
        summary = summaries(session, [run.id])[run.id]["x"]
    assert (summary.last_value, summary.best_step, summary.best_value) == (1 / 3, 6, 1 / 3)


def test_a_summary_grows_with_each_batch(store: Store, run: ClaimedRun) -> None:
    for step, value in enumerate((2.0, 1.0, 3.0, math.nan, 2.5), start=1):
        with store.write(durable=False) as session:
            append(session, run.id, run.fence, [(step, {"dev/loss": value, "acc": value})])
    with store.read() as session:
        found = summaries(session, [run.id])[run.id]
    loss = found["dev/loss"]
    assert (loss.count, loss.last_step, loss.last_value) == (5, 5, 2.5)
    assert (loss.min_step, loss.min_value, loss.max_step, loss.max_value) == (2, 1.0, 3, 3.0)
    assert (loss.best_step, found["acc"].best_step) == (2, 3)


def test_a_batch_that_is_sent_twice_is_stored_once(store: Store, run: ClaimedRun) -> None:
    add(store, run, range(1, 700))
    add(store, run, range(1, 700))
    add(store, run, range(690, 710))
    assert read(store, run).curves["train/loss"].steps == list(range(1, 710))


def test_a_cursor_brings_only_what_is_new_of_each_name(store: Store, run: ClaimedRun) -> None:
    add(store, run, range(1, 31))
    first = read(store, run)
    add(store, run, range(30, 31), "dev/accuracy")
    add(store, run, range(31, 34))
    again = read(store, run, Cursor.decode(first.cursor.encode()))
    assert not again.reset
    assert {name: curve.steps for name, curve in again.curves.items()} == {
        "train/loss": [31, 32, 33],
        "dev/accuracy": [30],
    }
    assert read(store, run, again.cursor).curves == {}


def test_a_cursor_goes_on_over_a_sealed_chunk(store: Store, run: ClaimedRun) -> None:
    add(store, run, range(1, 500))
    seen = read(store, run)
    add(store, run, range(500, 1200))
    later = read(store, run, seen.cursor).curves["train/loss"]
    assert later.steps == list(range(500, 1200))


def test_resuming_drops_what_stands_above_the_checkpoint(store: Store, run: ClaimedRun) -> None:
    add(store, run, range(1, 601))
    with store.write() as session:
        append_histogram(session, run.id, run.fence, "cut", 600, [1, 2, 3])
        assert runs.register_checkpoint(session, run.id, run.fence, checkpoint(600))
        append_histogram(session, run.id, run.fence, "cut", 610, [9, 9, 9])
    add(store, run, range(601, 621))
    seen = read(store, run)
    again = resume(store, run)
    page = read(store, again, seen.cursor)
    assert page.reset
    assert page.cursor.epoch == seen.cursor.epoch + 1
    assert page.curves["train/loss"].steps == list(range(1, 601))
    with store.read() as session:
        assert [row.counts for row in read_histograms(session, run.id, "cut")] == [[1, 2, 3]]
        assert summaries(session, [run.id])[run.id]["train/loss"].last_step == 600
    add(store, again, range(601, 611))
    assert read(store, again, page.cursor).curves["train/loss"].steps == list(range(601, 611))


def test_a_point_told_after_the_checkpoint_of_its_step_survives(
    store: Store, run: ClaimedRun
) -> None:
    with store.write() as session:
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(10))
    add(store, run, range(10, 13), "dev/loss")
    again = resume(store, run)
    assert read(store, again).curves["dev/loss"].steps == [10]


def test_an_unbroken_resume_keeps_the_epoch(store: Store, run: ClaimedRun) -> None:
    add(store, run, range(1, 11))
    with store.write() as session:
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(10))
    seen = read(store, run)
    again = resume(store, run)
    assert not read(store, again, seen.cursor).reset


def test_a_superseded_writer_stores_nothing(store: Store, run: ClaimedRun) -> None:
    resume(store, run)
    with store.write(durable=False) as session:
        assert not append(session, run.id, run.fence, [(1, {"x": 1.0})])
        assert not append_histogram(session, run.id, run.fence, "cut", 1, [1])
    assert read(store, run).curves == {}


def test_a_long_curve_stays_small_and_keeps_its_spikes(store: Store, run: ClaimedRun) -> None:
    steps = range(1, 20_001)
    values = {step: math.sin(step / 500) for step in steps} | {7_777: 50.0, 12_345: -50.0}
    for start_step in range(1, 20_001, 3000):
        batch = [(s, {"x": values[s]}) for s in steps[start_step - 1 : start_step + 2999]]
        with store.write(durable=False) as session:
            append(session, run.id, run.fence, batch)
    curve = read(store, run).curves["x"]
    assert len(curve.steps) <= 2 * MAX_BUCKETS + 512
    points = dict(zip(curve.steps, curve.values, strict=True))
    assert points[7_777] == 50.0
    assert points[12_345] == -50.0
    assert all(points[step] == values[step] for step in points)


@pytest.mark.parametrize("pieces", [(1,), (7, 300, 512), (512,), (1000, 3)])
def test_buckets_do_not_depend_on_how_points_arrive(pieces: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=5000)
    values[generator.random(5000) < 0.3] = np.nan
    steps = np.arange(5000, dtype=np.int32)
    whole = Buckets.empty().folded(steps, values)
    pieced, at, turn = Buckets.empty(), 0, 0
    while at < 5000:
        size = pieces[turn % len(pieces)]
        pieced = pieced.folded(steps[at : at + size], values[at : at + size])
        at, turn = at + size, turn + 1
    assert (pieced.level, pieced.count) == (whole.level, whole.count)
    np.testing.assert_array_equal(pieced.low_values, whole.low_values)
    np.testing.assert_array_equal(pieced.high_steps, whole.high_steps)
    assert np.nanmin(whole.low_values) == np.nanmin(values)
    assert np.nanmax(whole.high_values) == np.nanmax(values)


def test_a_damaged_cursor_starts_from_the_beginning() -> None:
    for text in ("", "x", "[]", "[1]", "[1,2]", '{"a":1}', "[null,{}]"):
        assert Cursor.decode(text) == Cursor()
