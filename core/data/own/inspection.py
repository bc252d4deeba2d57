"""What a file holds: columns with what they could be, and everything that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from core.data.own.delimited import NO_HEADER_HINT, no_header
from core.data.own.guess import guess_roles
from core.data.own.model import AS_FOUND, USUAL, Column, Inspection, Limits, Reading
from core.data.own.opening import count_rows, open_table
from core.data.own.problems import Problems, Stopped
from core.data.own.table import Cell, Table, Unusable

SAMPLES = 3
BATCH = 128
SAMPLE_CHARACTERS = 300


class _Profile:
    """What is counted of one column while rows pass by."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: set[int] = set()
        self._values: Counter[str] | None = Counter()
        self.total = 0
        self._filled = 0
        self._longest = 0
        self._samples: list[str] = []
        self.refused = ""

    def add(self, cells: Sequence[Cell], lines: Sequence[int], unit: str) -> None:
        """Count the cells of some rows, whose lines are given in the same order."""
        texts = [cell for cell in cells if isinstance(cell, str)]
        if len(texts) + cells.count(None) < len(cells) and not self.refused:
            line, cell = next(
                (line, cell)
                for line, cell in zip(lines, cells, strict=True)
                if isinstance(cell, Unusable)
            )
            self.refused = f"holds {cell.what} on {unit} {line:,}"
        lengths = list(map(len, texts))
        self._filled += len(texts)
        self.total += sum(lengths)
        self._longest = max(self._longest, max(lengths, default=0))
        if len(self._samples) < SAMPLES:
            wanted = SAMPLES - len(self._samples)
            self._samples += [text[:SAMPLE_CHARACTERS] for text in texts[:wanted]]
        if len(self._seen) <= self._limits.counted_values:
            self._seen.update(map(hash, texts))
        if self._values is not None:
            self._values.update(texts)
            if (
                len(self._values) > self._limits.labels
                or self._longest > self._limits.label_characters
            ):
                self._values = None

    def column(self, name: str, num_rows: int) -> Column:
        """Sum up."""
        return Column(
            name=name,
            distinct=min(len(self._seen), self._limits.counted_values),
            distinct_is_capped=len(self._seen) > self._limits.counted_values,
            longest=self._longest,
            mean_characters=self.total / self._filled if self._filled else 0.0,
            missing=0 if self.refused else num_rows - self._filled,
            samples=tuple(self._samples),
            values=dict(sorted((self._values or {}).items())),
            refused=self.refused,
        )


def inspect(
    path: Path, reading: Reading = AS_FOUND, limits: Limits = USUAL, *, name: str = ""
) -> Inspection:
    """Read a file once and tell what it holds, in this process.

    Args:
        path: The file.
        reading: How it is to be read.
        limits: What it may hold.
        name: Name for messages; empty: the file's own.
    """
    problems = Problems(limits)
    problems.file = name or path.name
    table: Table | None = None
    profiles: dict[str, _Profile] = {}
    num_rows = 0
    try:
        table = open_table(path, reading, limits, problems)
        rows = iter(table.rows)
        while batch := list(islice(rows, BATCH)):
            num_rows += len(batch)
            count_rows(num_rows, limits, problems)
            lines = [line for line, _ in batch]
            for column in table.columns:
                profile = profiles.setdefault(column, _Profile(limits))
                profile.add([cells.get(column) for _, cells in batch], lines, problems.unit)
            if sum(profile.total for profile in profiles.values()) > limits.output_bytes:
                problems.refuse(
                    f"the texts have more than {limits.output_bytes:,} characters.",
                    lines[-1],
                    "Take a part of the file.",
                )
        if not num_rows and not problems.count:
            problems.refuse("holds no rows.", hint="Check the export.")
    except Stopped:
        pass  # the reason stands in the list
    if table is None:
        return Inspection(file=problems.file, problems=problems.shown, num_problems=problems.count)
    return _summed_up(table, profiles, num_rows, problems, limits)


def _check_header(
    table: Table, columns: Sequence[Column], problems: Problems, limits: Limits
) -> None:
    if not table.delimiter or problems.count:
        return
    for column in columns:
        if column.name in column.values and column.distinct <= limits.many_labels:
            problems.add(no_header(column.name), 1, NO_HEADER_HINT)
            return


def _summed_up(
    table: Table,
    profiles: dict[str, _Profile],
    num_rows: int,
    problems: Problems,
    limits: Limits,
) -> Inspection:
    columns: list[Column] = []
    for name in table.columns:
        profile = profiles.get(name) or _Profile(limits)
        profile.refused = table.refused.get(name, profile.refused)
        columns.append(profile.column(name, num_rows))
    _check_header(table, columns, problems, limits)
    columns = guess_roles(columns, num_rows)
    notes = list(table.notes)
    for column in columns:
        if column.longest > limits.text_characters:
            notes.append(
                f"column '{column.name}' has a value of {column.longest:,} characters; a text may "
                f"have at most {limits.text_characters:,}"
            )
    return Inspection(
        file=problems.file,
        format=table.format,
        encoding=table.encoding,
        delimiter=table.delimiter,
        num_rows=num_rows,
        columns=tuple(columns),
        problems=problems.shown,
        num_problems=problems.count,
        notes=tuple(notes),
    )
