"""Cutting train: by group, stratified by label, independent of the file's order."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.data.examples import Example, normalised

SMALLEST_SHARE = 0.1
LARGEST_SHARE = 0.3
WANTED_EXAMPLES = 32
CLASS_IS_LARGE_ENOUGH = 5
TEST_SHARE = 0.2
NUM_FOLDS = 5
CLOSE_ENOUGH = 0.005
MOST_EXCHANGES = 32
MOST_TO_DROP = 64
MOST_TO_ADD = 512

Cut = tuple[tuple[Example, ...], tuple[Example, ...]]
LabelCounts = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Families:
    """Examples that must stay in one split, because they share a group or a text.

    Attributes:
        names: Name of each family: the smallest group of its examples.
        members: Indices of each family's examples, ascending.
        labels: Pairs (label, examples of it) of each family, by label.
        totals: Examples of each label over all families.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    labels: tuple[LabelCounts, ...]
    totals: Mapping[int, int]

    @property
    def num_examples(self) -> int:
        """Examples of all families, a count."""
        return sum(self.totals.values())

    def of_examples(self) -> list[str]:
        """Name of each example's family, by the example's index."""
        names = [""] * self.num_examples
        for name, members in zip(self.names, self.members, strict=True):
            for index in members:
                names[index] = name
        return names

    def ordered(self, task: str, salt: str) -> list[int]:
        """Numbers of the families by a digest of task and name."""
        prefix = f"{salt}{task}\x1f"
        digests = [hashlib.sha256(f"{prefix}{name}".encode()).digest() for name in self.names]
        return sorted(range(len(digests)), key=digests.__getitem__)


def find_families(examples: Sequence[Example]) -> Families:
    """Join examples that share a group or a text, directly or through others; found once."""
    return _families(tuple(examples))


