"""Kill anything at any moment, on SQLite: every run ends once, with all of its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.claim import assert_nothing_is_lost, write_down
from tests.chaos.harness import go
from tests.chaos.plans import control, full, quick


def test_nothing_is_lost_under_twenty_faults(home: Path) -> None:
    outcome = go(quick("sqlite"), home)
    assert sum(outcome.done.values()) >= 20, outcome.story
    assert_nothing_is_lost(outcome)


def test_without_fences_the_same_harness_finds_damage(home: Path) -> None:
    """A machine that wakes up late writes over its successor, whose own points then are missing."""
    outcome = go(control(), home)
    assert outcome.woken_late >= 1, outcome.story
    assert outcome.held_off["unfenced write"] >= 1, outcome.story
    assert "missing" in outcome.verdict.kinds, outcome.story


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_nothing_is_lost_under_two_hundred_faults(home: Path) -> None:
    outcome = go(full("sqlite"), home)
    write_down(outcome)
    assert sum(outcome.done.values()) >= 200, outcome.story
    assert_nothing_is_lost(outcome)
