"""When a group makes no progress: shown after a few steps' time, ended after many.

Being alive is not enough: a trainer can beat through its supervisor and hang for ever. What counts
is that a run of the group changes its phase or its step, on the supervisor's own monotonic clock.
The runs of a group take turns in one process, so one that moves vouches for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from worker.active import ActiveRun

SHOWN_STEPS, SHOWN_SECONDS = 3.0, 5.0
ENDED_STEPS = 20.0
PATIENCE = 10.0
"""Factor on both limits where no step is told however well it goes: while a run loads or scores a
split, and before its first step has told how long one takes."""
OWN_PAUSE_SECONDS = 2.0
STEPLESS = ("loading", "evaluating", "testing", "auditing")


class Standing(StrEnum):
    """How a group's progress is to be judged."""

    MOVING = "moving"
    STALLED = "stalled"
    HUNG = "hung"


class StallWatch:
    """Watches the progress of one group.

    Args:
        stall_seconds: Shortest time without progress after which a group counts as hung.
        now: When the group was taken, in monotonic seconds.
    """

    def __init__(self, stall_seconds: float, now: float) -> None:
        self._stall_seconds = stall_seconds
        self._places: dict[str, tuple[str, int] | None] = {}
        self._since = self._looked_at = now
        self._limit = 0.0

    def look(self, runs: Iterable[ActiveRun], now: float, *, can_hear: bool = True) -> Standing:
        """Take note of where the runs stand, and judge.

        Time in which nobody looked (this process was paused or waited for the database) or heard
        the trainer is not counted: what it told meanwhile is not known yet.

        Args:
            runs: Members that have not ended.
            now: Monotonic seconds.
            can_hear: False while the trainer's messages are not read.
        """
        members = list(runs)
        gap, self._looked_at = now - self._looked_at, now
        if gap > OWN_PAUSE_SECONDS or not can_hear:
            self._since += gap
        places = {run.id: _place(run) for run in members}
        if places != self._places:
            self._places, self._since = places, now
        shown, self._limit = _limits(members, self._stall_seconds)
        silent = now - self._since
        if silent >= self._limit:
            return Standing.HUNG
        return Standing.STALLED if silent >= shown else Standing.MOVING

    def describe(self) -> str:
        """Say for how long nothing has moved, and where the limit was."""
        silent = self._looked_at - self._since
        return f"it told no progress for {silent:.0f} seconds; the limit is {self._limit:.0f}"


def _place(run: ActiveRun) -> tuple[str, int] | None:
    return (run.progress.phase, run.progress.step) if run.progress else None


def _limits(runs: Iterable[ActiveRun], stall_seconds: float) -> tuple[float, float]:
    """Seconds without progress after which a group is shown as stalled, and ended."""
    told = [run.progress for run in runs]
    step = max((item.seconds_per_step for item in told if item), default=0.0)
    is_slow = any(
        item is None or item.phase.partition(" ")[0] in STEPLESS or not item.seconds_per_step
        for item in told
    )
    factor = PATIENCE if is_slow else 1.0
    shown = factor * max(SHOWN_SECONDS, SHOWN_STEPS * step)
    return shown, factor * max(stall_seconds, ENDED_STEPS * step)
