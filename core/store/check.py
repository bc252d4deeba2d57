"""Invariants of the database: what must hold at any moment, whatever was killed when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.states import ACTIVE, ENDED, RunState, may_move
from core.store.curve_arrays import unpack_steps
from core.store.models import Attempt, Run, RunEvent, Study
from core.store.models_data import Artifact, Checkpoint, ScalarChunk, ScalarPyramid, ScalarSummary


def check(session: Session) -> list[str]:
    """Look for damage; return one sentence for each finding, none when all is well.

    Reads every run, event and chunk once.
    """
    found: list[str] = []
    for examine in (_engine, _events, _attempts, _results, _checkpoints, _chunks, _studies):
        found += examine(session)
    return found


def _engine(session: Session) -> Iterator[str]:
    if session.get_bind().dialect.name == "sqlite":
        for answer in session.scalars(text("PRAGMA quick_check")):
            if answer != "ok":
                yield f"SQLite reports damage: {answer}"


def _events(session: Session) -> Iterator[str]:
    """Versions 1..n without gaps, only moves of the table, the last one leads to the state."""
    states = {
        row.id: (row.state, row.version)
        for row in session.execute(select(Run.id, Run.state, Run.version))
    }
    history: dict[str, list[tuple[int, str, str]]] = {run_id: [] for run_id in states}
    for row in session.execute(
        select(RunEvent.run_id, RunEvent.version, RunEvent.before, RunEvent.after).order_by(
            RunEvent.run_id, RunEvent.version
        )
    ):
        history.setdefault(row.run_id, []).append((row.version, row.before, row.after))
    for run_id, events in history.items():
        if [version for version, _, _ in events] != list(range(1, len(events) + 1)):
            yield f"run {run_id}: its events are not numbered from 1 without gaps"
            continue
        yield from _moves(run_id, events)
        if (events[-1][2], len(events)) != states[run_id]:
            state, version = states[run_id]
            yield (
                f"run {run_id}: it is {state} at version {version}, its events end with "
                f"{events[-1][2]} at version {len(events)}"
            )


def _moves(run_id: str, events: Iterable[tuple[int, str, str]]) -> Iterator[str]:
    previous = ""
    for version, before, after in events:
        if before != previous:
            yield f"run {run_id}: event {version} leaves {before}, but the run was {previous}"
        elif version == 1 and after != RunState.QUEUED:
            yield f"run {run_id}: it began as {after}"
        elif version > 1 and not may_move(before, after):
            yield f"run {run_id}: event {version} moves from {before} to {after}, which may not be"
        previous = after


def _attempts(session: Session) -> Iterator[str]:
    """Fences rise over attempts, attempts are counted, only the last one of a held run lives."""
    last: dict[str, Attempt] = {}
    for attempt in session.scalars(select(Attempt).order_by(Attempt.run_id, Attempt.attempt)):
        before = last.get(attempt.run_id)
        if attempt.attempt != (before.attempt if before else 0) + 1:
            yield f"run {attempt.run_id}: attempt {attempt.attempt} has no predecessor"
        if before and attempt.fence <= before.fence:
            yield f"run {attempt.run_id}: the fence did not rise at attempt {attempt.attempt}"
        if before and before.ended_at is None:
            yield f"run {attempt.run_id}: attempt {before.attempt} never ended"
        last[attempt.run_id] = attempt
    for run in session.execute(select(Run.id, Run.state, Run.attempt, Run.fence, Run.worker_id)):
        attempt_or_none = last.get(run.id)
        count = attempt_or_none.attempt if attempt_or_none else 0
        if run.attempt != count:
            yield f"run {run.id}: it counts {run.attempt} attempts, {count} are recorded"
            continue
        if attempt_or_none is None:
            continue
        lives = attempt_or_none.ended_at is None
        if lives != (run.state in ACTIVE):
            yield f"run {run.id}: it is {run.state}, but its last attempt " + (
                "has not ended" if lives else "has ended"
            )
        if lives and (attempt_or_none.fence, attempt_or_none.worker_id) != (
            run.fence,
            run.worker_id,
        ):
            yield f"run {run.id}: its attempt belongs to another claim"


def _results(session: Session) -> Iterator[str]:
    """Only succeeded runs have a result; succeeded ones also have artifacts of their own."""
    for run in session.execute(select(Run.id, Run.state, Run.result, Run.ended_at)):
        succeeded = run.state == RunState.SUCCEEDED
        if (run.result is not None) != succeeded:
            yield f"run {run.id}: it is {run.state} and has " + (
                "no result" if run.result is None else "a result"
            )
        if (run.ended_at is not None) != (run.state in ENDED):
            yield f"run {run.id}: it is {run.state} and its end says {run.ended_at}"
    for run_id in session.scalars(
        select(Artifact.run_id)
        .join(Run, Run.id == Artifact.run_id)
        .where(Run.state != RunState.SUCCEEDED.value)
        .distinct()
    ):
        yield f"run {run_id}: it has artifacts but has not succeeded"


def _checkpoints(session: Session) -> Iterator[str]:
    """The step to continue from is a registered checkpoint; a success needs none any more."""
    registered = select(Checkpoint.run_id).where(
        Checkpoint.run_id == Run.id,
        Checkpoint.step == Run.checkpoint_step,
        Checkpoint.state == "registered",
    )
    for run in session.execute(
        select(Run.id, Run.checkpoint_step).where(
            Run.checkpoint_step > 0,
            Run.state != RunState.SUCCEEDED.value,
            ~registered.exists(),
        )
    ):
        yield f"run {run.id}: no checkpoint is registered at step {run.checkpoint_step}"


def _chunks(session: Session) -> Iterator[str]:
    """Steps rise over the chunks of a scalar; pyramid and summary count the same points."""
    totals: dict[tuple[str, str], tuple[int, int, int]] = {}
    for chunk in session.scalars(
        select(ScalarChunk)
        .order_by(ScalarChunk.run_id, ScalarChunk.name, ScalarChunk.ordinal)
        .execution_options(yield_per=500)
    ):
        key = (chunk.run_id, chunk.name)
        count, sealed, last = totals.get(key, (0, 0, -1))
        steps = unpack_steps(chunk.steps)
        place = f"run {chunk.run_id}, {chunk.name}, chunk {chunk.ordinal}"
        if len(steps) != chunk.count or len(chunk.values) != 8 * chunk.count:
            yield f"{place}: {chunk.count} points are announced, {len(steps)} are there"
        elif (np.diff(steps) <= 0).any() or steps[0] <= last:
            yield f"{place}: its steps do not rise"
        elif (steps[0], steps[-1]) != (chunk.first_step, chunk.last_step):
            yield f"{place}: its first and last step are recorded wrongly"
        totals[key] = (
            count + chunk.count,
            sealed + (chunk.count if chunk.sealed else 0),
            chunk.last_step,
        )
    yield from _derived(session, totals)


def _derived(
    session: Session, totals: dict[tuple[str, str], tuple[int, int, int]]
) -> Iterator[str]:
    summaries = {
        (run_id, name): (count, last)
        for run_id, name, count, last in session.execute(
            select(
                ScalarSummary.run_id,
                ScalarSummary.name,
                ScalarSummary.count,
                ScalarSummary.last_step,
            )
        )
    }
    folded = {
        (run_id, name): count
        for run_id, name, count in session.execute(
            select(ScalarPyramid.run_id, ScalarPyramid.name, ScalarPyramid.count)
        )
    }
    for key in sorted(totals.keys() | summaries.keys() | folded.keys()):
        count, sealed, last = totals.get(key, (0, 0, 0))
        if summaries.get(key) != (count, last):
            yield f"run {key[0]}, {key[1]}: the summary does not count the stored points"
        if folded.get(key, 0) != sealed:
            yield f"run {key[0]}, {key[1]}: the pyramid does not count the sealed points"


def _studies(session: Session) -> Iterator[str]:
    """A study is closed when all its runs have ended, and only then."""
    waiting = {
        study_id
        for (study_id,) in session.execute(
            select(Run.study_id).where(Run.state.not_in(list(ENDED))).group_by(Run.study_id)
        )
    }
    with_runs = set(session.scalars(select(Run.study_id).distinct()))
    for study in session.execute(select(Study.id, Study.number, Study.closed_at)):
        if study.id not in with_runs:
            yield f"study S{study.number}: it has no runs"
        elif (study.closed_at is None) != (study.id in waiting):
            yield f"study S{study.number}: it is " + (
                "open though all its runs have ended"
                if study.closed_at is None
                else "closed though runs have not ended"
            )
