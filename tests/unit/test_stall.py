"""When a group counts as standing still: by its own steps, on one monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.reporting import Progress
from worker.active import Group
from worker.deaths import judge_stall
from worker.stall import PATIENCE, StallWatch, Standing

LIMIT = 120.0


@dataclass
class Member:
    id: str
    progress: Progress | None = None

    def tell(self, step: int, seconds: float = 0.1, phase: str = "training") -> None:
        self.progress = Progress(phase, step, 100, seconds)


class Watched:
    """A group that is looked at every half second."""

    def __init__(self, *members: Member) -> None:
        self.members: Any = members
        self.now = 1000.0
        self.watch = StallWatch(LIMIT, self.now)

    def after(self, seconds: float, *, can_hear: bool = True) -> Standing:
        standing = self.watch.look(self.members, self.now)
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.5)
            standing = self.watch.look(self.members, self.now, can_hear=can_hear)
        return standing


def test_quick_steps_are_missed_after_five_seconds_and_ended_at_the_limit() -> None:
    member = Member("a")
    member.tell(7)
    group = Watched(member)
    assert group.after(4.9) is Standing.MOVING
    assert group.after(0.2) is Standing.STALLED
    member.tell(8)
    assert group.after(4.9) is Standing.MOVING
    assert group.after(LIMIT - 5.0) is Standing.STALLED
    assert group.after(0.2) is Standing.HUNG
    assert "120 seconds" in group.watch.describe()


def test_slow_steps_are_given_their_time() -> None:
    member = Member("a")
    member.tell(7, seconds=30.0)
    group = Watched(member)
    assert group.after(89.0) is Standing.MOVING
    assert group.after(2.0) is Standing.STALLED
    assert group.after(508.0) is Standing.STALLED
    assert group.after(2.0) is Standing.HUNG


def test_where_no_step_is_told_ten_times_as_long_is_waited() -> None:
    for phase in ("loading", "evaluating", "testing"):
        member = Member("a")
        member.tell(7, phase=phase)
        group = Watched(member)
        assert group.after(PATIENCE * 5.0 - 1.0) is Standing.MOVING, phase
        assert group.after(PATIENCE * LIMIT - PATIENCE * 5.0) is Standing.STALLED, phase
        assert group.after(2.0) is Standing.HUNG, phase
    for silent in (Member("a"), Member("a", Progress("training", 0, 100))):
        group = Watched(silent)
        assert group.after(PATIENCE * LIMIT - 1.0) is Standing.STALLED
        assert group.after(2.0) is Standing.HUNG


def test_a_phase_is_progress_too() -> None:
    member = Member("a")
    member.tell(7)
    group = Watched(member)
    assert group.after(100.0) is Standing.STALLED
    member.tell(7, phase="evaluating")
    assert group.after(100.0) is Standing.STALLED
    member.tell(7)
    assert group.after(1.0) is Standing.MOVING


def test_one_run_that_moves_vouches_for_its_group() -> None:
    slow, quick = Member("a"), Member("b")
    slow.tell(7)
    group = Watched(slow, quick)
    for step in range(100):
        quick.tell(step)
        assert group.after(4.0) is Standing.MOVING


def test_time_in_which_nobody_looked_or_heard_is_not_counted() -> None:
    member = Member("a")
    member.tell(7)
    group = Watched(member)
    group.after(1.0)
    group.now += 10 * LIMIT
    assert group.watch.look(group.members, group.now) is Standing.MOVING
    assert group.after(10 * LIMIT, can_hear=False) is Standing.MOVING
    assert group.after(LIMIT) is Standing.HUNG


def test_a_group_that_was_ended_says_so_before_the_reason() -> None:
    members: Any = {"a": Member("a"), "b": Member("b")}
    group = Group("g", members, 2, Path("log"), sent=True)
    silence = "it told no progress for 130 seconds; the limit is 120"
    assert judge_stall(group, silence).detail == (
        f"The trainer was ended while 2 runs trained together: {silence}."
    )
    del members["b"]
    assert judge_stall(group, silence).detail == f"The trainer was ended: {silence}."