@lru_cache(maxsize=8)
def _families(examples: tuple[Example, ...]) -> Families:
    parent = list(range(len(examples)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_of_group: dict[str, int] = {}
    first_of_text: dict[str, int] = {}
    for index, (example, text) in enumerate(zip(examples, _text_keys(examples), strict=True)):
        for first_seen, key in ((first_of_group, example.group), (first_of_text, text)):
            other = first_seen.setdefault(key, index)
            if other != index:
                parent[root(index)] = root(other)
    found: dict[int, list[int]] = defaultdict(list)
    for index in range(len(examples)):
        found[root(index)].append(index)
    strata = _strata(examples)
    named = sorted((min(examples[i].group for i in members), members) for members in found.values())
    return Families(
        names=tuple(name for name, _ in named),
        members=tuple(tuple(members) for _, members in named),
        labels=tuple(
            tuple(sorted(Counter(strata[i] for i in members).items())) for _, members in named
        ),
        totals=Counter(strata),
    )


def _text_keys(examples: Sequence[Example]) -> list[str]:
    """Normalised texts of all examples; what many share is normalised once.

    What a person would type counts where it is known, so that every template gives the same cut.
    """
    known: dict[str, str] = {}

    def key(segment: str) -> str:
        if segment not in known:
            known[segment] = normalised(segment)
        return known[segment]

    return [
        "\x1e".join("\x1f".join(map(key, row)) for row in ((e.typed,) if e.typed else e.rows))
        for e in examples
    ]


def _strata(examples: Sequence[Example]) -> list[int]:
    """Label of each example; where choices vary in number their places mean nothing."""
    if len({len(example.choices) for example in examples}) > 1:
        return [0] * len(examples)
    return [example.label for example in examples]


def dev_share(num_train: int) -> float:
    """Share of train that becomes dev: a tenth, more for small sets, never over 0.3."""
    return min(max(SMALLEST_SHARE, WANTED_EXAMPLES / num_train), LARGEST_SHARE)


def cut_dev(examples: Sequence[Example], task: str, *, salt: str = "") -> Cut:
    """Cut dev from the training examples.

    Families of examples (same group or same text) are ordered by a digest of task and group, and
    taken into dev in that order as long as no class exceeds its share; then classes of at least
    five examples that are missing are brought in, and single families are traded until the shares
    are near. No class leaves train.

    Args:
        examples: All training examples.
        task: Name of the task, part of the digest.
        salt: Changes the order; for tests.

    Returns:
        (train, dev), both in the order of the file.
    """
    return _cut(examples, task, salt, dev_share(max(1, len(examples))))


def cut_test(examples: Sequence[Example], task: str, *, salt: str = "") -> Cut:
    """Cut a fifth from the examples as test, by the rules of ``cut_dev``.

    Returns:
        (rest, test), both in the order of the file.
    """
    return _cut(examples, task, salt, TEST_SHARE)


def folds(examples: Sequence[Example], task: str, *, salt: str = "") -> tuple[tuple[int, ...], ...]:
    """Deal the examples to five folds, whole families, each label as evenly as they allow.

    The largest families are dealt first; equal ones in the order of a digest of task and group.

    Args:
        examples: All training examples.
        task: Name of the task, part of the digest.
        salt: Changes the order; for tests.

    Returns:
        Five disjoint tuples of indices, ascending, together all examples; a fold is empty when
        there are fewer families than folds.
    """
    families = find_families(examples)
    order = families.ordered(task, salt)
    order.sort(key=lambda number: -len(families.members[number]))
    counts: list[Counter[int]] = [Counter() for _ in range(NUM_FOLDS)]
    sizes = [0] * NUM_FOLDS
    dealt: list[list[int]] = [[] for _ in range(NUM_FOLDS)]
    for number in order:
        labels = families.labels[number]

        def crowding(fold: int, labels: LabelCounts = labels) -> tuple[float, int, int]:
            # Growth of the sum of squared shares: least where these labels are rarest so far.
            grown = sum(
                count * (2 * counts[fold][label] + count) / families.totals[label]
                for label, count in labels
            )
            return grown, sizes[fold], fold

        best = min(range(NUM_FOLDS), key=crowding)
        counts[best].update(dict(labels))
        sizes[best] += len(families.members[number])
        dealt[best] += families.members[number]
    return tuple(tuple(sorted(members)) for members in dealt)


def cut_fold(examples: Sequence[Example], task: str, fold: int) -> Cut:
    """Take one of the five folds of train as dev.

    Returns:
        (train, dev), both in the order of the file.
    """
    return _parts(examples, folds(examples, task)[fold])


def _parts(examples: Sequence[Example], taken: Sequence[int]) -> Cut:
    chosen = set(taken)
    rest = tuple(e for i, e in enumerate(examples) if i not in chosen)
    return rest, tuple(e for i, e in enumerate(examples) if i in chosen)


def _cut(examples: Sequence[Example], task: str, salt: str, share: float) -> Cut:
    families = find_families(examples)
    cut = _Cutting(families, _wanted(families.totals, share))
    order = families.ordered(task, salt)
    cut.take_what_fits(order)
    cut.take_missing_classes(order)
    cut.exchange(order)
    if not cut.taken and cut.can_take(order):
        cut.take(cut.nearest(cut.can_take(order)))
    return _parts(examples, [i for number in cut.taken for i in families.members[number]])


def _wanted(totals: Mapping[int, int], share: float) -> dict[int, int]:
    """Examples of each label that a cut should have; they add up to the share of all examples."""
    shares = {label: share * count for label, count in totals.items()}
    wanted = {label: math.floor(part) for label, part in shares.items()}
    missing = round(share * sum(totals.values())) - sum(wanted.values())
    by_rest = sorted(shares, key=lambda label: (wanted[label] - shares[label], label))
    for label in by_rest[:missing]:
        wanted[label] += 1
    return wanted


class _Cutting:
    """Families taken so far, and how far their labels are from what is wanted."""

    def __init__(self, families: Families, wanted: Mapping[int, int]) -> None:
        self.families = families
        self.wanted = wanted
        self.taken: set[int] = set()
        self.counts: Counter[int] = Counter()

    def take(self, number: int) -> None:
        self.taken.add(number)
        self.counts.update(dict(self.families.labels[number]))

    def growth(self, number: int) -> int:
        """Change of the distance to what is wanted, in examples, if a family were taken."""
        return sum(
            abs(self.counts[label] + count - self.wanted[label])
            - abs(self.counts[label] - self.wanted[label])
            for label, count in self.families.labels[number]
        )

    def can_take(self, order: Sequence[int]) -> list[int]:
        """Families whose taking leaves every class in train."""
        return [number for number in order if number not in self.taken and self._leaves(number)]

    def _leaves(self, number: int) -> bool:
        return all(
            self.counts[label] + count < self.families.totals[label]
            for label, count in self.families.labels[number]
        )

    def nearest(self, numbers: Sequence[int]) -> int:
        """The family that leaves the smallest distance; the first of equal ones."""
        return min(numbers, key=self.growth)

    def take_what_fits(self, order: Sequence[int]) -> None:
        counts, wanted = self.counts, self.wanted
        for number in order:
            if all(
                counts[label] + count <= wanted[label]
                for label, count in self.families.labels[number]
            ) and self._leaves(number):
                self.take(number)

    def take_missing_classes(self, order: Sequence[int]) -> None:
        """Bring in large enough classes that none of the taken families has, rarest first."""
        totals = self.families.totals
        for label in sorted(totals, key=lambda label: (totals[label], label)):
            if totals[label] < CLASS_IS_LARGE_ENOUGH or self.counts[label]:
                continue
            holders = [n for n in order if any(at == label for at, _ in self.families.labels[n])]
            possible = self.can_take(holders)
            if possible:
                self.take(self.nearest(possible))

    def exchange(self, order: Sequence[int]) -> None:
        """Trade single families while a label is more than half a point of the cut away."""
        allowed = CLOSE_ENOUGH * sum(self.wanted.values())
        for _ in range(MOST_EXCHANGES):
            if all(abs(self.counts[at] - self.wanted[at]) <= allowed for at in self.wanted):
                return
            drops = [number for number in order if number in self.taken][-MOST_TO_DROP:]
            adds = [number for number in order if number not in self.taken][:MOST_TO_ADD]
            best = self._best_exchange(drops, adds)
            if best is None:
                return
            drop, add = best
            if drop is not None:
                self.taken.remove(drop)
                self.counts.subtract(dict(self.families.labels[drop]))
            if add is not None:
                self.take(add)

    def _best_exchange(
        self, drops: Sequence[int], adds: Sequence[int]
    ) -> tuple[int | None, int | None] | None:
        """Find what to drop and what to add (None: nothing) to come nearest; None: no gain."""
        columns = {label: place for place, label in enumerate(sorted(self.wanted))}
        added = self._table(adds, columns)
        now, wanted, totals = (
            np.array([counts[label] for label in columns])
            for counts in (self.counts, self.wanted, self.families.totals)
        )
        # A large enough class that is in stays in, and no class leaves train.
        least = np.minimum(now, totals >= CLASS_IS_LARGE_ENOUGH)
        nearest, best = np.abs(now - wanted).sum(), None
        for drop, dropped in enumerate(self._table(drops, columns)):
            after = now - dropped + added
            distance = np.abs(after - wanted).sum(axis=1)
            distance[((after < least) | (after >= totals)).any(axis=1)] = nearest
            add = int(distance.argmin())
            if distance[add] < nearest:
                nearest = distance[add]
                best = (
                    drops[drop] if drop < len(drops) else None,
                    adds[add] if add < len(adds) else None,
                )
        return best

    def _table(self, numbers: Sequence[int], columns: Mapping[int, int]) -> NDArray[np.int64]:
        """Label counts of families, and a row of zeros; shape (families + 1, labels)."""
        table = np.zeros((len(numbers) + 1, len(columns)), np.int64)
        for row, number in enumerate(numbers):
            for label, count in self.families.labels[number]:
                table[row, columns[label]] = count
        return table
