"""What texts must be so that runs can classify them."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import InputError
from core.wording import counted

MOST_CHARACTERS = 20_000
MOST_TEXTS = 8


def check_texts(texts: Sequence[str], names: Sequence[str] = ()) -> None:
    """Refuse input that no run can answer.

    Args:
        texts: Typed texts of one input, in order.
        names: Names of the texts that are expected, in order; empty: not known yet.

    Raises:
        InputError: If a text is empty or much too long, or there are none or too many.
    """
    if names and len(texts) != len(names):
        raise InputError(f"{counted(len(texts), 'text')} given; {expected(names)}.", hint=QUOTES)
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise InputError(
            f"{counted(len(texts), 'text')} given; an input has 1 to {MOST_TEXTS}.", hint=QUOTES
        )
    for number, text in enumerate(texts):
        which = _which(number, texts, names)
        if not text.strip():
            raise InputError(f"{which} is empty.", hint="Give a sentence.")
        if len(text) > MOST_CHARACTERS:
            raise InputError(
                f"{which} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are taken.",
                hint="Shorten it; a backbone reads only its first few hundred tokens anyway.",
            )


QUOTES = "On a command line, put quotes round each."


def expected(names: Sequence[str]) -> str:
    """Say which texts are expected: ``expected are 2: premise, hypothesis``."""
    return f"expected {'is' if len(names) == 1 else 'are'} {len(names)}: {', '.join(names)}"


def _which(number: int, texts: Sequence[str], names: Sequence[str]) -> str:
    if len(texts) == 1:
        return "The text"
    return f"'{names[number]}'" if names else f"Text {number + 1}"
