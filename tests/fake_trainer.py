"""A trainer process without torch: the real pipes and orders, an engine that only counts.

``FAKE_TRAINER`` holds JSON with

- ``steps``, ``pause`` (seconds a step), ``checkpoint_every`` (steps), ``load_for``,
  ``evaluate_for`` (seconds without a step in these phases), ``notice`` (a text);
- ``die_at`` (step), ``die_by`` (signal), ``raise_at``, ``stall_at`` (step) with ``stall_for``
  (seconds), ``fill`` (MB of memory to hold while training), ``faults`` (how to strike, by point of
  ``core.fault_points``: kill, nospace or stall) with ``faults_once`` (folder of marks: each fault
  strikes once). These happen to runs that start from the beginning, with ``die_again`` to all;
- ``is_deaf`` (never asks whether to stop), ``ignores_term``, ``children`` (loaders that ignore
  TERM), ``garbage`` and ``huge`` (sent instead of training), ``die_at_start``.

Its scalars are those of ``tests.counting``; checkpoints are sealed like real ones and checked when
a run continues from them.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.artifacts import artifact_store
from core.errors import (
    DamagedCheckpoint,
    DiskFull,
    EvaluationError,
    StudioError,
    TrainingError,
)
from core.fault_points import reach
from core.reporting import Checkpoint, Ending, Progress, Reporter
from core.settings import get_settings
from core.states import Outcome, StopKind
from core.training.sealed import SealedFolder, write_sealed
from tests.counting import DEV, LOSS, state_at, value_at
from tests.faulting import STALL_SECONDS, install_faults
from worker.protocol import MAX_LINE, Train, TrainMember
from worker.shipping import ShippingReporter
from worker.trainer import Options, TrainGroup, read_options, run

STATE = "state.json"
LOADER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"

log = logging.getLogger(__name__)


def save(member: TrainMember, step: int) -> Checkpoint:
    """Write a sealed checkpoint; one that an earlier save left there is taken as it is."""
    folder = Path(member.folder) / f"step-{step}"
    if folder.exists():
        folder = folder.with_name(f"{folder.name}-again")

    def fill(part: Path) -> None:
        (part / STATE).write_text(json.dumps(state_at(member.run_id, step)))

    try:
        seal = write_sealed(folder, fill)
    except OSError as error:
        raise DiskFull(f"{folder} does not fit: {error.strerror}.") from error
    return Checkpoint(step, folder, seal.sha256, seal.num_bytes, is_best=True)


def _fill_adapter(part: Path) -> None:
    (part / "adapter.json").write_text("{}")


def resumed_step(member: TrainMember) -> int:
    """Updates done at the checkpoint to continue from.

    Raises:
        DamagedCheckpoint: If it is not what was written.
    """
    if member.resume_from is None:
        return 0
    state = json.loads(SealedFolder(Path(member.resume_from)).read(STATE))
    if state != state_at(member.run_id, state["step"]):
        raise DamagedCheckpoint(f"{member.resume_from} is not of run {member.run_id}.")
    return int(state["step"])


class CountingEngine:
    def __init__(self, options: Options, plan: dict[str, Any]) -> None:
        self.options = options
        self.steps = plan.get("steps", 20)
        self.pause = plan.get("pause", 0.01)
        self.checkpoint_every = plan.get("checkpoint_every", 5)
        self.plan = plan
        self.is_fresh = True
        self.ballast = b""
        once = plan.get("faults_once")
        install_faults(
            plan.get("faults", {}),
            once=Path(once) if once else None,
            is_armed=lambda: self.is_fresh,
            stall_seconds=plan.get("stall_for", STALL_SECONDS),
        )

    def __call__(self, message: Train, pipe: Reporter) -> None:
        log.info("fake trainer has %d runs", len(message.members))
        reporter = ShippingReporter(pipe, artifact_store(get_settings()))
        members = {member.run_id: member for member in reporter.fetched(message.members)}
        self.is_fresh = bool(self.plan.get("die_again")) or any(
            member.resume_from is None for member in members.values()
        )
        self.misbehave()
        step_of: dict[str, int] = {}
        for run_id, member in list(members.items()):
            reporter.progress(run_id, Progress("loading", 0, 0, group=len(members)))
            time.sleep(self.plan.get("load_for", 0))
            if text := self.plan.get("notice"):
                reporter.notice(run_id, text)
            try:
                step_of[run_id] = resumed_step(member)
            except StudioError as error:
                reporter.ended(run_id, Ending(Outcome.FAILED, kind=error.code, detail=str(error)))
                del members[run_id]
        first = min(step_of.values(), default=self.steps)
        for step in range(first + 1, self.steps + 1):
            for run_id, member in list(members.items()):
                if step > step_of[run_id] and not self.train_step(
                    member, reporter, step, len(members)
                ):
                    del members[run_id]
        for member in members.values():
            try:
                if step_of[member.run_id] < self.steps and self.steps % self.checkpoint_every:
                    reporter.checkpoint(member.run_id, save(member, self.steps))
                self.finish(member, reporter, len(members))
            except (TrainingError, OSError) as error:
                kind = error.code if isinstance(error, TrainingError) else EvaluationError.code
                ending = Ending(Outcome.FAILED, kind=kind, detail=str(error))
                reporter.ended(member.run_id, ending)

    def train_step(self, member: TrainMember, reporter: Reporter, step: int, group: int) -> bool:
        """Make one step; False when the run has ended instead."""
        run_id = member.run_id
        stop = None if self.plan.get("is_deaf") else reporter.stop_wanted(run_id)
        try:
            if stop is not None:
                outcome = Outcome.CANCELLED if stop is StopKind.CANCEL else Outcome.DRAINED
                if step > 1:
                    reporter.checkpoint(run_id, save(member, step - 1))
                reporter.ended(run_id, Ending(outcome, detail=f"Stopped after {step - 1}."))
                return False
            time.sleep(self.pause)
            self.perhaps_fail(step)
            values = {name: value_at(run_id, step, name) for name in (LOSS, DEV)}
            reporter.scalars(run_id, step, values)
            self.tell(member, reporter, step, group)
            if step % self.checkpoint_every == 0:
                reporter.checkpoint(run_id, save(member, step))
        except TrainingError as error:
            reporter.ended(run_id, Ending(Outcome.FAILED, kind=error.code, detail=str(error)))
            return False
        return True

    def tell(
        self,
        member: TrainMember,
        reporter: Reporter,
        step: int,
        group: int,
        phase: str = "training",
    ) -> None:
        told = Progress(phase, step, self.steps, self.pause, {"prompt": 8}, group)
        reporter.progress(member.run_id, told)

    def finish(self, member: TrainMember, reporter: Reporter, group: int) -> None:
        reach("evaluation.final")
        self.tell(member, reporter, self.steps, group, "testing")
        time.sleep(self.plan.get("evaluate_for", 0))
        adapter = Path(member.folder) / "adapter"
        write_sealed(adapter, _fill_adapter)
        reach("results.written")
        result = {"best_step": self.steps, "dev": {"accuracy": 0.5}, "train_loss": float("nan")}
        ending = Ending(Outcome.SUCCEEDED, result=result, files={"adapter": adapter})
        reporter.ended(member.run_id, ending)

    def perhaps_fail(self, step: int) -> None:
        if not self.is_fresh:
            return
        if step == self.plan.get("raise_at"):
            raise ValueError("the fake engine was told to fail")
        if step == self.plan.get("die_at"):
            os.kill(os.getpid(), self.plan.get("die_by", signal.SIGKILL))
        if step == self.plan.get("stall_at"):
            time.sleep(self.plan.get("stall_for", STALL_SECONDS))

    def misbehave(self) -> None:
        if self.plan.get("ignores_term"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(self.plan.get("children", 0)):
            subprocess.Popen([sys.executable, "-c", LOADER], stdin=subprocess.DEVNULL)
        if self.is_fresh:
            self.ballast = b"x" * (self.plan.get("fill", 0) << 20)
        if self.plan.get("garbage"):
            os.write(self.options.up, b'{"type":"ended"}\n')
        if self.plan.get("huge"):
            left = MAX_LINE + 10
            while left:
                left -= os.write(self.options.up, b"x" * min(left, 65536))


def load_engine(options: Options) -> TrainGroup:
    plan = json.loads(os.environ.get("FAKE_TRAINER", "{}"))
    if plan.get("die_at_start"):
        sys.exit(3)
    return CountingEngine(options, plan)


if __name__ == "__main__":
    run(read_options(sys.argv[1:]), load_engine)
