"""What the life of runs should be, in plain Python: the other opinion beside the store."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.states import ACTIVE, ENDED, Outcome, RunState
from core.store.models import INFRA_BUDGET, OOM_BUDGET

COSTLY = (Outcome.CRASHED, Outcome.LOST, Outcome.STALLED)


@dataclass
class ModelRun:
    """One run as it should be."""

    id: str
    study: str
    priority: int
    state: RunState = RunState.QUEUED
    version: int = 1
    fence: int = 0
    attempt: int = 0
    worker: str | None = None
    waits: bool = False
    infra_left: int = INFRA_BUDGET
    oom_left: int = OOM_BUDGET
    group_size: int = 1
    loss: int = 0
    """Last step whose loss is stored; all steps from 1 are."""
    checkpoints: dict[tuple[int, int], str] = field(default_factory=dict)
    """State by step and attempt."""
    checkpoint: int = 0
    endings: int = 0
    """Endings since it was last queued again."""

    @property
    def is_held(self) -> bool:
        return self.state in ACTIVE

    def move(self, state: RunState) -> None:
        self.state = state
        self.version += 1
        if state in ENDED:
            self.endings += 1
        if state not in ACTIVE:
            self.worker = None

    def claimed(self, worker: str, group_size: int) -> None:
        self.move(RunState.STARTING)
        self.worker, self.group_size, self.waits = worker, group_size, False
        self.fence += 1
        self.attempt += 1
        self.loss = min(self.loss, self.checkpoint)

    def began(self) -> None:
        if self.state is RunState.STARTING:
            self.move(RunState.RUNNING)

    def saved(self) -> None:
        self.checkpoints[self.loss, self.attempt] = "registered"
        self.checkpoint = max(self.checkpoint, self.loss)

    def pruned(self) -> None:
        """Keep the two newest; no checkpoint of these tests is the best."""
        for key in self.registered()[:-2]:
            self.checkpoints[key] = "deleted"

    def registered(self) -> list[tuple[int, int]]:
        return sorted(key for key, state in self.checkpoints.items() if state == "registered")

    def give_up_newest(self) -> None:
        self.checkpoints[self.registered()[-1]] = "damaged"
        self.checkpoint = max((step for step, _ in self.registered()), default=0)

    def ended(self, outcome: Outcome, *, damaged: bool = False, alone: bool = False) -> None:
        """End the attempt; ``alone``: the culprit of a group is not known."""
        is_damaged = damaged and self.checkpoint > 0
        if is_damaged:
            self.give_up_newest()
        if outcome is Outcome.SUCCEEDED and self.state is RunState.STARTING:
            self.began()
        if self.state is RunState.STOPPING:
            self.move(RunState.CANCELLED)
        elif is_damaged:
            self._cost_or_fail()
        elif alone:
            self.move(RunState.QUEUED)
        elif outcome is Outcome.SUCCEEDED:
            self.move(RunState.SUCCEEDED)
            self.checkpoints = dict.fromkeys(self.checkpoints, "gone")
        elif outcome is Outcome.FAILED:
            self.move(RunState.FAILED)
        elif outcome is Outcome.OUT_OF_MEMORY:
            self._after_memory()
        elif outcome in COSTLY:
            self.waits = self._cost_or_fail()
        else:
            self.move(RunState.QUEUED)

    def cancelled(self) -> None:
        if self.state is RunState.QUEUED:
            self.waits = False
            self.move(RunState.CANCELLED)
        elif self.state in (RunState.STARTING, RunState.RUNNING):
            self.move(RunState.STOPPING)

    def retried(self) -> None:
        if self.state in (RunState.FAILED, RunState.CANCELLED):
            self.move(RunState.QUEUED)
            self.endings, self.waits = 0, False
            self.infra_left, self.oom_left = INFRA_BUDGET, OOM_BUDGET

    def expired(self) -> None:
        self.ended(Outcome.LOST)
        self.fence += 1

    def _cost_or_fail(self) -> bool:
        if not self.infra_left:
            self.move(RunState.FAILED)
            return False
        self.infra_left -= 1
        self.move(RunState.QUEUED)
        return True

    def _after_memory(self) -> None:
        if self.group_size > 1 and self.oom_left:
            self.oom_left -= 1
            self.move(RunState.QUEUED)
        else:
            self.move(RunState.FAILED)


@dataclass
class ModelWorker:
    """A worker and the claims that it believes in, by run."""

    id: str
    beats: int = 0
    is_alive: bool = True
    believes: dict[str, int] = field(default_factory=dict)
