"""JSONL: one JSON object a line, strict where Python's reader is lenient."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from core.data.own.lines import Lines
from core.data.own.model import Limits
from core.data.own.problems import Problems
from core.data.own.table import Cell, Table, Unusable

LONGEST_NUMBER = 100
BLANKS = " \t\r\n"
ONE_OBJECT = "Each line must be one JSON object."
JQ = "With jq: jq -c '.[]' file.json > file.jsonl"


class _Refused(ValueError):
    """A line that cannot be taken.

    Args:
        problem: What is wrong.
        hint: What to do.
        is_last: True where reading on is pointless.
    """

    def __init__(self, problem: str, hint: str = ONE_OBJECT, *, is_last: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.is_last = is_last


def _number(digits: str) -> str:
    if len(digits) > LONGEST_NUMBER:
        raise _Refused(f"a number of {len(digits):,} characters.", "Write it as a text.")
    return digits


def _constant(name: str) -> None:
    raise _Refused(f"{name} is not JSON.", "Write null.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        doubled = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Refused(f"the key '{doubled[:80]}' occurs twice.", "Name every key once.")
    return found


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_constant=_constant,
    parse_float=_number,
    parse_int=_number,
)


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        return Unusable("a list")
    if isinstance(value, dict):
        return Unusable("an object")
    return None


def _check_text(text: str) -> None:
    """Refuse what an escape can write but no text file can hold."""
    if "\x00" in text:
        raise _Refused("a NUL character in a text.", "Take it out.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Refused(
            f"half a surrogate pair, \\u{ord(text[error.start]):04x}, in a text.",
            "Was a text cut inside a character? Export it anew.",
        ) from error


def _parse(line: str) -> dict[str, Cell]:
    """Read one line.

    Raises:
        _Refused: With the problem in words.
    """
    try:
        found = _DECODER.decode(line.strip(BLANKS))
    except _Refused:
        raise
    except RecursionError as error:
        raise _Refused("nested too deeply.", "Keep only the keys that are needed.") from error
    except json.JSONDecodeError as error:
        if line.strip(BLANKS) in ("{", "[", "[{"):
            raise _Refused("an object must stand on one line.", is_last=True) from error
        raise _Refused(f"not valid JSON ({error.msg}, character {error.pos + 1:,}).") from error
    if not isinstance(found, dict):
        raise _Refused("not a JSON object.")
    if not all(map(str.strip, found)):
        raise _Refused("a key without a name.", "Give every key a name.")
    cells = {key: _cell(value) for key, value in found.items()}
    if "\\u" in line:
        for key, cell in cells.items():
            _check_text(key)
            if isinstance(cell, str):
                _check_text(cell)
    return cells


def refuse_array(start: str, problems: Problems) -> None:
    """Refuse a file that is one JSON array.

    Raises:
        Stopped: If it is one.
    """
    text = start.lstrip(BLANKS)
    if text.startswith("[") and text[1:].lstrip(BLANKS)[:1] in ("{", "[", "]"):
        problems.refuse(
            "is a JSON array; JSONL holds one object a line.",
            hint=f"Write each object on a line of its own. {JQ}",
        )


def open_jsonl(lines: Lines, encoding: str, limits: Limits, problems: Problems) -> Table:
    """Open a JSONL file; columns are all keys that occur, in the order of their first use."""
    columns: list[str] = []
    return Table(
        format="jsonl",
        encoding=encoding,
        delimiter="",
        columns=columns,
        rows=_rows(lines, columns, limits, problems),
    )


def _rows(
    lines: Lines, columns: list[str], limits: Limits, problems: Problems
) -> Iterator[tuple[int, dict[str, Cell]]]:
    known: set[str] = set()
    for number, line in lines:
        if not line.strip(BLANKS):
            continue
        try:
            cells = _parse(line)
        except _Refused as refusal:
            problems.add(refusal.problem, number, refusal.hint)
            if refusal.is_last:
                return
            continue
        if not cells.keys() <= known:
            columns.extend(key for key in cells if key not in known)
            known.update(cells)
            if len(columns) > limits.columns:
                problems.refuse(
                    f"{len(columns):,} different keys up to here, at most {limits.columns} are "
                    "taken.",
                    number,
                    "Keep only the keys that are needed.",
                )
        yield number, cells
