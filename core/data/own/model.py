"""What is asked of a data file and what is answered; plain values that travel as JSON.

No import here but the standard library: the limited process that reads files starts from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.errors import DataError

Role = Literal["text", "label", "split", "group", ""]
OnMissing = Literal["abort", "drop"]
FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]

SPLITS = ("train", "dev", "test")
STEMS: Mapping[str, str] = {"train": "train", "dev": "val", "test": "test"}
"""Split to the stem of its normalised file."""

ENCODINGS = (
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "windows-1252",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1250",
    "windows-1251",
    "windows-1253",
    "windows-1254",
    "koi8-r",
    "mac-roman",
    "shift_jis",
    "euc-jp",
    "gb18030",
    "big5",
    "euc-kr",
)
"""Encodings that a person may name; without a name a file must be UTF-8 or carry a mark."""


@dataclass(frozen=True)
class Limits:
    """What a file may hold, and what reading it may take.

    Attributes:
        file_bytes: Size of one file.
        rows: Rows of all files together.
        text_characters: Characters of one text.
        record_characters: Characters that one row may take in its file.
        labels: Different labels.
        many_labels: More different labels than this are a warning.
        label_characters: Characters of one label.
        columns: Columns of a file.
        shown_problems: Problems that are listed; the rest is counted.
        counted_problems: Problems after which reading stops.
        counted_values: Different values of a column after which counting stops.
        output_bytes: Size of the normalised files together.
        memory_bytes: Resident memory of the reading process.
        cut_bytes: The same while it cuts test from rows that were all found good.
        cpu_seconds: Processor time of the reading process.
        wall_seconds: Time that the answer may take.
    """

    file_bytes: int = 50_000_000
    rows: int = 1_000_000
    text_characters: int = 100_000
    record_characters: int = 2_000_000
    labels: int = 256
    many_labels: int = 50
    label_characters: int = 200
    columns: int = 64
    shown_problems: int = 20
    counted_problems: int = 1_000
    counted_values: int = 10_000
    output_bytes: int = 250_000_000
    memory_bytes: int = 300_000_000
    cut_bytes: int = 2_000_000_000
    cpu_seconds: int = 120
    wall_seconds: float = 300.0


@dataclass(frozen=True)
class Reading:
    """How a person wants a file to be read; empty values are found from the content.

    Attributes:
        encoding: One of ``ENCODINGS``; empty: UTF-8, or what a byte order mark says.
        delimiter: One character between cells; empty: comma, tab or semicolon, by content.
        quotes: False where double quotes are ordinary characters.
    """

    encoding: str = ""
    delimiter: str = ""
    quotes: bool = True


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file.

    Attributes:
        text: What is wrong, in words.
        file: Name of the file; empty: concerns all.
        line: Line (of Parquet: row), from 1; 0: concerns the whole file.
        hint: What to do next; may be empty.
        unit: What ``line`` counts: ``line`` or ``row``.
    """

    text: str
    file: str = ""
    line: int = 0
    hint: str = ""
    unit: str = "line"

    def __str__(self) -> str:
        place = f"{self.file}, {self.unit} {self.line:,}" if self.line else self.file
        return " ".join(
            part for part in (f"{place}:" if place else "", self.text, self.hint) if part
        )


