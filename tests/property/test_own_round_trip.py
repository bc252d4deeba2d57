"""Whatever a text is made of, reading gives back what was written, in every format."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.own.model import AS_FOUND, USUAL, Reading
from core.data.own.opening import open_table
from core.data.own.problems import Problems
from core.data.own.table import Cell

HEADER = ["text", "label", "note"]
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8)


def expected(rows: list[tuple[str, ...]]) -> list[dict[str, Cell]]:
    """Empty cells are missing; nothing else is."""
    return [{name: cell or None for name, cell in zip(HEADER, row, strict=True)} for row in rows]


def parsed(content: bytes, reading: Reading = AS_FOUND) -> list[dict[str, Cell]]:
    problems = Problems(USUAL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(content)
        table = open_table(path, reading, USUAL, problems)
        found = [cells for _, cells in table.rows]
    assert not problems.count, problems.shown
    assert table.columns == HEADER
    return found


def delimited(rows: list[tuple[str, ...]], delimiter: str, line_end: str) -> str:
    target = io.StringIO()
    writer = csv.writer(target, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADER)
    writer.writerows(rows)
    return target.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize(("delimiter", "line_end"), [(",", "\r\n"), ("\t", "\n"), (";", "\n")])
@given(rows=ROWS)
@settings(max_examples=40, derandomize=True, database=None, deadline=None)
def test_delimited_rows_come_back(
    delimiter: str, line_end: str, encoding: str, rows: list[tuple[str, ...]]
) -> None:
    header = [tuple(HEADER)]
    reading = Reading(delimiter=delimiter, encoding="gb18030" if encoding == "gb18030" else "")
    kept = [row for row in rows if row not in header]
    content = delimited(kept, delimiter, line_end).encode(encoding)
    assert parsed(content, reading) == expected(kept)


@given(rows=ROWS)
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
def test_cells_that_need_no_quotes_come_back_without_any(rows: list[tuple[str, ...]]) -> None:
    marks = str.maketrans("", "", '",\t;\r\n')
    plain = [tuple(f"{cell.translate(marks)}." for cell in row) for row in rows]
    content = "\n".join(",".join(row) for row in [HEADER, *plain])
    assert parsed(content.encode()) == expected(plain)


@pytest.mark.parametrize("ascii_only", [True, False])
@given(rows=ROWS)
@settings(max_examples=100, derandomize=True, database=None, deadline=None)
def test_jsonl_rows_come_back(ascii_only: bool, rows: list[tuple[str, ...]]) -> None:
    objects = [dict(zip(HEADER, row, strict=True)) for row in rows]
    lines = [json.dumps(entry, ensure_ascii=ascii_only) + "\n" for entry in objects]
    assert parsed("".join(lines).encode()) == expected(rows)


@given(rows=ROWS)
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
def test_parquet_rows_come_back(rows: list[tuple[str, ...]]) -> None:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(HEADER)}
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, row_group_size=3)
    assert parsed(target.getvalue()) == expected(rows)
