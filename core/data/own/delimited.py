"""CSV and TSV: strict, with the line of everything that is wrong; never a shifted column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from core.data.own.lines import Lines
from core.data.own.model import Limits, Reading
from core.data.own.problems import Problems, Stopped
from core.data.own.table import Cell, Table

DELIMITERS = ("\t", ",", ";")
NAMES = {"\t": "tab", ",": "comma", ";": "semicolon"}
LINE_ENDS = ("", "\n", "\r\n", "\r")
LONGEST_NAME = 128
SAMPLE_RECORDS = 50
NO_HEADER_HINT = "Put the names of the columns on the first line."
DOUBLED = 'Inside a quoted cell write a double quote twice (""), or say that quotes mean nothing.'


class _Records:
    """Cells of each record with the line on which it starts."""

    def __init__(
        self,
        lines: Iterator[tuple[int, str]],
        delimiter: str,
        quotes: bool,
        limits: Limits,
        problems: Problems,
    ) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._quotes = quotes
        self._limits = limits
        self._problems = problems
        self._text = ""
        self._number = 0

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for number, line in self._lines:
            self._number, self._text = number, line
            if not line.strip("\r\n"):
                continue
            if self._quotes and '"' in line:
                yield number, self._with_quotes()
            else:
                yield number, self._plain(line).split(self._delimiter)

    def _plain(self, rest: str) -> str:
        """Return text without its line end."""
        rest = rest.removesuffix("\n").removesuffix("\r")
        if "\r" in rest:
            self._problems.refuse(
                "a carriage return stands alone inside the line.",
                self._number,
                hint="Save the file with usual line ends, or put the cell in double quotes.",
            )
        return rest

    def _with_quotes(self) -> list[str]:
        cells: list[str] = []
        start = 0
        while True:
            if self._text.startswith('"', start):
                cell, end = self._quoted(start + 1)
            else:
                end = self._text.find(self._delimiter, start)
                cell = self._plain(self._text[start : end if end >= 0 else None])
            cells.append(cell)
            if end < 0:
                return cells
            start = end + 1

    def _quoted(self, start: int) -> tuple[str, int]:
        """Read a cell after its opening quote; return it and where its delimiter is, or -1."""
        opened, pieces, size = self._number, list[str](), 0
        while True:
            end = self._text.find('"', start)
            if end < 0:
                pieces.append(self._text[start:])
                size += len(pieces[-1])
                self._next_line(opened, size)
                start = 0
                continue
            pieces.append(self._text[start:end])
            size += end - start
            if not self._text.startswith('"', end + 1):
                break
            pieces.append('"')
            start = end + 2
        rest = self._text[end + 1 : end + 4]
        if rest.startswith(self._delimiter):
            return "".join(pieces), end + 1
        if rest not in LINE_ENDS:
            self._refuse_rest(opened, rest[0])
        return "".join(pieces), -1

    def _next_line(self, opened: int, size: int) -> None:
        found = next(self._lines, None)
        if found is None or size > self._limits.record_characters:
            self._problems.refuse(
                "the double quote that opens a cell here is never closed.", opened, hint=DOUBLED
            )
        self._number, self._text = found

    def _refuse_rest(self, opened: int, character: str) -> None:
        since = f" (the cell starts on line {opened:,})" if opened != self._number else ""
        self._problems.refuse(
            f"{character!r} follows the double quote that closes a cell{since}.",
            self._number,
            hint=DOUBLED,
        )


def _found_delimiter(sample: list[str], quotes: bool, limits: Limits) -> str:
    """Take the delimiter under which the first records agree best; a comma where none occurs."""
    scores: list[tuple[float, int, str]] = []
    for delimiter in DELIMITERS:
        silent = Problems(limits)
        widths: list[int] = []
        numbered = iter(list(enumerate(sample, start=1)))
        try:
            for _, cells in _Records(numbered, delimiter, quotes, limits, silent):
                widths.append(len(cells))
                if len(widths) == SAMPLE_RECORDS:
                    break
        except Stopped:
            pass  # the sample may end inside a quoted cell
        if widths and widths[0] > 1:
            agreeing = Counter(widths)[widths[0]] / len(widths)
            scores.append((agreeing, widths[0], delimiter))
    return max(scores)[2] if scores else ","


def _check_header(names: list[str], line: int, limits: Limits, problems: Problems) -> None:
    before = problems.count
    if len(names) > limits.columns:
        problems.add(
            f"{len(names):,} columns, at most {limits.columns} are taken.",
            line,
            "Keep only the columns that are needed.",
        )
    for place, name in enumerate(names, start=1):
        if not name and place <= limits.columns:
            problems.add(f"column {place} has no name.", line, "Give every column a name.")
    doubled = [name for name, count in Counter(names).items() if count > 1 and name]
    for name in doubled[: limits.shown_problems]:
        problems.add(
            f"the column name '{name[:LONGEST_NAME]}' occurs {names.count(name)} times.",
            line,
            "Give every column a name of its own.",
        )
    data = [name for name in names if len(name) > LONGEST_NAME or _is_number(name)]
    if data:
        problems.add(
            f"'{data[0][:40]}' is no column name; the file seems to have no header.",
            line,
            NO_HEADER_HINT,
        )
    if problems.count > before:
        raise Stopped


def no_header(name: str) -> str:
    """Say that a column's name is one of its values."""
    return f"the column '{name}' also has the value '{name}'; the file seems to have no header."


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return name.lower().strip("+-") not in ("nan", "inf", "infinity")


def _check_delimiter(wanted: str, problems: Problems) -> None:
    if len(wanted) != 1 or wanted in '"\r\n\x00':
        problems.refuse(
            f"the delimiter {wanted[:20]!r} is not one character.",
            hint="Take a comma, a semicolon or a tab.",
        )


def open_delimited(
    lines: Lines, encoding: str, reading: Reading, limits: Limits, problems: Problems
) -> Table:
    """Open a CSV or TSV file; its header is read, its rows are not.

    Raises:
        Stopped: If delimiter or header cannot be used.
    """
    if reading.delimiter:
        _check_delimiter(reading.delimiter, problems)
        delimiter = reading.delimiter
    else:
        delimiter = _found_delimiter(lines.sample(), reading.quotes, limits)
    records = iter(_Records(iter(lines), delimiter, reading.quotes, limits, problems))
    first = next(records, None)
    if first is None:
        problems.refuse("holds no rows.", hint="Check the export.")
    line, cells = first
    header = [name.strip() for name in cells]
    _check_header(header, line, limits, problems)
    return Table(
        format="tsv" if delimiter == "\t" else "csv",
        encoding=encoding,
        delimiter=delimiter,
        columns=header,
        rows=_rows(records, header, problems),
        notes=[f"cells are separated by {NAMES.get(delimiter, repr(delimiter))}"],
    )


def _rows(
    records: Iterator[tuple[int, list[str]]], header: list[str], problems: Problems
) -> Iterator[tuple[int, dict[str, Cell]]]:
    width = len(header)
    for line, cells in records:
        if len(cells) != width:
            found = "1 cell" if len(cells) == 1 else f"{len(cells):,} cells"
            problems.add(
                f"{found}, but the header names {width:,} columns.",
                line,
                "A cell that contains the delimiter must stand in double quotes."
                if len(cells) > width
                else "Is a cell missing, or a text broken over two lines?",
            )
        elif cells == header:
            problems.add("repeats the header.", line, "Were files joined? Delete the line.")
        else:
            yield line, {name: cell or None for name, cell in zip(header, cells, strict=True)}
