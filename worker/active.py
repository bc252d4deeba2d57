"""The group that a supervisor's trainer works on, and how it is made to stop."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core.recipe import RunConfig
from core.reporting import Progress

COOPERATIVE_SECONDS = 2.0
LONGEST_COOPERATIVE_SECONDS = 10.0
STEPS_TO_STOP = 3.0
TERM_SECONDS = 1.0


@dataclass
class ActiveRun:
    """A run that this worker holds.

    Attributes:
        fence: Carried by every write of this attempt.
        folder: Belongs to this attempt alone.
        resume_from: Folder of the checkpoint to continue from.
        resume_step: Updates done at that checkpoint.
        init_from: Adapter folder of the run whose method the first attempt starts from.
    """

    id: str
    slug: str
    config: RunConfig
    fence: int
    attempt: int
    priority: int
    folder: Path
    resume_from: Path | None
    resume_step: int = 0
    init_from: Path | None = None
    progress: Progress | None = None
    cancel_sent: bool = False

    @property
    def step(self) -> int:
        """Updates done as far as known."""
        return self.progress.step if self.progress else self.resume_step


class Cause(StrEnum):
    """Why the supervisor itself ended its trainer."""

    CANCEL = "cancel"
    DRAIN = "drain"
    NO_DATABASE = "no_database"


@dataclass
class StopLadder:
    """Cooperation until ``term_at``, then TERM, then KILL.

    Attributes:
        cause: Decides what becomes of the members.
        detail: Part of a sentence for people.
        term_at: Monotonic time of TERM; KILL follows ``TERM_SECONDS`` later.
    """

    cause: Cause
    detail: str
    term_at: float
    _sent: list[signal.Signals] = field(default_factory=list)

    def due(self, now: float) -> signal.Signals | None:
        """Return the signal to send now, each one once."""
        for number, at in (
            (signal.SIGTERM, self.term_at),
            (signal.SIGKILL, self.term_at + TERM_SECONDS),
        ):
            if now >= at and number not in self._sent:
                self._sent.append(number)
                return number
        return None

    @property
    def has_fired(self) -> bool:
        """True when the trainer's death is our doing."""
        return bool(self._sent)


@dataclass
class Group:
    """Runs that were claimed together.

    Attributes:
        id: Names the group in the protocol and its log file.
        runs: Members that have not ended and whose claim is not lost, by id.
        size: Members at the start.
        log_path: File with the trainer's output.
        sent: True when the trainer has the group.
        ladder: Set when the group must stop.
    """

    id: str
    runs: dict[str, ActiveRun]
    size: int
    log_path: Path
    sent: bool = False
    ladder: StopLadder | None = None

    @property
    def fences(self) -> dict[str, int]:
        """Fence of each member by id."""
        return {run.id: run.fence for run in self.runs.values()}

    @property
    def priority(self) -> int:
        """Highest priority of the members."""
        return max((run.priority for run in self.runs.values()), default=0)

    def let_go(self, run_id: str) -> None:
        """Forget a member that has ended; a ladder that was there only for it goes too."""
        self.runs.pop(run_id, None)
        waiting = any(run.cancel_sent for run in self.runs.values())
        if self.ladder is not None and self.ladder.cause is Cause.CANCEL and not waiting:
            self.ladder = None

    def patience(self) -> float:
        """Seconds that a trainer may take to follow an order.

        A trainer that must be killed loses the partners' steps since their checkpoints, so while
        there are partners a slow step is waited for.
        """
        if len(self.runs) <= 1:
            return COOPERATIVE_SECONDS
        slowest = max(
            run.progress.seconds_per_step if run.progress else 0.0 for run in self.runs.values()
        )
        wanted = max(COOPERATIVE_SECONDS, STEPS_TO_STOP * slowest)
        return min(wanted, LONGEST_COOPERATIVE_SECONDS)
