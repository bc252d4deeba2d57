"""Judges a database and its folders after the faults: what is lost, doubled, wrong or left over."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.recipe import RunConfig
from core.states import ENDED, RunState
from core.store.curve_arrays import unpack_steps, unpack_values
from core.store.models import Attempt, Run, RunEvent
from core.store.models_data import Artifact, ScalarChunk
from core.store.session import Store
from tests.chaos.figures import NAMES, steps_of, value
from tests.soundness import check

WITH_REASON = (RunState.SUCCEEDED, RunState.FAILED)
"""States that follow from the outcome of the last attempt; a cancel may meet any."""


@dataclass
class Verdict:
    """What was found; ``findings`` is empty when the claim holds.

    Attributes:
        findings: Sentences; each begins with its kind and a colon.
        points: Points that were compared with what they must be.
    """

    findings: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    points: int = 0

    @property
    def kinds(self) -> set[str]:
        return {finding.partition(":")[0] for finding in self.findings}


@dataclass(frozen=True)
class Expectation:
    """What people did.

    Attributes:
        run_ids: All runs that were launched.
        unwanted: Those that were cancelled and not wanted again.
    """

    run_ids: Collection[str]
    unwanted: Collection[str]


def judge(store: Store, home: Path, expected: Expectation) -> Verdict:
    verdict = Verdict()
    with store.read() as session:
        verdict.findings += [f"check: {sentence}" for sentence in check(session)]
        for look in (_states, _endings, _attempts, _points, _artifacts):
            verdict.findings += look(session, expected, verdict)
        known = {
            f"{row.run_id}/{row.attempt}-{row.fence}"
            for row in session.execute(select(Attempt.run_id, Attempt.attempt, Attempt.fence))
        }
    for folder in sorted((home / "artifacts" / "runs").glob("*/*")):
        name = f"{folder.parent.name}/{folder.name}"
        if name not in known:
            verdict.findings.append(f"folder: {name} belongs to no attempt")
    return verdict


def _states(session: Session, expected: Expectation, verdict: Verdict) -> Iterator[str]:
    rows = {
        row.id: row
        for row in session.execute(select(Run.id, Run.state, Run.exit_kind, Run.exit_detail))
    }
    if unknown := rows.keys() - set(expected.run_ids):
        yield f"lost: runs that nobody launched: {sorted(unknown)}"
    for run_id in expected.run_ids:
        row = rows.get(run_id)
        if row is None:
            yield f"lost: run {run_id} is not in the database"
            continue
        verdict.states[row.state] += 1
        if row.state not in ENDED:
            yield f"unfinished: run {run_id} is {row.state}"
        elif row.state == RunState.FAILED:
            yield f"failed: run {run_id}: {row.exit_kind}: {row.exit_detail}"
        elif row.state == RunState.CANCELLED and run_id not in expected.unwanted:
            yield f"cancelled: run {run_id} is cancelled and nobody wanted it"


def _endings(session: Session, expected: Expectation, verdict: Verdict) -> Iterator[str]:
    """Each run ended once, and once more for each time that it was queued after an end."""
    ended: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for row in session.execute(select(RunEvent.run_id, RunEvent.before, RunEvent.after)):
        ended[row.run_id] += row.after in ENDED
        again[row.run_id] += row.before in ENDED
    for run_id in expected.run_ids:
        if ended[run_id] > again[run_id] + 1:
            yield f"ended twice: run {run_id} has {ended[run_id]} ends and {again[run_id]} retries"


def _attempts(session: Session, expected: Expectation, verdict: Verdict) -> Iterator[str]:
    """As many attempts as claims, the last one with the run's outcome, fences never used twice."""
    claims: Counter[str] = Counter()
    for run_id in session.scalars(
        select(RunEvent.run_id).where(RunEvent.after == RunState.STARTING.value)
    ):
        claims[run_id] += 1
    attempts: dict[str, list[Attempt]] = {}
    for attempt in session.scalars(select(Attempt).order_by(Attempt.run_id, Attempt.attempt)):
        attempts.setdefault(attempt.run_id, []).append(attempt)
        verdict.attempts += 1
        verdict.outcomes[attempt.outcome] += 1
    for run in session.execute(select(Run.id, Run.state, Run.attempt)):
        mine = attempts.get(run.id, [])
        if not len(mine) == claims[run.id] == run.attempt:
            yield (
                f"attempts: run {run.id} counts {run.attempt}, has {len(mine)} and was claimed "
                f"{claims[run.id]} times"
            )
        last = mine[-1].outcome if mine else ""
        if (run.state == RunState.SUCCEEDED) != (last == "succeeded") and run.state in WITH_REASON:
            yield f"attempts: run {run.id} is {run.state}, its last attempt {last}"


