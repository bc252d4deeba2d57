"""From files to normalised JSONL: texts, label and group under fixed names, split by split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from core.data.examples import normalised
from core.data.own.delimited import NO_HEADER_HINT, no_header
from core.data.own.guess import split_of
from core.data.own.model import (
    AS_FOUND,
    SPLITS,
    STEMS,
    USUAL,
    ColumnMapping,
    Limits,
    Reading,
    Report,
    Sources,
)
from core.data.own.opening import count_rows, open_table
from core.data.own.problems import Problems, Stopped
from core.data.own.rows import KeptRows, Missing, digest
from core.data.own.settle import check_labels, check_splits, cut_rows, file_digests, warnings_of
from core.data.own.table import Cell, Table, Unusable

_quoted = json.JSONEncoder(ensure_ascii=False).encode


def check_mapping(sources: Sources, mapping: ColumnMapping, problems: Problems) -> None:
    """Refuse a mapping that contradicts itself.

    Raises:
        Stopped: If it does.
    """
    if not 1 <= len(mapping.texts) <= 2:
        problems.refuse(f"{len(mapping.texts)} text columns are named; one or two are taken.")
    if not all(mapping.texts):
        problems.refuse("a text column has no name.", hint="Choose the column of the text.")
    if not mapping.label:
        problems.refuse("no label column is named.", hint="Choose the column of the labels.")
    roles = [*mapping.texts, mapping.label, *([mapping.split] if mapping.split else [])]
    roles += [mapping.group] if mapping.group not in ("", *mapping.texts) else []
    doubled = [name for name in roles if roles.count(name) > 1]
    if doubled:
        problems.refuse(
            f"column '{doubled[0]}' is chosen twice.", hint="Choose another for one of them."
        )
    if "train" not in sources or set(sources) - set(SPLITS):
        problems.refuse("a file for train is needed; the others may be dev and test.")
    if mapping.split and len(sources) > 1:
        problems.refuse(
            f"several files are given and column '{mapping.split}' names splits too.",
            hint="Give one file, or leave the split column out.",
        )
    unknown = sorted(set(mapping.split_values.values()) - set(SPLITS))
    if unknown:
        problems.refuse(f"'{unknown[0]}' is no split.", hint="Splits are train, dev and test.")


class Conversion:
    """One conversion of files, from their rows to a report.

    Args:
        mapping: Which column is what.
        folder: Where normalised files go.
        reading: How files are to be read.
        limits: What they may hold.
    """

    def __init__(
        self, mapping: ColumnMapping, folder: Path, reading: Reading, limits: Limits
    ) -> None:
        self._mapping = mapping
        self._used = mapping.used
        self._folder = folder
        self._reading = reading
        self._limits = limits
        self._written = 0
        self._streams: dict[str, BinaryIO] = {}
        self._tables: dict[str, Table] = {}
        self._seen_columns: set[str] = set()
        self.problems = Problems(limits)
        self.missing = Missing(limits)
        self.rows = KeptRows()

    def read(self, split: str, path: Path, name: str) -> None:
        """Read one file and write its normalised rows.

        Args:
            split: Split of its rows where no column says it.
            path: The file.
            name: Its name for messages.

        Raises:
            Stopped: If it cannot be used.
        """
        problems = self.problems
        problems.file = name
        table = open_table(path, self._reading, self._limits, problems, self._used)
        self._tables[split] = table
        self._check_columns(table)
        first = self.rows.count
        num_rows = 0
        try:
            for line, cells in table.rows:
                num_rows += 1
                count_rows(first + num_rows, self._limits, problems)
                self._take(split, line, cells)
        except Stopped:
            self._check_seen(table)
            raise
        self._check_seen(table)
        if not num_rows and not problems.count:
            problems.refuse("holds no rows.", hint="Check the export.")
        self.missing.close_file(problems, self._mapping.on_missing)

    def close(self) -> None:
        """Close the written files."""
        for stream in self._streams.values():
            stream.close()

    def told(self) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
        """Formats and encodings by split, and notes on how files were read."""
        names = {split: "all" if self._mapping.split else split for split in self._tables}
        notes = dict.fromkeys(note for table in self._tables.values() for note in table.notes)
        return (
            {names[split]: table.format for split, table in self._tables.items()},
            {names[split]: table.encoding for split, table in self._tables.items()},
            tuple(notes),
        )

    def has_header(self) -> bool:
        """Tell whether column names stand on a line of the files."""
        return any(table.delimiter for table in self._tables.values())

    def _check_columns(self, table: Table) -> None:
        for name in self._used:
            if table.format != "jsonl" and name not in table.columns:
                self._refuse_column(name, table)
            if name in table.refused:
                self.problems.refuse(
                    f"column '{name}' {table.refused[name]}.", hint="Choose another column."
                )

    def _check_seen(self, table: Table) -> None:
        """Of JSONL the keys are known only now; a key that never occurs explains all the rest."""
        if table.format != "jsonl" or not table.columns:
            return
        for name in self._used:
            if name not in table.columns:
                self._refuse_column(name, table)

    def _refuse_column(self, name: str, table: Table) -> None:
        there = ", ".join(f"'{column}'" for column in table.columns[:20])
        self.problems.refuse(
            f"there is no column '{name}'; the file has {there}.", hint="Choose one of these."
        )

    def _take(self, split: str, line: int, cells: Mapping[str, Cell]) -> None:
        """Check one row and write it."""
        mapping, problems = self._mapping, self.problems
        values: dict[str, str] = {}
        for name in self._used:
            cell = cells.get(name)
            if isinstance(cell, Unusable):
                problems.add(
                    f"column '{name}' holds {cell.what}.", line, "Only texts and numbers are taken."
                )
                return
            values[name] = cell or ""
        empty = [name for name in (*mapping.texts, mapping.label) if not values[name].strip()]
        if empty:
            for name in empty:
                self.missing.add(name, line)
            return
        if self._is_too_long(values, line):
            return
        split = self._split(values[mapping.split], line) if mapping.split else split
        if split:
            self._write(split, line, values)

    def _is_too_long(self, values: Mapping[str, str], line: int) -> bool:
        for name in self._mapping.texts:
            length = len(values[name])
            if length > self._limits.text_characters:
                self.problems.add(
                    f"the text in column '{name}' has {length:,} characters, at most "
                    f"{self._limits.text_characters:,} are taken.",
                    line,
                    "Shorten it; a backbone reads only its beginning anyway.",
                )
                return True
        label = values[self._mapping.label]
        if len(label) > self._limits.label_characters:
            self.problems.add(
                f"the label in column '{self._mapping.label}' has {len(label):,} characters.",
                line,
                "Is this the label column?",
            )
            return True
        return False

    def _split(self, value: str, line: int) -> str:
        known = self._mapping.split_values
        split = known.get(value, "") if known else split_of(value)
        if not split:
            what = f"the value '{value[:80]}'" if value.strip() else "no value"
            self.problems.add(
                f"{what} in column '{self._mapping.split}'; it names no split.",
                line,
                "Say which value means train, dev and test.",
            )
        return split

    def _write(self, split: str, line: int, values: Mapping[str, str]) -> None:
        mapping = self._mapping
        texts = [values[name] for name in mapping.texts]
        label = values[mapping.label]
        row = dict(zip(mapping.text_fields, texts, strict=True))
        row["label"] = label
        text_digest = digest("\x1f".join(map(normalised, texts)))
        group_digest = text_digest
        if mapping.group:
            group = values[mapping.group].strip()
            if not group:
                self.rows.ungrouped += 1
            row["group"] = group or "\n".join(texts)
            group_digest = digest(normalised(row["group"]))
        fields = ", ".join(f'"{field}": {_quoted(value)}' for field, value in row.items())
        content = f"{{{fields}}}\n".encode()
        self._written += len(content)
        if self._written > self._limits.output_bytes:
            self.problems.refuse(
                f"the texts take more than {self._limits.output_bytes:,} bytes.",
                line,
                "Take a part of the file.",
            )
        if split not in self._streams:
            path = self._folder / f"{STEMS[split]}.jsonl"
            self._streams[split] = path.open("wb")
        self._streams[split].write(content)
        self.rows.add(split, line, label, text_digest, group_digest)
        if len(self.rows.labels) > self._limits.counted_values:
            self._refuse_labels()

    def _refuse_labels(self) -> None:
        self.problems.refuse(
            f"more than {self._limits.counted_values:,} different labels in column "
            f"'{self._mapping.label}': is this the label column?",
            hint=f"At most {self._limits.labels} are taken.",
        )


def convert(
    sources: Sources,
    mapping: ColumnMapping,
    folder: Path,
    reading: Reading = AS_FOUND,
    limits: Limits = USUAL,
    *,
    names: Mapping[str, str] | None = None,
    before_cut: Callable[[], None] = lambda: None,
) -> Report:
    """Write normalised files of people's files, in this process.

    Args:
        sources: Files by split; one file alone is ``train``.
        mapping: Which column is what.
        folder: Existing folder for ``train.jsonl``, ``val.jsonl`` and ``test.jsonl``.
        reading: How files are to be read.
        limits: What they may hold.
        names: Names of the files for messages, by split.
        before_cut: Called before test is cut from rows that were all found good.

    Returns:
        The report; with problems nothing is left in the folder.
    """
    conversion = Conversion(mapping, folder, reading, limits)
    try:
        report = _converted(conversion, sources, mapping, folder, limits, names or {}, before_cut)
    except Stopped:
        report = Report(problems=conversion.problems.shown, num_problems=conversion.problems.count)
    finally:
        conversion.close()
    if report.problems:
        for stem in STEMS.values():
            (folder / f"{stem}.jsonl").unlink(missing_ok=True)
    return report


def _converted(
    conversion: Conversion,
    sources: Sources,
    mapping: ColumnMapping,
    folder: Path,
    limits: Limits,
    names: Mapping[str, str],
    before_cut: Callable[[], None],
) -> Report:
    problems, rows = conversion.problems, conversion.rows
    check_mapping(sources, mapping, problems)
    called = {split: names.get(split) or path.name for split, path in sources.items()}
    for split in SPLITS:
        if split in sources:
            conversion.read(split, sources[split], called[split])
    conversion.close()
    problems.file = called["train"] if len(sources) == 1 else ""
    check_labels(rows, mapping, limits, problems)
    if conversion.has_header() and mapping.label in rows.labels:
        problems.add(no_header(mapping.label), 1, NO_HEADER_HINT)
    check_splits(rows, mapping, problems)
    if problems.count:
        raise Stopped
    formats, encodings, notes = conversion.told()
    if set(rows.counts()) == {"train"}:
        before_cut()
        cut_rows(rows, folder, problems)
        by_group = "by group, " if mapping.group else ""
        notes = (*notes, f"test is cut from the file: a fifth, {by_group}stratified by label")
    return Report(
        labels=tuple(sorted(rows.labels)),
        counts=rows.counts(),
        label_counts=rows.label_counts(),
        warnings=warnings_of(rows, mapping, limits, called, conversion.missing),
        notes=notes,
        dropped=conversion.missing.rows,
        formats=formats,
        encodings=encodings,
        digests=file_digests(folder),
    )
