"""Cutting dev from train: by group, stratified by label, independent of the file's order."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from core.data.examples import Example

SMALLEST_SHARE = 0.1
LARGEST_SHARE = 0.3
WANTED_EXAMPLES = 32
CLASS_IS_LARGE_ENOUGH = 5


def dev_share(num_train: int) -> float:
    """Share of train that becomes dev: a tenth, more for small sets, never over 0.3."""
    return min(max(SMALLEST_SHARE, WANTED_EXAMPLES / num_train), LARGEST_SHARE)


def _families(examples: Sequence[Example]) -> list[list[int]]:
    """Join examples that share a group or a text, directly or through others."""
    parent = list(range(len(examples)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_seen: dict[tuple[str, str], int] = {}
    for index, example in enumerate(examples):
        for key in (("group", example.group), ("text", example.text_key)):
            other = first_seen.setdefault(key, index)
            parent[root(index)] = root(other)
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(examples)):
        members[root(index)].append(index)
    return list(members.values())


def cut_dev(
    examples: Sequence[Example], task: str, *, salt: str = ""
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Cut dev from the training examples.

    Families of examples (same group or same text) are ordered by a digest of task and group, and
    taken into dev in that order as long as no class exceeds its share; a second pass fills classes
    that would otherwise stay short.

    Args:
        examples: All training examples.
        task: Name of the task, part of the digest.
        salt: Changes the order; for tests.

    Returns:
        (train, dev), both in the order of the file.
    """
    share = dev_share(len(examples))
    counts = Counter(example.label for example in examples)
    wanted = {
        label: max(round(share * count), 1 if count >= CLASS_IS_LARGE_ENOUGH else 0)
        for label, count in counts.items()
    }

    def digest(family: list[int]) -> str:
        group = min(examples[index].group for index in family)
        return hashlib.sha256(f"{salt}{task}\x1f{group}".encode()).hexdigest()

    families = sorted(_families(examples), key=digest)
    label_counts = [Counter(examples[i].label for i in family) for family in families]
    taken: Counter[int] = Counter()
    dev_families: set[int] = set()
    for number, labels in enumerate(label_counts):
        if all(taken[label] + count <= wanted[label] for label, count in labels.items()):
            dev_families.add(number)
            taken.update(labels)
    for label in sorted(wanted):
        # Only families of several examples are left over; take the smallest that fills the gap.
        while taken[label] < wanted[label]:
            rest = [
                (sum(labels.values()), number)
                for number, labels in enumerate(label_counts)
                if number not in dev_families and labels[label]
            ]
            if not rest or taken[label] > 0 and rest[0][0] > wanted[label] - taken[label]:
                break
            number = min(rest)[1]
            dev_families.add(number)
            taken.update(label_counts[number])
    in_dev = {index for number in dev_families for index in families[number]}
    train = tuple(e for i, e in enumerate(examples) if i not in in_dev)
    dev = tuple(e for i, e in enumerate(examples) if i in in_dev)
    return train, dev
