"""Kill anything at any moment, on PostgreSQL: every run ends once, with all of its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.claim import assert_nothing_is_lost, write_down
from tests.chaos.harness import go
from tests.chaos.plans import full, quick


def test_nothing_is_lost_under_twenty_faults(home: Path) -> None:
    outcome = go(quick("postgresql"), home)
    assert sum(outcome.done.values()) >= 20, outcome.story
    assert_nothing_is_lost(outcome)


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_nothing_is_lost_under_two_hundred_faults(home: Path) -> None:
    outcome = go(full("postgresql"), home)
    write_down(outcome)
    assert sum(outcome.done.values()) >= 200, outcome.story
    assert_nothing_is_lost(outcome)
