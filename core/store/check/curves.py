"""Curves: every point once, in order, by the attempt that owned its step, and counted right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.states import RunState
from core.store.check.report import Finding, Life
from core.store.curve_arrays import unpack_steps
from core.store.models_data import ScalarChunk, ScalarPyramid, ScalarSummary
from core.wording import counted

LOSS = "train/loss"
"""The scalar that training tells at every step, so that its curve has no gap."""

AGAIN = "launch it again, its curves are not complete"
REDRAW = "retry it from the beginning, or launch it again"
CHUNKS_AT_ONCE = 200


@dataclass
class _Curve:
    """What was seen of one scalar of one run so far."""

    count: int = 0
    sealed: int = 0
    last_step: int = -1
    open_chunks: int = 0


def examine_curves(
    session: Session, lives: Mapping[str, Life], counted: Counter[str]
) -> Iterator[Finding]:
    """Look at the curves of some runs; a piece of each is in memory at a time.

    Args:
        session: Sees one state of the database.
        lives: Runs by id.
        counted: Points and scalars are added to it.
    """
    curves: dict[tuple[str, str], _Curve] = {}
    chunks = session.execute(
        select(
            ScalarChunk.run_id,
            ScalarChunk.name,
            ScalarChunk.ordinal,
            ScalarChunk.attempt,
            ScalarChunk.first_step,
            ScalarChunk.last_step,
            ScalarChunk.count.label("points"),
            ScalarChunk.sealed,
            ScalarChunk.steps,
            ScalarChunk.values,
        )
        .where(ScalarChunk.run_id.in_(list(lives)))
        .order_by(ScalarChunk.run_id, ScalarChunk.name, ScalarChunk.ordinal)
        .execution_options(yield_per=CHUNKS_AT_ONCE)
    )
    for chunk in chunks:
        life = lives[chunk.run_id]
        curve = curves.setdefault((chunk.run_id, chunk.name), _Curve())
        place = f"{chunk.name}, chunk {chunk.ordinal}"
        for what in (*_points(chunk, curve), *_owner(chunk, life)):
            yield life.finding(f"{place}: {what}", REDRAW)
        curve.count += chunk.points
        curve.sealed += chunk.points if chunk.sealed else 0
        curve.open_chunks += not chunk.sealed
        curve.last_step = max(curve.last_step, chunk.last_step)
        counted["points"] += chunk.points
    counted["scalars"] += len(curves)
    yield from _derived(session, lives, curves)
    for life in lives.values():
        yield from _loss(life, curves.get((life.row.id, LOSS)))


def _points(chunk: Any, curve: _Curve) -> Iterable[str]:
    """Steps rise over the chunks of a scalar, and only the last chunk takes points."""
    steps = unpack_steps(chunk.steps)
    if len(steps) != chunk.points or len(chunk.values) != 8 * chunk.points:
        yield f"{counted(chunk.points, 'point')} announced, {len(steps)} there"
    elif (np.diff(steps) <= 0).any() or steps[0] <= curve.last_step:
        yield "its updates do not rise"
    elif (steps[0], steps[-1]) != (chunk.first_step, chunk.last_step):
        yield "its first and last update are recorded wrongly"
    if curve.open_chunks:
        yield "it comes after a chunk that still takes points"


def _owner(chunk: Any, life: Life) -> Iterable[str]:
    """Points above the step that a later attempt continued from belong to that attempt."""
    mine = next((one for one in life.tries if one.number == chunk.attempt), None)
    if mine is None:
        yield f"it belongs to attempt {chunk.attempt}, which never was"
        return
    if chunk.first_step < mine.resumed_from:
        yield (
            f"attempt {mine.number} began at update {mine.resumed_from} and told update "
            f"{chunk.first_step}"
        )
    for later in life.tries[mine.number :]:
        if chunk.last_step > later.resumed_from:
            yield (
                f"attempt {later.number} began at update {later.resumed_from}, but update "
                f"{chunk.last_step} of attempt {mine.number} is still there"
            )
            return


def _loss(life: Life, curve: _Curve | None) -> Iterator[Finding]:
    """Every step of a succeeded run is there; of any other run those up to the last one told."""
    run = life.row
    if curve is None:
        if run.state == RunState.SUCCEEDED and run.updates:
            what = f"it made {counted(run.updates, 'update')} and has no {LOSS}"
            yield life.finding(what, AGAIN)
        return
    if curve.count != curve.last_step:
        what = f"{LOSS} has {counted(curve.count, 'point')} up to update {curve.last_step}"
        yield life.finding(what, AGAIN)
    elif run.state == RunState.SUCCEEDED:
        if run.updates is not None and curve.last_step != run.updates:
            made = counted(run.updates, "update")
            what = f"it made {made}, {LOSS} ends at update {curve.last_step}"
            yield life.finding(what, AGAIN)
    elif curve.last_step < run.checkpoint_step:
        what = f"it continues from update {run.checkpoint_step}, {LOSS} ends at {curve.last_step}"
        yield life.finding(what, AGAIN)


def _derived(
    session: Session, lives: Mapping[str, Life], curves: Mapping[tuple[str, str], _Curve]
) -> Iterator[Finding]:
    """Summary and pyramid count the points that are stored."""
    summaries = {
        (row.run_id, row.name): (row.points, row.last_step)
        for row in session.execute(
            select(
                ScalarSummary.run_id,
                ScalarSummary.name,
                ScalarSummary.count.label("points"),
                ScalarSummary.last_step,
            ).where(ScalarSummary.run_id.in_(list(lives)))
        )
    }
    folded = {
        (row.run_id, row.name): row.points
        for row in session.execute(
            select(
                ScalarPyramid.run_id, ScalarPyramid.name, ScalarPyramid.count.label("points")
            ).where(ScalarPyramid.run_id.in_(list(lives)))
        )
    }
    for run_id, name in sorted(curves.keys() | summaries.keys() | folded.keys()):
        key, life = (run_id, name), lives[run_id]
        curve = curves.get(key, _Curve(last_step=0))
        if summaries.get(key) != (curve.count, curve.last_step):
            yield life.finding(f"{name}: the summary does not count the stored points", REDRAW)
        if folded.get(key, 0) != curve.sealed:
            yield life.finding(f"{name}: the pyramid does not count the sealed points", REDRAW)
