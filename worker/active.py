"""The group that a supervisor's trainer works on, and how it is made to stop."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from core.logs import LoggedRun
from core.recipe import RunConfig
from core.reporting import Progress
from worker.protocol import Train, TrainMember

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
        is_stalled: True once it was written down that its group does not move.
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
    is_stalled: bool = False

    @property
    def step(self) -> int:
        """Updates done as far as known."""
        return self.progress.step if self.progress else self.resume_step

    @property
    def logged(self) -> LoggedRun:
        """The attempt as log lines name it."""
        return LoggedRun(self.slug, self.attempt, self.fence)

    def order(self) -> TrainMember:
        """Say to the trainer what to train."""
        return TrainMember(
            run_id=self.id,
            config=self.config,
            folder=str(self.folder),
            resume_from=str(self.resume_from) if self.resume_from else None,
            init_from=str(self.init_from) if self.init_from else None,
            slug=self.slug,
            attempt=self.attempt,
            fence=self.fence,
        )


class Cause(StrEnum):
    """Why the supervisor itself ended its trainer."""

    CANCEL = "cancel"
    DRAIN = "drain"
    NO_DATABASE = "no_database"
    STALLED = "stalled"


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
        return bool(self._sent) or self.cause is Cause.STALLED


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

    def order(self, data_folders: Sequence[str]) -> Train:
        """Say to the trainer what to train."""
        return Train(
            group_id=self.id,
            members=tuple(run.order() for run in self.runs.values()),
            data_folders=tuple(data_folders),
            log_path=str(self.log_path),
        )

    @property
    def logged(self) -> list[LoggedRun]:
        """Its members as log lines name them."""
        return [run.logged for run in self.runs.values()]

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
