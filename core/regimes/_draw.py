"""Order-independent draws: an example's rank is a digest of the seed and its key."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from core.regimes._config import Candidates


def ranked(indices: Sequence[int], keys: Sequence[str], seed: int, site: str) -> list[int]:
    """Order examples by sha256 of (seed, site, key): a shuffle that the file's order can't change.

    Args:
        indices: Examples to order.
        keys: Stable key of every example, by index.
        seed: Seed of the draw.
        site: What the draw is for, so that two draws with one seed differ.
    """

    def rank(index: int) -> str:
        return hashlib.sha256(f"{seed}|{site}|{keys[index]}".encode()).hexdigest()

    return sorted(indices, key=rank)


def ranked_groups(candidates: Candidates, seed: int, site: str) -> list[list[int]]:
    """Shuffle the groups, and the examples within each, whatever the order of the file.

    Returns:
        Indices of each group's examples.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(candidates.groups):
        members.setdefault(group, []).append(index)
    names = list(members)
    return [
        ranked(members[names[place]], candidates.keys, seed, site)
        for place in ranked(range(len(names)), names, seed, site)
    ]


def one_of_each(groups: Sequence[Sequence[int]], wanted: Collection[int]) -> list[int]:
    """Order examples so that any first few of them come from as many groups as possible.

    Args:
        groups: Indices of each group's examples.
        wanted: Examples to order; the others are left out.
    """
    places = [
        (place, number, index)
        for number, members in enumerate(groups)
        for place, index in enumerate(index for index in members if index in wanted)
    ]
    return [index for _, _, index in sorted(places)]
