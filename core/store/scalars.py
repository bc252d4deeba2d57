"""Scalars and histograms: chunks, pyramid, summaries, and reading curves by cursor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from core.store.curve_arrays import (
    Steps,
    Values,
    as_list,
    as_points,
    extremes,
    pack_steps,
    unpack_steps,
    unpack_values,
)
from core.store.models import Run
from core.store.models_data import Histogram, ScalarChunk, ScalarPyramid, ScalarSummary
from core.store.moves import lock_claimed
from core.store.scalar_rows import (
    buckets,
    by_name,
    extend,
    fill,
    fold,
    next_ordinals,
    open_chunks,
    rebuild,
    summarise,
)


@dataclass(frozen=True)
class Cursor:
    """Where a reader of one run's curves stands; opaque to pages, ``encode`` it for a URL.

    Names have a step each: dev values of a step arrive later than its training loss.

    Attributes:
        epoch: ``curve_epoch`` of the run when it was read; -1 for nothing yet.
        steps: Last step that was read, by name.
    """

    epoch: int = -1
    steps: Mapping[str, int] = field(default_factory=dict)

    def encode(self) -> str:
        """Write as a short text for a URL or JSON."""
        return json.dumps([self.epoch, dict(self.steps)], separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read what ``encode`` wrote; anything else, or "", starts from the beginning."""
        try:
            epoch, steps = json.loads(text)
            return cls(int(epoch), {str(name): int(step) for name, step in steps.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()


@dataclass(frozen=True)
class Curve:
    """Points of one scalar of one run, ascending by step; a gap (NaN, infinity) is None."""

    run_id: str
    name: str
    steps: list[int]
    values: list[float | None]


@dataclass(frozen=True)
class CurvePage:
    """New points of one run.

    Attributes:
        run_id: Run.
        curves: By name; names without new points are left out.
        cursor: Give it back to get what comes after.
        reset: True: forget what was read before, these are all points.
    """

    run_id: str
    curves: Mapping[str, Curve]
    cursor: Cursor
    reset: bool


@dataclass(frozen=True)
class HistogramRow:
    """Counts over the choices at one step."""

    step: int
    counts: list[int]


def append(
    session: Session, run_id: str, fence: int, points: Sequence[tuple[int, Mapping[str, float]]]
) -> bool:
    """Add numbers of a run, in the order in which training told them.

    Points at or below the last stored step of their name are dropped, so that sending a batch
    twice does no harm. NaN and infinity become gaps. Use ``Store.write(durable=False)``.

    Args:
        points: Pairs of a step and the values at it by name.

    Returns:
        False: the claim was lost, nothing was stored.
    """
    held = lock_claimed(session, run_id, fence)
    if held is None:
        return False
    pairs: dict[str, list[tuple[int, float]]] = {}
    for step, values in points:
        for name, value in values.items():
            pairs.setdefault(name, []).append((step, float(value)))
    summaries = by_name(session, ScalarSummary, run_id, pairs)
    chunks = open_chunks(session, run_id, pairs)
    ordinals = next_ordinals(session, run_id, pairs)
    full: list[ScalarChunk] = []
    for name, some in pairs.items():
        summary = summaries.get(name)
        fresh_steps, fresh_values = as_points(some, summary.last_step if summary else -1)
        if not len(fresh_steps):
            continue
        summarise(session, run_id, name, summary, extremes(fresh_steps, fresh_values))
        full += extend(
            session,
            held,
            name,
            chunks.get(name),
            ordinals.get(name, 0),
            fresh_steps,
            fresh_values,
        )
    fold(session, run_id, full)
    session.flush()
    return True


def append_histogram(
    session: Session, run_id: str, fence: int, name: str, step: int, counts: Sequence[int]
) -> bool:
    """Store counts over choices at one step. False: the claim was lost."""
    if lock_claimed(session, run_id, fence) is None:
        return False
    blob = pack_steps(np.array(counts, dtype=np.int32))
    session.merge(Histogram(run_id=run_id, name=name, step=step, counts=blob))
    session.flush()
    return True


def seal(session: Session, run_id: str) -> None:
    """Close the open chunks of a run and fold them into its pyramids."""
    chunks = list(
        session.scalars(
            select(ScalarChunk).where(ScalarChunk.run_id == run_id, ~ScalarChunk.sealed)
        )
    )
    for chunk in chunks:
        chunk.sealed = True
    fold(session, run_id, chunks)
    session.flush()


def truncate_above(session: Session, run_id: str, step: int) -> int:
    """Drop points and histograms above a step and seal the rest; return the points dropped."""
    session.execute(delete(Histogram).where(Histogram.run_id == run_id, Histogram.step > step))
    touched = list(
        session.scalars(
            select(ScalarChunk).where(
                ScalarChunk.run_id == run_id,
                or_(ScalarChunk.last_step > step, ~ScalarChunk.sealed),
            )
        )
    )
    if not touched:
        return 0
    above = [chunk for chunk in touched if chunk.last_step > step]
    dropped = 0
    for chunk in above:
        steps, values = unpack_steps(chunk.steps), unpack_values(chunk.values)
        kept = steps <= step
        dropped += int(len(steps) - kept.sum())
        if kept.any():
            fill(chunk, steps[kept], values[kept])
        else:
            session.delete(chunk)
    session.flush()
    if above:
        rebuild(session, run_id, sorted({chunk.name for chunk in above}))
    seal(session, run_id)
    return dropped


def read_curves(
    session: Session,
    cursors: Mapping[str, Cursor],
    names: Sequence[str] = (),
) -> dict[str, CurvePage]:
    """Read what is new in the curves of several runs, at most about 2,500 points for each.

    Args:
        cursors: Where the reader stands, by run id; ``Cursor()`` for everything.
        names: Scalars wanted; empty: all.

    Returns:
        By run id; unknown runs are left out.
    """
    epochs = {
        row.id: row.curve_epoch
        for row in session.execute(select(Run.id, Run.curve_epoch).where(Run.id.in_(list(cursors))))
    }
    starts = {
        run_id: cursors[run_id] if cursors[run_id].epoch == epoch else Cursor(epoch)
        for run_id, epoch in epochs.items()
    }
    parts = _new_parts(session, starts, names)
    pages = {}
    for run_id, start in starts.items():
        found = sorted(name for run, name in parts if run == run_id)
        curves = {
            name: Curve(
                run_id,
                name,
                np.concatenate([steps for steps, _ in parts[run_id, name]]).tolist(),
                as_list(np.concatenate([values for _, values in parts[run_id, name]])),
            )
            for name in found
        }
        ends = {name: curve.steps[-1] for name, curve in curves.items()}
        cursor = Cursor(start.epoch, {**start.steps, **ends})
        pages[run_id] = CurvePage(run_id, curves, cursor, cursors[run_id].epoch != start.epoch)
    return pages


def read_histograms(
    session: Session, run_id: str, name: str, after_step: int = -1
) -> list[HistogramRow]:
    """Histograms of one run above a step, ascending."""
    rows = session.execute(
        select(Histogram.step, Histogram.counts)
        .where(Histogram.run_id == run_id, Histogram.name == name, Histogram.step > after_step)
        .order_by(Histogram.step)
    )
    return [HistogramRow(row.step, unpack_steps(row.counts).tolist()) for row in rows]


def _new_parts(
    session: Session, starts: Mapping[str, Cursor], names: Sequence[str]
) -> dict[tuple[str, str], list[tuple[Steps, Values]]]:
    """Pyramid points and then open points above each cursor, by run and name."""
    wanted = _with_news(session, ScalarSummary, starts, names)
    folded = _with_news(session, ScalarPyramid, starts, names)
    parts: dict[tuple[str, str], list[tuple[Steps, Values]]] = {}
    pyramids = session.scalars(
        select(ScalarPyramid).where(
            ScalarPyramid.run_id.in_({run for run, _ in folded}),
            ScalarPyramid.name.in_({name for _, name in folded}),
        )
    )
    for row in pyramids:
        if (key := (row.run_id, row.name)) in folded:
            after = starts[row.run_id].steps.get(row.name, -1)
            parts.setdefault(key, []).append(buckets(row).points(after))
    chunks = session.scalars(
        select(ScalarChunk).where(
            ScalarChunk.run_id.in_({run for run, _ in wanted}),
            ScalarChunk.name.in_({name for _, name in wanted}),
            ~ScalarChunk.sealed,
        )
    )
    for chunk in chunks:
        after = starts[chunk.run_id].steps.get(chunk.name, -1)
        steps, values = unpack_steps(chunk.steps), unpack_values(chunk.values)
        if (keep := steps > after).any():
            parts.setdefault((chunk.run_id, chunk.name), []).append((steps[keep], values[keep]))
    return {key: some for key, some in parts.items() if any(len(steps) for steps, _ in some)}


def _with_news(
    session: Session,
    model: type[ScalarSummary | ScalarPyramid],
    starts: Mapping[str, Cursor],
    names: Sequence[str],
) -> set[tuple[str, str]]:
    """Pairs of run and name that have points above the cursor, without reading the points."""
    query = select(model.run_id, model.name, model.last_step).where(model.run_id.in_(list(starts)))
    if names:
        query = query.where(model.name.in_(list(names)))
    return {
        (run_id, name)
        for run_id, name, last in session.execute(query)
        if last > starts[run_id].steps.get(name, -1)
    }
