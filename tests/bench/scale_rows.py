"""Rows in bulk: COPY into PostgreSQL, prepared statements into SQLite; curves as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from sqlalchemy import JSON, NullPool, Table, create_engine, insert, text
from sqlalchemy.orm import Session

from core.store.columns import Base
from core.store.curve_arrays import (
    CHUNK_POINTS,
    Buckets,
    extremes,
    pack_steps,
    pack_values,
)
from core.store.models_data import ScalarChunk, ScalarPyramid, ScalarSummary
from core.store.session import Store

Row = dict[str, Any]
ROWS = 20_000


class Bulk:
    """Collects rows of whole studies and writes them table by table, parents first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[str, list[Row]] = {}
        self._defaults: dict[str, Row] = {}
        self._count = 0

    def __enter__(self) -> Bulk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
            if not self._store.is_sqlite:
                vacuum(self._store)

    def add(self, model: type[Any], row: Row) -> None:
        """Take one row; fields that it does not name get the default of their column."""
        table: Table = model.__table__
        if table.name not in self._defaults:
            self._defaults[table.name] = _defaults(table)
        self._rows.setdefault(table.name, []).append({**self._defaults[table.name], **row})
        self._count += 1

    def end_study(self) -> None:
        """Write what has gathered, when it is much."""
        if self._count >= ROWS:
            self._flush()

    def _flush(self) -> None:
        with self._store.write(durable=False) as session:
            for table in Base.metadata.sorted_tables:
                if rows := self._rows.pop(table.name, []):
                    if self._store.is_sqlite:
                        session.execute(insert(table), rows)
                    else:
                        _copy(session, table, rows)
        self._count = 0


def _defaults(table: Table) -> Row:
    """Value of each column that a row may leave out."""
    found: Row = {}
    for column in table.columns:
        default: Any = column.default
        if default is None:
            found[column.name] = None
        elif default.is_scalar:
            found[column.name] = default.arg
    return found


def _copy(session: Session, table: Table, rows: list[Row]) -> None:
    names = [column.name for column in table.columns]
    documents = [name for name in names if isinstance(table.columns[name].type, JSON)]
    listed = ", ".join(f'"{name}"' for name in names)
    driver: Any = session.connection().connection.driver_connection
    with driver.cursor().copy(f'COPY "{table.name}" ({listed}) FROM STDIN') as copy:
        for row in rows:
            for name in documents:
                row[name] = None if row[name] is None else json.dumps(row[name])
            copy.write_row([row[name] for name in names])


def curve_rows(
    run_id: str,
    name: str,
    attempt: int,
    steps: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    *,
    is_sealed: bool,
) -> Iterator[tuple[type[Any], Row]]:
    """Make chunks, pyramid and summary of one scalar; without seal the last chunk stays open."""
    folded = Buckets.empty()
    key = {"run_id": run_id, "name": name}
    last_folded = 0
    for ordinal, start in enumerate(range(0, len(steps), CHUNK_POINTS)):
        piece = slice(start, start + CHUNK_POINTS)
        own_steps, own_values = steps[piece], values[piece]
        sealed = is_sealed or len(own_steps) == CHUNK_POINTS
        yield (
            ScalarChunk,
            {
                **key,
                "ordinal": ordinal,
                "attempt": attempt,
                "first_step": int(own_steps[0]),
                "last_step": int(own_steps[-1]),
                "count": len(own_steps),
                "sealed": sealed,
                "steps": pack_steps(own_steps),
                "values": pack_values(own_values),
            },
        )
        if sealed:
            folded, last_folded = folded.folded(own_steps, own_values), int(own_steps[-1])
    yield ScalarSummary, {**key, **vars(extremes(steps, values))}
    if folded.count:
        yield (
            ScalarPyramid,
            {
                **key,
                "level": folded.level,
                "count": folded.count,
                "last_step": last_folded,
                "low_steps": pack_steps(folded.low_steps),
                "low_values": pack_values(folded.low_values),
                "high_steps": pack_steps(folded.high_steps),
                "high_values": pack_values(folded.high_values),
            },
        )


def vacuum(store: Store) -> None:
    """Do at once what PostgreSQL does by itself within a minute after rows have come."""
    engine = create_engine(store.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
