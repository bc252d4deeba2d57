"""Parquet: limits from the metadata first, then batch after batch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.own.model import Limits
from core.data.own.problems import Problems
from core.data.own.table import Cell, Table

BATCH = 256
BUFFER = 65_536
DAMAGED = "Write the file anew."
FAULTS = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What Arrow raises on a damaged file; its running out of memory is one of them too."""


def _why_refused(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_nested(kind):
        return f"holds nested values ({str(kind)[:60]})"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "holds bytes, not text"
    readable = (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_null(kind)
    )
    return "" if readable else f"holds {str(kind)[:60]}, neither text nor number"


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) or None


def open_parquet(
    path: Path, limits: Limits, problems: Problems, wanted: Collection[str] | None = None
) -> Table:
    """Open a Parquet file; only its metadata is read.

    Args:
        path: The file.
        limits: What it may hold.
        problems: Where problems go.
        wanted: Columns whose cells are read; none: all that can be used.

    Raises:
        Stopped: If it is damaged, or its metadata promise more than is taken.
    """
    problems.unit = "row"
    try:
        file = pq.ParquetFile(path, memory_map=False, buffer_size=BUFFER, pre_buffer=False)
        schema = file.schema_arrow
    except MemoryError:
        raise
    except FAULTS as error:
        problems.refuse(f"damaged Parquet: {_first_line(error)}.", hint=DAMAGED)
    columns = list(schema.names)
    if len(columns) > limits.columns:
        problems.refuse(
            f"{len(columns):,} columns, at most {limits.columns} are taken.",
            hint="Keep only the columns that are needed.",
        )
    if file.metadata.num_rows > limits.rows:
        problems.refuse(
            f"{file.metadata.num_rows:,} rows, at most {limits.rows:,} are taken.",
            hint="Take a part of it.",
        )
    if len(set(columns)) < len(columns) or not all(map(str.strip, columns)):
        problems.refuse(
            "two columns share a name, or one has none.",
            hint="Give every column a name of its own.",
        )
    why = {field.name: _why_refused(field.type) for field in schema}
    refused = {name: reason for name, reason in why.items() if reason}
    usable = [
        name for name in columns if name not in refused and (wanted is None or name in wanted)
    ]
    return Table(
        format="parquet",
        encoding="",
        delimiter="",
        columns=columns,
        rows=_rows(file, usable, problems),
        refused=refused,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["unreadable"])[0][:200].rstrip(".")


def _rows(
    file: pq.ParquetFile, columns: list[str], problems: Problems
) -> Iterator[tuple[int, dict[str, Cell]]]:
    number = 0
    try:
        batches = file.iter_batches(batch_size=BATCH, columns=columns, use_threads=False)
        for batch in batches:
            values = [batch.column(index).to_pylist() for index in range(batch.num_columns)]
            names = batch.schema.names
            for row in range(batch.num_rows):
                number += 1
                cells = {
                    name: _cell(column[row]) for name, column in zip(names, values, strict=True)
                }
                _check_nul(cells, number, problems)
                yield number, cells
    except UnicodeDecodeError:
        problems.add(f"not valid UTF-8 within the {BATCH} rows from here.", number + 1, DAMAGED)
    except MemoryError:
        raise
    except FAULTS as error:
        problems.add(f"damaged Parquet: {_first_line(error)}.", number + 1, DAMAGED)


def _check_nul(cells: dict[str, Cell], number: int, problems: Problems) -> None:
    for name, cell in cells.items():
        if isinstance(cell, str) and "\x00" in cell:
            problems.refuse(f"a NUL character in column '{name}'.", number)
