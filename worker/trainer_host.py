"""The trainer's life under a supervisor: orders down, messages up, death and what it means."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from core.reporting import Ending
from core.states import Outcome
from worker.active import ActiveRun, Cause, Group, StopLadder
from worker.claiming import new_group_id
from worker.protocol import (
    Cancel,
    CheckpointMessage,
    Drain,
    EndedMessage,
    Exit,
    HistogramMessage,
    ProgressMessage,
    ProtocolError,
    Ready,
    RunMessage,
    ScalarsMessage,
    Train,
    TrainMember,
)
from worker.recorder import Recorder
from worker.trainer_logs import TrainerLogs
from worker.trainer_process import Death, TrainerProcess

log = logging.getLogger(__name__)

EXIT_SECONDS = 0.5
ABANDON_SECONDS = 10.0
CUT_SECONDS = 5.0


class TrainerHost:
    """Keeps at most one trainer process and at most one group.

    All effects on the database go through ``recorder``; nothing here waits for the database or
    raises for the trainer.

    Args:
        recorder: Takes what is to be written.
        data_folders: Where the trainer looks for data sets.
        start_trainer: Starts the process.
        logs: Log files of groups.
        selector: Of the supervisor's loop; the trainer's pipes are watched with it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        recorder: Recorder,
        data_folders: Sequence[Path],
        start_trainer: Callable[[TrainerLogs, str], TrainerProcess],
        logs: TrainerLogs,
        selector: selectors.BaseSelector,
        clock: Callable[[], float],
    ) -> None:
        self.group: Group | None = None
        self._recorder = recorder
        self._outbox = recorder.outbox
        self._data_folders = tuple(str(folder) for folder in data_folders)
        self._start_trainer = start_trainer
        self._logs = logs
        self._selector = selector
        self._clock = clock
        self._process: TrainerProcess | None = None
        self._is_ready = False
        self._idle_since = 0.0
        self._limit: int | None = None
        self._watched: int | None = None
        self._cut_at = 0.0

    @property
    def fences(self) -> dict[str, int]:
        """Fence of each run that this worker holds."""
        return self.group.fences if self.group else {}

    def limit_below(self, size: int) -> int:
        """Runs that a group may have; halved each time that memory ran out in a group."""
        return size if self._limit is None else min(size, self._limit)

    def take(self, members: Sequence[ActiveRun]) -> None:
        """Train these runs, with the trainer that is there or a new one."""
        group_id = new_group_id()
        runs = {run.id: run for run in members}
        group = Group(group_id, runs, len(members), self._logs.path(group_id))
        names = ", ".join(run.slug for run in members)
        log.info("training %s; output of the trainer: %s", names, group.log_path)
        try:
            self._logs.new(group_id)
            if self._process is None:
                self._process = self._start_trainer(self._logs, group_id)
        except OSError as error:
            self._release(group, f"the trainer could not be started ({error})")
            return
        self.group = group
        if self._is_ready:
            self._send_group(group)
        self._watch()

    def turn(self, now: float) -> bool:
        """Read, heed deadlines and notice a death; True when a group came to its end."""
        before = self.group
        process = self._process
        if process is None:
            return False
        process.push()
        if self.group and self.group.ladder and (number := self.group.ladder.due(now)):
            log.warning("the trainer did not stop in time; sending %s", number.name)
            process.signal(number)
        try:
            if not self._outbox.is_full:
                self._heed(process.read())
        except ProtocolError as error:
            log.error("the trainer is ended because of what it sent: %s", error)
            self._after_death(f"sent something that cannot be understood ({error})")
        else:
            if process.is_silent or process.poll() is not None:
                self._after_death("")
        if self.group and now - self._cut_at > CUT_SECONDS:
            self._cut_at = now
            self._logs.cut(self.group.log_path)
        self._watch()
        return before is not None and self.group is not before

    def cancel(self, run_id: str) -> None:
        """Stop one run; the trainer is killed when it does not follow in time."""
        group = self.group
        run = group.runs.get(run_id) if group else None
        if group is None or run is None or run.cancel_sent:
            return
        run.cancel_sent = True
        if not group.sent or self._process is None:
            self._recorder.cancelled(run, "Stopped before it started.")
            group.let_go(run_id)
            self._close_when_empty(group)
            return
        self._process.send(Cancel(run_id=run_id))
        term_at = self._clock() + group.patience()
        if group.ladder is None:
            detail = "its trainer was ended to stop another run"
            group.ladder = StopLadder(Cause.CANCEL, detail, term_at)

    def lose(self, run_id: str) -> None:
        """Stop working on a run whose claim went to somebody else; write nothing more about it."""
        self._outbox.forget(run_id)
        group = self.group
        if group is None or group.runs.pop(run_id, None) is None:
            return
        log.warning("the claim of run %s was lost; its work here is dropped", run_id)
        if not group.sent or self._process is None:
            self._close_when_empty(group)
            return
        self._process.send(Cancel(run_id=run_id))
        if not group.runs:
            self._abandon(group, "its runs were taken over", ABANDON_SECONDS)

    def drain(self, detail: str, seconds: float) -> None:
        """Give all runs back, with a checkpoint if the trainer manages within ``seconds``."""
        group = self.group
        if group is None:
            return
        if not group.sent or self._process is None:
            self.group = None
            self._recorder.drain(group.fences, detail)
            return
        self._process.send(Drain())
        self._abandon(group, detail, seconds)

    def end_at_once(self, cause: Cause, detail: str) -> None:
        """Kill the trainer now; its runs go back to the queue as soon as that can be written."""
        group = self.group
        if group is not None:
            group.ladder = StopLadder(cause, detail, self._clock())
            group.ladder.due(self._clock())
        self._after_death("")

    def rest_after(self, seconds: float, now: float) -> None:
        """Let a trainer go that has had nothing to do for long; it holds much memory."""
        if self.group is None and self._is_ready and now - self._idle_since > seconds:
            self._after_death("")

    def close(self) -> None:
        """End the trainer, politely for a moment when it is idle."""
        if self.group is not None:
            self.end_at_once(Cause.DRAIN, "the worker is shutting down")
        elif self._process is not None:
            if self._is_ready:
                self._process.send(Exit())
                until = time.monotonic() + EXIT_SECONDS
                while self._process.poll() is None and time.monotonic() < until:
                    time.sleep(0.01)
            self._after_death("")

    def _heed(self, messages: Sequence[Ready | RunMessage]) -> None:
        for message in messages:
            group = self.group
            if isinstance(message, Ready):
                self._heed_ready(message)
            elif group is not None and (run := group.runs.get(message.run_id)):
                self._heed_run(group, run, message)

    def _heed_ready(self, message: Ready) -> None:
        self._is_ready = True
        self._idle_since = self._clock()
        group = self.group
        if group is None:
            return
        if not group.sent:
            self._send_group(group)
        elif message.finished == group.id:
            self.group = None
            for run in list(group.runs.values()):
                detail = "The trainer went on without telling how this run ended."
                self._recorder.end(run, Ending(Outcome.FAILED, kind="internal", detail=detail))

    def _heed_run(self, group: Group, run: ActiveRun, message: RunMessage) -> None:
        match message:
            case ProgressMessage():
                self._recorder.progress(run, message)
            case ScalarsMessage():
                self._recorder.scalars(run, message)
            case HistogramMessage():
                self._recorder.histogram(run, message)
            case CheckpointMessage():
                self._recorder.checkpoint(run, message)
            case EndedMessage():
                if message.outcome == Outcome.OUT_OF_MEMORY and group.size > 1:
                    self._limit = max(1, group.size // 2)
                log.info("%s %s %s", run.slug, message.outcome.value, message.detail)
                self._recorder.ended(run, message)
                group.let_go(run.id)

    def _send_group(self, group: Group) -> None:
        if self._process is None:
            return
        group.sent = True
        self._is_ready = False
        self._process.send(
            Train(
                group_id=group.id,
                members=tuple(
                    TrainMember(
                        run_id=run.id,
                        config=run.config,
                        folder=str(run.folder),
                        resume_from=str(run.resume_from) if run.resume_from else None,
                        init_from=str(run.init_from) if run.init_from else None,
                    )
                    for run in group.runs.values()
                ),
                data_folders=self._data_folders,
                log_path=str(group.log_path),
            )
        )
        self._tell_started(group)

    def _tell_started(self, group: Group) -> None:
        for run in group.runs.values():
            self._recorder.started(run, group.log_path)

    def _after_death(self, fault: str) -> None:
        """Take leave of a trainer, alive or dead, and give back what it had not ended.

        Args:
            fault: Why we end it ourselves although it is at fault; empty when it died or was told.
        """
        process = self._process
        if process is None:
            return
        with suppress(ProtocolError):
            self._heed(process.last_words())
        if self._watched is not None:
            self._selector.unregister(self._watched)
            self._watched = None
        death = process.bury()
        self._process, self._is_ready = None, False
        group, self.group = self.group, None
        if group is None:
            return
        if group.ladder is not None and group.ladder.has_fired:
            self._give_back(group, group.ladder)
        elif group.runs:
            self._release(group, _what_happened(group, death, fault))

    def _give_back(self, group: Group, ladder: StopLadder) -> None:
        """End what was to be cancelled; queue the others again, their budgets untouched."""
        for run in list(group.runs.values()):
            if run.cancel_sent:
                detail = f"Stopped at step {run.step}; its trainer had to be ended."
                self._recorder.cancelled(run, detail)
                group.let_go(run.id)
        self._recorder.drain(group.fences, ladder.detail)

    def _release(self, group: Group, detail: str) -> None:
        """Queue the runs of a dead trainer again."""
        log.error("%s", detail)
        if not group.sent:
            self._tell_started(group)
        self._recorder.release(group.fences, detail)

    def _abandon(self, group: Group, detail: str, seconds: float) -> None:
        term_at = self._clock() + seconds
        if group.ladder is None or group.ladder.term_at > term_at:
            group.ladder = StopLadder(Cause.DRAIN, detail, term_at)

    def _close_when_empty(self, group: Group) -> None:
        if not group.runs:
            self.group = None

    def _watch(self) -> None:
        """Watch the trainer's pipe, but not while the outbox is full: then the pipe holds it up."""
        process = self._process
        wanted = process.up if process is not None and not self._outbox.is_full else None
        if wanted == self._watched:
            return
        if self._watched is not None:
            self._selector.unregister(self._watched)
        if wanted is not None:
            self._selector.register(wanted, selectors.EVENT_READ)
        self._watched = wanted


def _what_happened(group: Group, death: Death, fault: str) -> str:
    """Sentence about a trainer that ended although nobody wanted it to."""
    if fault:
        what = f"The trainer {fault}"
    elif not group.sent:
        what = f"The trainer {death.reason} before it could start"
    else:
        what = f"The trainer {death.reason}"
    if len(group.runs) > 1:
        return f"{what} while {len(group.runs)} runs trained together; each is tried alone."
    if death.signal_name == "SIGKILL" and not fault:
        what += " (the system does so when memory runs out)"
    return f"{what}."
