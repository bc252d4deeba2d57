"""What is remembered of the rows of a conversion: a few bytes each, never their texts."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter

from core.data.own.model import SPLITS, Limits, OnMissing
from core.data.own.problems import Problems
from core.wording import counted


def digest(text: str) -> int:
    """Eight bytes that stand for a text, as a signed number."""
    content = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(content, "big", signed=True)


class KeptRows:
    """The rows that were written, in the order of the files.

    Attributes:
        labels: Label to its number, in the order of first use.
        splits: Number in ``SPLITS`` of each row.
        lines: Line of each row in its file.
        label_numbers: Number of each row's label.
        texts: Digest of each row's normalised texts.
        groups: Digest of each row's normalised group.
        ungrouped: Rows whose group cell was empty, a count.
    """

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.splits = array("b")
        self.lines = array("l")
        self.label_numbers = array("l")
        self.texts = array("q")
        self.groups = array("q")
        self.ungrouped = 0

    def add(self, split: str, line: int, label: str, text: int, group: int) -> None:
        """Remember one row."""
        self.splits.append(SPLITS.index(split))
        self.lines.append(line)
        self.label_numbers.append(self.labels.setdefault(label, len(self.labels)))
        self.texts.append(text)
        self.groups.append(group)

    @property
    def count(self) -> int:
        """Rows, a count."""
        return len(self.splits)

    def counts(self) -> dict[str, int]:
        """Rows of each split that has any."""
        found = Counter(self.splits)
        return {split: found[n] for n, split in enumerate(SPLITS) if found[n]}

    def label_counts(self) -> dict[str, dict[str, int]]:
        """Split to label to rows; labels sorted, all of them in each split."""
        found = Counter(zip(self.splits, self.label_numbers, strict=True))
        return {
            split: {
                label: found[SPLITS.index(split), self.labels[label]]
                for label in sorted(self.labels)
            }
            for split in self.counts()
        }


class Missing:
    """Rows without a text or a label.

    Args:
        limits: How many lines are named.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._columns: dict[str, list[int]] = {}
        self._counts: Counter[str] = Counter()
        self._last = 0
        self.rows = 0
        self.warnings: list[str] = []

    def add(self, column: str, line: int) -> None:
        """Note an empty cell; several on one line are one row."""
        self._counts[column] += 1
        lines = self._columns.setdefault(column, [])
        if len(lines) < self._limits.shown_problems:
            lines.append(line)
        self.rows += line != self._last
        self._last = line

    def close_file(self, problems: Problems, on_missing: OnMissing) -> None:
        """Turn what is missing in a file into problems, or into warnings where rows are dropped."""
        for column, lines in self._columns.items():
            count = self._counts[column]
            listed = ", ".join(f"{line:,}" for line in lines)
            more = ", …" if count > len(lines) else ""
            where = counted(count, problems.unit)
            what = f"no value in column '{column}' on {where}: {listed}{more}"
            if on_missing == "abort":
                problems.add(f"{what}.", lines[0], "Fill them in, or have such rows left out.")
            else:
                self.warnings.append(f"{problems.file}: left out, {what}")
        self._columns, self._counts, self._last = {}, Counter(), 0
