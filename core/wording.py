"""Words that messages of all parts have in common."""

from __future__ import annotations


def counted(number: int, word: str) -> str:
    """Write a number with its word: ``1 run``, ``1,200 runs``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
