"""Words that messages have in common."""

from __future__ import annotations

import math

import pytest

from core.errors import InputError
from core.wording import counted, percent


def test_counts_with_their_words() -> None:
    assert [counted(number, "run") for number in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


@pytest.mark.parametrize(
    ("share", "shown"), [(13 / 16, "81.3"), (0.8126, "81.3"), (-1 / 400, "-0.3"), (0.5, "50.0")]
)
def test_halves_go_away_from_zero_as_in_the_pages_script(share: float, shown: str) -> None:
    assert percent(share) == shown
    assert percent(share, with_sign=True) == (shown if share < 0 else f"+{shown}")


@pytest.mark.parametrize("share", [0.0, -0.0, 0.0004, -0.0004])
def test_nothing_has_no_sign(share: float) -> None:
    assert percent(share) == percent(share, with_sign=True) == "0.0"


def test_no_number_has_a_sign_of_its_own() -> None:
    assert (percent(math.nan), percent(math.inf, none="")) == ("–", "")


def test_a_hint_begins_a_sentence_of_its_own() -> None:
    assert str(InputError("It is empty", hint="Give one.")) == "It is empty. Give one."
    assert str(InputError("It is empty.", hint="Give one.")) == "It is empty. Give one."
    assert str(InputError("It is empty")) == "It is empty"
