"""States of a run and the moves between them."""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands; the database row is the truth."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = frozenset({RunState.STARTING, RunState.RUNNING, RunState.STOPPING})
ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})

TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.STARTING, RunState.CANCELLED}),
    RunState.STARTING: frozenset(
        {RunState.RUNNING, RunState.QUEUED, RunState.FAILED, RunState.STOPPING}
    ),
    RunState.RUNNING: frozenset(
        {RunState.SUCCEEDED, RunState.FAILED, RunState.QUEUED, RunState.STOPPING}
    ),
    RunState.STOPPING: frozenset({RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),
}


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DRAINED = "drained"
    CRASHED = "crashed"
    LOST = "lost"
    OUT_OF_MEMORY = "out_of_memory"
    STALLED = "stalled"


class StopKind(StrEnum):
    """Why a trainer is asked to stop a run at its next step boundary."""

    CANCEL = "cancel"
    DRAIN = "drain"


def is_ended(state: str) -> bool:
    """Tell whether a run in this state will not move by itself any more."""
    return RunState(state) in ENDED


def may_move(before: str, after: str) -> bool:
    """Tell whether the table of transitions holds this move."""
    return RunState(after) in TRANSITIONS[RunState(before)]
