"""Opening a file by what it is."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from pathlib import Path

from core.data.own.delimited import open_delimited
from core.data.own.jsonl import open_jsonl, refuse_array
from core.data.own.lines import Lines
from core.data.own.model import Limits, Reading
from core.data.own.problems import Problems
from core.data.own.sniff import sniff
from core.data.own.table import Table


def open_table(
    path: Path,
    reading: Reading,
    limits: Limits,
    problems: Problems,
    wanted: Collection[str] | None = None,
) -> Table:
    """Open a file as a table.

    Args:
        path: The file.
        reading: How a person wants it to be read.
        limits: What it may hold.
        problems: Where problems go.
        wanted: Columns whose cells will be looked at; none: all.

    Raises:
        Stopped: If it is no table.
    """
    problems.unit = "line"
    sniffed = sniff(path, reading, limits, problems)
    if sniffed.is_parquet:
        # Arrow takes more memory than all the rest; only Parquet pays for it.
        parquet = importlib.import_module("core.data.own.parquet")
        table: Table = parquet.open_parquet(path, limits, problems, wanted)
        return table
    lines = Lines(path, sniffed, limits, problems)
    start = _start(lines, problems)
    if start.startswith("{"):
        table = open_jsonl(lines, sniffed.encoding, limits, problems)
    else:
        refuse_array(start, problems)
        table = open_delimited(lines, sniffed.encoding, reading, limits, problems)
    if sniffed.note:
        table.notes.insert(0, sniffed.note)
    return table


def _start(lines: Lines, problems: Problems) -> str:
    """Return the first lines that are not blank."""
    found = "".join(lines.sample()).lstrip(" \t\r\n")
    if not found:
        problems.refuse("holds no rows.", hint="Check the export.")
    return found


def count_rows(number: int, limits: Limits, problems: Problems) -> None:
    """Refuse more rows than are taken.

    Raises:
        Stopped: If there are more.
    """
    if number > limits.rows:
        problems.refuse(
            f"more than {limits.rows:,} rows.", hint="Take a part of it, for example every tenth."
        )
