"""The claim, as tests make it: a clean verdict, after enough went wrong to mean something."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.chaos.harness import Outcome

RESULTS = Path(__file__).resolve().parents[1] / "bench" / "results"


def assert_nothing_is_lost(outcome: Outcome) -> None:
    """The verdict is clean, and enough went wrong for that to mean something."""
    report, story = outcome.report, outcome.story
    assert not outcome.verdict.findings, story
    assert report["faults"] >= len(outcome.plan.faults), story
    hit = {kind for kind, count in outcome.plan.counts.items() if outcome.done[kind.value]}
    assert len(outcome.plan.counts) - len(hit) <= 1, story
    assert outcome.woken_late >= 1, story
    assert outcome.held_off["fenced write"] >= 1, story
    assert outcome.held_off["unfenced write"] == 0, story
    assert outcome.verdict.outcomes["crashed"] >= 1, story
    assert outcome.verdict.outcomes["lost"] >= 1, story
    assert outcome.verdict.states["succeeded"] >= len(outcome.plan.faults) // 10, story
    assert outcome.verdict.attempts > report["runs"], story
    assert outcome.verdict.points >= 1000, story
    assert outcome.people["checks"] >= 1, story


def write_down(outcome: Outcome) -> None:
    """Keep the figures of a long run; ``CHAOS_COMMIT`` says of what."""
    figures = {**outcome.report, "commit": os.environ.get("CHAOS_COMMIT", "")}
    target = RESULTS / f"chaos-{outcome.plan.database}.json"
    target.write_text(json.dumps(figures, indent=2) + "\n")
