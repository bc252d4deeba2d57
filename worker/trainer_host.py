"""The trainer's life under a supervisor: orders down, messages up, death and what it means."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from core.log_tail import read_tail
from core.logs import log_contexts
from core.reporting import Ending
from core.states import Outcome
from core.wording import counted
from worker.active import ActiveRun, Cause, Group, StopLadder
from worker.claiming import new_group_id
from worker.deaths import Verdict, judge, judge_stall
from worker.memory import MemoryMeter
from worker.protocol import (
    Cancel,
    CheckpointMessage,
    Drain,
    EndedMessage,
    Exit,
    HistogramMessage,
    NoticeMessage,
    ProgressMessage,
    ProtocolError,
    Ready,
    RunMessage,
    ScalarsMessage,
)
from worker.recorder import Recorder
from worker.stall import StallWatch, Standing
from worker.trainer_logs import TrainerLogs
from worker.trainer_process import TrainerProcess

log = logging.getLogger(__name__)

EXIT_SECONDS = 0.5
ABANDON_SECONDS = 10.0
CUT_SECONDS = 5.0
LAST_LOOK_SECONDS = 0.3
"""Time for a trainer that hangs to write where, before it is ended."""


class TrainerHost:
    """Keeps at most one trainer process and at most one group.

    All effects on the database go through ``recorder``; nothing here waits for the database or
    raises for the trainer.

    Args:
        recorder: Takes what is to be written.
        data_folders: Where the trainer looks for data sets.
        start_trainer: Starts the process.
        logs: Log files of groups.
        memory: Measures the trainer.
        selector: Of the supervisor's loop; the trainer's pipes are watched with it.
        stall_seconds: Shortest time without progress after which a trainer is ended.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        recorder: Recorder,
        data_folders: Sequence[Path],
        start_trainer: Callable[[TrainerLogs, str], TrainerProcess],
        logs: TrainerLogs,
        memory: MemoryMeter,
        selector: selectors.BaseSelector,
        stall_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.group: Group | None = None
        self._recorder = recorder
        self._outbox = recorder.outbox
        self._data_folders = tuple(str(folder) for folder in data_folders)
        self._start_trainer = start_trainer
        self._logs = logs
        self._memory = memory
        self._selector = selector
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._watch = StallWatch(stall_seconds, clock())
        self._process: TrainerProcess | None = None
        self._is_ready = False
        self._idle_since = 0.0
        self._limit: int | None = None
        self._listening: int | None = None
        self._cut_at = 0.0

    @property
    def fences(self) -> dict[str, int]:
        """Fence of each run that this worker holds."""
        return self.group.fences if self.group else {}

    @property
    def busy_process(self) -> TrainerProcess | None:
        """The trainer while it has a group."""
        return self._process if self.group else None

    @property
    def pid(self) -> int | None:
        """Process id of the trainer; None when there is none."""
        return self._process.pid if self._process else None

    def limit_below(self, size: int) -> int:
        """Runs that a group may have; halved each time that memory ran out in a group."""
        return size if self._limit is None else min(size, self._limit)

    def take(self, members: Sequence[ActiveRun]) -> None:
        """Train these runs, with the trainer that is there or a new one."""
        group_id = new_group_id()
        runs = {run.id: run for run in members}
        group = Group(group_id, runs, len(members), self._logs.path(group_id))
        with log_contexts(group.logged):
            training = counted(len(members), "run")
            log.info("training %s; output of the trainer: %s", training, group.log_path)
        try:
            self._logs.new(group_id)
            if self._process is None:
                self._process = self._start_trainer(self._logs, group_id)
        except OSError as error:
            detail = f"the trainer could not be started ({error})"
            self._release(group, Verdict(Outcome.CRASHED, detail))
            return
        self.group = group
        self._memory.start()
        self._watch = StallWatch(self._stall_seconds, self._clock())
        if self._is_ready:
            self._send_group(group)
        self._listen()

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
        self._judge_progress(now)
        if self.group and now - self._cut_at > CUT_SECONDS:
            self._cut_at = now
            self._logs.cut(self.group.log_path)
        self._listen()
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

    def lose(self, run_id: str, fence: int) -> None:
        """Stop working under a claim that went to somebody else; write nothing more under it.

        A run that was claimed again meanwhile, under another fence, goes on.
        """
        self._outbox.forget(run_id, fence)
        group = self.group
        if group is None or group.fences.get(run_id) != fence:
            return
        del group.runs[run_id]
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
        if self.group is not None:
            self._blame_nobody(self.group, cause, detail)
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

    def _judge_progress(self, now: float) -> None:
        """Show a group that does not move, and end one that hangs."""
        group, process = self.group, self._process
        if group is None or process is None or group.ladder is not None:
            return
        runs = group.runs.values()
        standing = self._watch.look(runs, now, can_hear=not self._outbox.is_full)
        for run in runs:
            is_stalled = standing is not Standing.MOVING
            if run.is_stalled != is_stalled:
                run.is_stalled = is_stalled
                self._recorder.stalled(run, is_stalled)
        if standing is Standing.HUNG:
            silence = self._watch.describe()
            with log_contexts(group.logged):
                log.error("the trainer is ended: %s", silence)
            process.ask_where()
            group.ladder = StopLadder(Cause.STALLED, silence, now + LAST_LOOK_SECONDS)

    def _heed(self, messages: Sequence[Ready | RunMessage]) -> None:
        for message in messages:
            group = self.group
            if isinstance(message, Ready):
                self._heed_ready(message)
            elif group is not None and (run := group.runs.get(message.run_id)):
                with log_contexts([run.logged]):
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
                ending = Ending(Outcome.FAILED, kind="internal", detail=detail)
                self._recorder.end(run, ending, read_tail(group.log_path))

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
            case NoticeMessage():
                log.warning("%s", message.text)
                self._recorder.notice(run, message)
            case EndedMessage():
                if message.outcome == Outcome.OUT_OF_MEMORY and group.size > 1:
                    self._limit = max(1, group.size // 2)
                log.info("%s %s", message.outcome.value, message.detail)
                self._recorder.ended(run, message, read_tail(group.log_path))
                group.let_go(run.id)

    def _send_group(self, group: Group) -> None:
        if self._process is None:
            return
        group.sent = True
        self._is_ready = False
        self._process.send(group.order(self._data_folders))
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
        if self._listening is not None:
            self._selector.unregister(self._listening)
            self._listening = None
        death = process.bury()
        self._process, self._is_ready = None, False
        group, self.group = self.group, None
        if group is None:
            return
        if process.cut_off:
            self._blame_nobody(group, Cause.NO_DATABASE, process.cut_off)
        ladder = group.ladder
        if not group.runs:
            return
        if ladder is None or not ladder.has_fired:
            self._release(group, judge(group, death, fault, self._memory))
        elif ladder.cause is Cause.STALLED:
            self._release(group, judge_stall(group, ladder.detail))
        else:
            self._give_back(group, ladder)

    def _give_back(self, group: Group, ladder: StopLadder) -> None:
        """End what was to be cancelled; queue the others again, their budgets untouched."""
        tail = read_tail(group.log_path)
        for run in list(group.runs.values()):
            if run.cancel_sent:
                detail = f"Stopped at update {run.step}; its trainer had to be ended."
                self._recorder.cancelled(run, detail, tail)
                group.let_go(run.id)
        self._recorder.drain(group.fences, ladder.detail, tail)

    def _release(self, group: Group, verdict: Verdict) -> None:
        """Queue the runs of a dead trainer again."""
        with log_contexts(group.logged):
            log.error("%s", verdict.detail)
        if verdict.outcome is Outcome.OUT_OF_MEMORY and group.size > 1:
            self._limit = max(1, group.size // 2)
        if not group.sent:
            self._tell_started(group)
        tail = read_tail(group.log_path)
        self._recorder.release(group.fences, verdict.outcome, verdict.detail, tail)

    def _blame_nobody(self, group: Group, cause: Cause, detail: str) -> None:
        """Count the trainer's end as our doing."""
        group.ladder = StopLadder(cause, detail, self._clock())
        group.ladder.due(self._clock())

    def _abandon(self, group: Group, detail: str, seconds: float) -> None:
        term_at = self._clock() + seconds
        if group.ladder is None or group.ladder.term_at > term_at:
            group.ladder = StopLadder(Cause.DRAIN, detail, term_at)

    def _close_when_empty(self, group: Group) -> None:
        if not group.runs:
            self.group = None

    def _listen(self) -> None:
        """Watch the trainer's pipe, but not while the outbox is full: then the pipe holds it up."""
        process = self._process
        wanted = process.up if process is not None and not self._outbox.is_full else None
        if wanted == self._listening:
            return
        if self._listening is not None:
            self._selector.unregister(self._listening)
        if wanted is not None:
            self._selector.register(wanted, selectors.EVENT_READ)
        self._listening = wanted
