"""Words that messages of all parts have in common."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal


def counted(number: int, word: str) -> str:
    """Write a number with its word: ``1 run``, ``1,200 runs``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without a full stop; else its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def percent(share: float, *, none: str = "–", with_sign: bool = False) -> str:
    """Write a share in percent with one decimal, halves away from 0 as the pages' script does.

    Args:
        share: From 0 to 1, or a difference of such.
        none: What stands for a number that is none.
        with_sign: Write + before what is above 0 when rounded.
    """
    if not math.isfinite(share):
        return none
    # Adding 0 takes the sign off a zero.
    rounded = Decimal(100 * share).quantize(Decimal("0.1"), ROUND_HALF_UP) + 0
    return f"{rounded:{'+' if with_sign and rounded else ''}}"
