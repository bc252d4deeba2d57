"""Order-independent draws: an example's rank is a digest of the seed and its key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


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
