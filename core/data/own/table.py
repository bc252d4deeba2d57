"""A file as a table: column names, and rows that are read one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from core.data.own.model import FileFormat


@dataclass(frozen=True, slots=True)
class Unusable:
    """A value that is neither text nor number.

    Attributes:
        what: What it is, for people.
    """

    what: str


Cell = str | Unusable | None
"""Text, something that is no text, or nothing."""


@dataclass
class Table:
    """An open file.

    Attributes:
        format: Found by content.
        encoding: Of its text; empty for Parquet.
        delimiter: Of its cells; empty where there is none.
        columns: Names; of JSONL known only when all rows were read.
        rows: Number of the line (or row) and cells by column; a missing column is an empty cell.
        notes: What was found out by itself.
        refused: Column to why it cannot be used.
    """

    format: FileFormat
    encoding: str
    delimiter: str
    columns: list[str]
    rows: Iterator[tuple[int, dict[str, Cell]]]
    notes: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