@dataclass(frozen=True)
class Column:
    """A column of a file.

    Attributes:
        name: As the file names it.
        distinct: Different values, a count.
        distinct_is_capped: True when there are more than were counted.
        longest: Characters of the longest value.
        mean_characters: Characters of a value on average, missing ones left out.
        missing: Empty cells, a count.
        samples: First values, at most three, shortened.
        role: What it is guessed to be; empty: no guess.
        values: All values with their counts where there are few and short ones, else empty.
        refused: Why it cannot be used (nested, binary); empty: it can.
    """

    name: str
    distinct: int = 0
    distinct_is_capped: bool = False
    longest: int = 0
    mean_characters: float = 0.0
    missing: int = 0
    samples: tuple[str, ...] = ()
    role: Role = ""
    values: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    Attributes:
        file: Its name.
        format: Found by content.
        encoding: Used encoding; empty for Parquet.
        delimiter: Used delimiter; empty where there is none.
        num_rows: Rows read, a count.
        columns: In the order of the file.
        problems: First problems; with any, the file cannot be used as it is.
        num_problems: All problems that were counted.
        notes: What was found out by itself (byte order mark, delimiter) and other remarks.
    """

    file: str
    format: FileFormat | None = None
    encoding: str = ""
    delimiter: str = ""
    num_rows: int = 0
    columns: tuple[Column, ...] = ()
    problems: tuple[Problem, ...] = ()
    num_problems: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Tell whether the file can be converted."""
        return not self.num_problems

    def columns_for(self, role: Role) -> tuple[str, ...]:
        """Names of the columns that are guessed to have a role, in order."""
        return tuple(column.name for column in self.columns if column.role == role)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Inspection:
        """Build it from the JSON that ``to_json`` made."""
        return cls(
            **{
                **content,
                "columns": tuple(
                    Column(**{**column, "samples": tuple(column["samples"])})
                    for column in content["columns"]
                ),
                "problems": tuple(Problem(**problem) for problem in content["problems"]),
                "notes": tuple(content["notes"]),
            }
        )


@dataclass(frozen=True)
class ColumnMapping:
    """Which column is what.

    Attributes:
        texts: One or two columns, in the order in which a backbone reads them.
        label: Column of the label.
        split: Column that says ``train``, ``dev`` or ``test``; empty: there is none.
        split_values: Value in that column to split; empty: the usual names.
        group: Column whose equal values stay in one split; empty: equal texts do.
        on_missing: What happens to rows without a text or label: refuse the file, or leave them
            out and count them.
    """

    texts: tuple[str, ...]
    label: str
    split: str = ""
    split_values: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    on_missing: OnMissing = "abort"

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ColumnMapping:
        """Build it from JSON."""
        return cls(**{**content, "texts": tuple(content["texts"])})

    @property
    def text_fields(self) -> tuple[str, ...]:
        """Names of the texts in the normalised files."""
        return ("text",) if len(self.texts) == 1 else ("text1", "text2")

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that are read."""
        named = (*self.texts, self.label, self.split, self.group)
        return tuple(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True)
class Report:
    """What became of files.

    Attributes:
        problems: First problems; with any, nothing was kept.
        num_problems: All problems that were counted.
        labels: Classes, sorted.
        counts: Split to its number of rows.
        label_counts: Split to label to number of rows.
        warnings: What a reader of results should know.
        notes: How the files were read.
        dropped: Rows left out because a text or the label was missing, a count.
        formats: Split or ``all`` to the format of its file.
        encodings: Split or ``all`` to the encoding of its file.
        digests: Stem of a normalised file to the sha256 of its bytes.
    """

    problems: tuple[Problem, ...] = ()
    num_problems: int = 0
    labels: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    label_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dropped: int = 0
    formats: Mapping[str, str] = field(default_factory=dict)
    encodings: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Report:
        """Build it from the JSON that ``to_json`` made."""
        values = dict(content)
        for name in ("labels", "warnings", "notes"):
            values[name] = tuple(values[name])
        values["problems"] = tuple(Problem(**problem) for problem in content["problems"])
        return cls(**values)


def to_json(value: Inspection | Report | ColumnMapping | Reading | Limits) -> dict[str, Any]:
    """Turn an answer or a question into plain JSON values."""
    return asdict(value)


class FileProblems(DataError):
    """A file cannot be used; carries the listed problems.

    Args:
        problems: The first ones.
        num_problems: How many were counted.
    """

    code = "bad_file"

    def __init__(self, problems: tuple[Problem, ...], num_problems: int) -> None:
        more = num_problems - len(problems)
        lines = [str(problem) for problem in problems]
        super().__init__("\n".join([*lines, f"… and {more:,} more."] if more > 0 else lines))
        self.problems = problems
        self.num_problems = num_problems


AS_FOUND = Reading()
USUAL = Limits()

Sources = Mapping[str, Path]
"""``{"train": path}`` for one file, or with ``dev`` and ``test`` beside it."""