def _points(session: Session, expected: Expectation, verdict: Verdict) -> Iterator[str]:
    """Every point once, with the value that it must have; all of them after a success."""
    found: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    query = select(ScalarChunk).order_by(ScalarChunk.ordinal)
    for chunk in session.scalars(query.execution_options(yield_per=500)):
        steps, values = found.setdefault((chunk.run_id, chunk.name), ([], []))
        steps += unpack_steps(chunk.steps).tolist()
        values += unpack_values(chunk.values).tolist()
    for run in session.execute(select(Run.id, Run.state, Run.config, Run.last_step)):
        total = RunConfig.model_validate_json(run.config).training.max_updates or 0
        for name in NAMES:
            steps, values = found.pop((run.id, name), ([], []))
            last = total if run.state == RunState.SUCCEEDED else max(steps, default=0)
            yield from _differences(run.id, name, steps, values, last)
            verdict.points += len(steps)
    for run_id, name in found:
        yield f"points: run {run_id} has a curve {name} that nobody told"


def _differences(
    run_id: str, name: str, steps: list[int], values: list[float], last: int
) -> Iterator[str]:
    place = f"run {run_id}, {name}"
    counts, wanted = Counter(steps), set(steps_of(name, last))
    if doubled := sorted(step for step, count in counts.items() if count > 1):
        yield f"doubled: {place}: {len(doubled)} steps, first {doubled[0]}"
    if missing := sorted(wanted - counts.keys()):
        yield f"missing: {place}: {len(missing)} of {len(wanted)} steps, first {missing[0]}"
    if foreign := sorted(counts.keys() - wanted):
        yield f"points: {place}: steps that there are not, first {foreign[0]}"
    wrong = [
        step for step, is_ in zip(steps, values, strict=True) if not _is(run_id, name, step, is_)
    ]
    if wrong:
        yield f"wrong: {place}: {len(wrong)} values, first at step {wrong[0]}"


def _is(run_id: str, name: str, step: int, stored: float) -> bool:
    wanted = value(run_id, name, step)
    return bool(np.float64(stored) == wanted) or (math.isnan(wanted) and math.isnan(stored))


def _artifacts(session: Session, expected: Expectation, verdict: Verdict) -> Iterator[str]:
    """A success has the adapter of the attempt that succeeded."""
    paths = {
        row.run_id: row.path for row in session.execute(select(Artifact.run_id, Artifact.path))
    }
    for run in session.execute(
        select(Run.id, Run.fence, Run.attempt).where(Run.state == RunState.SUCCEEDED.value)
    ):
        wanted = f"runs/{run.id}/{run.attempt}-{run.fence}/adapter"
        if paths.get(run.id) != wanted:
            yield f"adapter: run {run.id} has {paths.get(run.id)}, not {wanted}"


def history(store: Store, findings: list[str], most: int = 6) -> str:
    """Events and attempts of the runs that are named in findings, for people."""
    lines = []
    with store.read() as session:
        ids = [run_id for run_id in session.scalars(select(Run.id)) if run_id in " ".join(findings)]
        for run_id in ids[:most]:
            lines.append(f"run {run_id}")
            events = select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.version)
            for event in session.scalars(events):
                lines.append(
                    f"  {event.at:%H:%M:%S.%f} {event.version} {event.before or '-'} -> "
                    f"{event.after} by {event.actor}: {event.reason}"
                )
            attempts = select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.attempt)
            for attempt in session.scalars(attempts):
                lines.append(
                    f"  attempt {attempt.attempt} fence {attempt.fence}: {attempt.outcome} "
                    f"{attempt.detail}; from {attempt.resumed_from_step} to {attempt.last_step}"
                )
    return "\n".join(lines)
