"""What is decided when all rows were read: labels, splits, the cut of test, and warnings."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.examples import Example
from core.data.own.model import SPLITS, STEMS, ColumnMapping, Limits
from core.data.own.problems import Problems
from core.data.own.rows import KeptRows, Missing
from core.data.splits import cut_test
from core.wording import counted

TRAIN, DEV, TEST = range(3)
PAIRS = ((TRAIN, TEST), (TRAIN, DEV), (DEV, TEST))
CUT = "own"


def check_labels(
    rows: KeptRows, mapping: ColumnMapping, limits: Limits, problems: Problems
) -> None:
    """Add a problem where labels cannot be learned."""
    column, count = mapping.label, len(rows.labels)
    if count > limits.labels:
        problems.add(
            f"{count:,} different labels in column '{column}': is this the label column?",
            hint=f"At most {limits.labels} are taken.",
        )
    elif count == 1 and not problems.count:
        problems.add(
            f"only label '{next(iter(rows.labels))}' in column '{column}'; a task needs at least "
            "two.",
            hint="Choose another column, or give more rows.",
        )
    elif not count and not problems.count:
        problems.add("no row is left.", hint="Every row lacks a text or its label.")


def check_splits(rows: KeptRows, mapping: ColumnMapping, problems: Problems) -> None:
    """Add a problem where a split that must hold rows has none."""
    counts = rows.counts()
    if problems.count or not mapping.split:
        return
    told = ", ".join(f"{split} {counts.get(split, 0):,}" for split in SPLITS)
    expected = {"train", *mapping.split_values.values()}
    for split in SPLITS:
        if split in expected and split not in counts:
            problems.add(
                f"no row of split {split} by column '{mapping.split}' ({told}).",
                hint="Choose another column for the split, or none.",
            )


def cut_rows(rows: KeptRows, folder: Path, problems: Problems) -> None:
    """Move a fifth of train to test: whole groups, labels in their shares.

    Raises:
        Stopped: If the rows are too few, or all in one group.
    """
    # Numbers in the order of the labels: the cut must not depend on which row comes first.
    order = {rows.labels[label]: place for place, label in enumerate(sorted(rows.labels))}
    examples = [
        Example(rows=((f"{text:x}",),), label=order[label], group=f"{group:x}", id=str(index))
        for index, (text, group, label) in enumerate(
            zip(rows.texts, rows.groups, rows.label_numbers, strict=True)
        )
    ]
    rest, test = cut_test(examples, CUT)
    if not rest or not test:
        problems.refuse(
            f"no test can be cut from {counted(rows.count, 'row')} in "
            f"{counted(len(set(rows.groups)), 'group')} ({len(rest):,} and "
            f"{len(test):,} would result).",
            hint="Give more rows, or a file for test.",
        )
    for example in test:
        rows.splits[int(example.id)] = TEST
    whole = folder / "whole.jsonl"
    (folder / f"{STEMS['train']}.jsonl").replace(whole)
    with (
        whole.open("rb") as source,
        (folder / f"{STEMS['train']}.jsonl").open("wb") as kept,
        (folder / f"{STEMS['test']}.jsonl").open("wb") as cut,
    ):
        for split, line in zip(rows.splits, source, strict=True):
            (cut if split == TEST else kept).write(line)
    whole.unlink()


def file_digests(folder: Path) -> dict[str, str]:
    """Sha256 of every normalised file, by stem."""
    found: dict[str, str] = {}
    for stem in STEMS.values():
        path = folder / f"{stem}.jsonl"
        if path.is_file():
            with path.open("rb") as stream:
                found[stem] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def warnings_of(
    rows: KeptRows,
    mapping: ColumnMapping,
    limits: Limits,
    names: Mapping[str, str],
    missing: Missing,
) -> tuple[str, ...]:
    """What a reader of results should know; every kind of remark once."""
    found = list(missing.warnings)
    if len(rows.labels) > limits.many_labels:
        found.append(f"{len(rows.labels)} different labels in column '{mapping.label}'")
    found += _similar_labels(rows)
    found += _absent_labels(rows)
    if rows.ungrouped:
        found.append(
            f"no value in column '{mapping.group}' on {counted(rows.ungrouped, 'row')}; "
            "each such row is a group of its own"
        )
    repeats = _Repeats(rows, names)
    return (*found, *repeats.warnings(), *(repeats.divided_groups() if mapping.group else ()))


def _similar_labels(rows: KeptRows) -> list[str]:
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(rows.labels):
        alike[" ".join(label.casefold().split())].append(label)
    return [
        f"labels {' and '.join(repr(label) for label in labels)} differ only in case or blanks"
        for labels in alike.values()
        if len(labels) > 1
    ]


def _absent_labels(rows: KeptRows) -> list[str]:
    found = []
    for split, counts in rows.label_counts().items():
        absent = [label for label, count in counts.items() if not count]
        if absent:
            listed = ", ".join(f"'{label}'" for label in absent[:5])
            more = ", …" if len(absent) > 5 else ""
            found.append(f"{split} has no example of {listed}{more}")
    return found


class _Repeats:
    """Equal texts within a split, across splits, and with different labels; divided groups."""

    def __init__(self, rows: KeptRows, names: Mapping[str, str]) -> None:
        self._names = names
        self._texts = np.frombuffer(rows.texts, dtype=np.int64)
        self._groups = np.frombuffer(rows.groups, dtype=np.int64)
        self._splits = np.frombuffer(rows.splits, dtype=np.int8)
        self._labels = np.frombuffer(rows.label_numbers, dtype=np.dtype("l"))
        self._lines = rows.lines

    def warnings(self) -> list[str]:
        """Count each kind, with an example."""
        return [
            *self._repeated(),
            *self._contradicting(),
            *(told for one, other in PAIRS for told in self._overlapping(one, other)),
        ]

    def divided_groups(self) -> list[str]:
        """Count groups that stand in two splits, with an example; a cut by group makes none."""
        return [told for one, other in PAIRS for told in self._divided(one, other)]

    def _place(self, index: int) -> str:
        split = SPLITS[self._splits[index]]
        name = self._names.get(split) if len(self._names) > 1 else ""
        return f"{self._lines[index]:,}" + (f" of {name}" if name else "")

    def _example(self, one: int, other: int) -> str:
        return f"(for example lines {self._place(one)} and {self._place(other)})"

    def _repeated(self) -> list[str]:
        found = []
        for number, split in enumerate(SPLITS):
            members = np.flatnonzero(self._splits == number)
            _, first, inverse = np.unique(
                self._texts[members], return_index=True, return_inverse=True
            )
            extra = len(members) - len(first)
            if extra:
                again = np.ones(len(members), dtype=bool)
                again[first] = False
                example = int(np.flatnonzero(again)[0])
                pair = (members[first[inverse[example]]], members[example])
                found.append(
                    f"{counted(extra, 'row')} of {split} with the text of another row "
                    f"there {self._example(int(pair[0]), int(pair[1]))}"
                )
        return found

    def _contradicting(self) -> list[str]:
        order = np.argsort(self._texts, kind="stable")
        texts, labels = self._texts[order], self._labels[order]
        differ = (texts[1:] == texts[:-1]) & (labels[1:] != labels[:-1])
        places = np.flatnonzero(differ)
        if not len(places):
            return []
        one, other = int(order[places[0]]), int(order[places[0] + 1])
        return [
            f"{counted(len(np.unique(texts[places])), 'text')} with different labels "
            f"{self._example(one, other)}"
        ]

    def _overlapping(self, one: int, other: int) -> list[str]:
        left, right = self._of(one), self._of(other)
        shared = np.isin(self._texts[right], self._texts[left])
        if not shared.any():
            return []
        return [
            f"{int(shared.sum()):,} of {counted(len(right), 'text')} of {SPLITS[other]} "
            f"also in {SPLITS[one]} {self._twins(self._texts, left, right[shared])}"
        ]

    def _divided(self, one: int, other: int) -> list[str]:
        # A row without a group is its own: of its text is told already.
        is_named = self._groups != self._texts
        left, right = (members[is_named[members]] for members in (self._of(one), self._of(other)))
        shared = np.isin(self._groups[right], self._groups[left])
        if not shared.any():
            return []
        count = len(np.unique(self._groups[right[shared]]))
        groups = counted(len(np.unique(self._groups[right])), "group")
        return [
            f"{count:,} of {groups} of {SPLITS[other]} also in {SPLITS[one]} "
            f"{self._twins(self._groups, left, right[shared])}"
        ]

    def _twins(
        self, keys: NDArray[np.int64], left: NDArray[np.intp], right: NDArray[np.intp]
    ) -> str:
        """Name the first row of one split, and the first of another split that equals it."""
        example = right[0]
        return self._example(
            int(example), int(left[np.flatnonzero(keys[left] == keys[example])[0]])
        )

    def _of(self, split: int) -> NDArray[np.intp]:
        return np.flatnonzero(self._splits == split)
