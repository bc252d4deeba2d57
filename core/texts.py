"""What a text must be so that runs can classify it."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import InputError

MOST_CHARACTERS = 20_000
MOST_TEXTS = 2


def check_texts(texts: Sequence[str]) -> None:
    """Refuse input that no run can answer.

    Raises:
        InputError: If a text is empty or much too long, or there are none or too many.
    """
    if not 1 <= len(texts) <= MOST_TEXTS:
        raise InputError(
            f"{len(texts)} texts given; an input has one or two.",
            hint="On a command line, put quotes round each.",
        )
    for number, text in enumerate(texts, start=1):
        which = "The text" if len(texts) == 1 else f"Text {number}"
        if not text.strip():
            raise InputError(f"{which} is empty.", hint="Give a sentence.")
        if len(text) > MOST_CHARACTERS:
            raise InputError(
                f"{which} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are taken.",
                hint="Shorten it; a backbone reads only its first few hundred tokens anyway.",
            )
