"""Rows of chunks, pyramids and summaries of one run: how points get into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.store.curve_arrays import (
    CHUNK_POINTS,
    Buckets,
    Extremes,
    Steps,
    Values,
    extremes,
    pack_steps,
    pack_values,
    unpack_steps,
    unpack_values,
)
from core.store.models_data import ScalarChunk, ScalarPyramid, ScalarSummary
from core.store.moves import Held

Row = TypeVar("Row", ScalarSummary, ScalarPyramid)


def by_name(
    session: Session, model: type[Row], run_id: str, names: Iterable[str]
) -> dict[str, Row]:
    """Rows of one run by the name of their scalar."""
    rows = session.scalars(select(model).where(model.run_id == run_id, model.name.in_(list(names))))
    return {row.name: row for row in rows}


def open_chunks(session: Session, run_id: str, names: Iterable[str]) -> dict[str, ScalarChunk]:
    """Chunk of each name that still takes points."""
    rows = session.scalars(
        select(ScalarChunk).where(
            ScalarChunk.run_id == run_id, ScalarChunk.name.in_(list(names)), ~ScalarChunk.sealed
        )
    )
    return {row.name: row for row in rows}


def next_ordinals(session: Session, run_id: str, names: Iterable[str]) -> dict[str, int]:
    """Number of the next chunk of each name that has chunks."""
    rows = session.execute(
        select(ScalarChunk.name, func.max(ScalarChunk.ordinal))
        .where(ScalarChunk.run_id == run_id, ScalarChunk.name.in_(list(names)))
        .group_by(ScalarChunk.name)
    )
    return {name: ordinal + 1 for name, ordinal in rows}


def fill(chunk: ScalarChunk, steps: Steps, values: Values) -> None:
    """Put points into a chunk in place of those that it has."""
    chunk.steps, chunk.values = pack_steps(steps), pack_values(values)
    chunk.first_step, chunk.last_step = int(steps[0]), int(steps[-1])
    chunk.count = len(steps)


def extend(
    session: Session,
    held: Held,
    name: str,
    chunk: ScalarChunk | None,
    ordinal: int,
    steps: Steps,
    values: Values,
) -> list[ScalarChunk]:
    """Put points into the open chunk and further ones; return those that became full."""
    if chunk is not None:
        steps = np.concatenate([unpack_steps(chunk.steps), steps])
        values = np.concatenate([unpack_values(chunk.values), values])
    full = []
    for start in range(0, len(steps), CHUNK_POINTS):
        piece = slice(start, start + CHUNK_POINTS)
        if chunk is None:
            chunk = ScalarChunk(
                run_id=held.id, name=name, ordinal=ordinal, attempt=held.attempt, sealed=False
            )
            session.add(chunk)
            ordinal += 1
        fill(chunk, steps[piece], values[piece])
        chunk.sealed = chunk.count == CHUNK_POINTS
        if chunk.sealed:
            full.append(chunk)
            # Written before the next one: only one open chunk may exist at any moment.
            session.flush()
            chunk = None
    return full


def summarise(
    session: Session, run_id: str, name: str, row: ScalarSummary | None, fresh: Extremes
) -> None:
    """Add fresh points to the summary of their name."""
    if row is None:
        session.add(ScalarSummary(run_id=run_id, name=name, **vars(fresh)))
        return
    row.count += fresh.count
    row.last_step, row.last_value = fresh.last_step, fresh.last_value
    if fresh.min_value is None or fresh.max_value is None:
        return
    if row.min_value is None or fresh.min_value < row.min_value:
        row.min_step, row.min_value = fresh.min_step, fresh.min_value
    if row.max_value is None or fresh.max_value > row.max_value:
        row.max_step, row.max_value = fresh.max_step, fresh.max_value


def fold(session: Session, run_id: str, chunks: Sequence[ScalarChunk]) -> None:
    """Add sealed chunks to the pyramids of their names, in order."""
    if not chunks:
        return
    pyramids = by_name(session, ScalarPyramid, run_id, {chunk.name for chunk in chunks})
    for chunk in chunks:
        row = pyramids.get(chunk.name)
        before = buckets(row) if row else Buckets.empty()
        folded = before.folded(unpack_steps(chunk.steps), unpack_values(chunk.values))
        if row is None:
            row = pyramids[chunk.name] = ScalarPyramid(run_id=run_id, name=chunk.name)
            session.add(row)
        row.level, row.count, row.last_step = folded.level, folded.count, chunk.last_step
        row.low_steps, row.low_values = pack_steps(folded.low_steps), pack_values(folded.low_values)
        row.high_steps = pack_steps(folded.high_steps)
        row.high_values = pack_values(folded.high_values)


def buckets(row: ScalarPyramid) -> Buckets:
    """Read a pyramid."""
    return Buckets(
        row.level,
        row.count,
        unpack_steps(row.low_steps),
        unpack_values(row.low_values),
        unpack_steps(row.high_steps),
        unpack_values(row.high_values),
    )


def rebuild(session: Session, run_id: str, names: Sequence[str]) -> None:
    """Make pyramids and summaries anew from the chunks, after some were dropped."""
    for pyramid in by_name(session, ScalarPyramid, run_id, names).values():
        session.delete(pyramid)
    for summary in by_name(session, ScalarSummary, run_id, names).values():
        session.delete(summary)
    session.flush()
    chunks = session.scalars(
        select(ScalarChunk)
        .where(ScalarChunk.run_id == run_id, ScalarChunk.name.in_(names))
        .order_by(ScalarChunk.name, ScalarChunk.ordinal)
    ).all()
    fold(session, run_id, [chunk for chunk in chunks if chunk.sealed])
    for name in names:
        mine = [chunk for chunk in chunks if chunk.name == name]
        if mine:
            steps = np.concatenate([unpack_steps(chunk.steps) for chunk in mine])
            values = np.concatenate([unpack_values(chunk.values) for chunk in mine])
            summarise(session, run_id, name, None, extremes(steps, values))
    session.flush()
