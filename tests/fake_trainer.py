"""A trainer process without torch: the real pipes and orders, an engine that only counts.

``FAKE_TRAINER`` holds JSON with ``steps``, ``pause`` (seconds a step), ``checkpoint_every``,
``die_at`` (step), ``die_by`` (signal), ``die_again`` (also after a checkpoint), ``raise_at``,
``is_deaf`` (never asks whether to stop), ``ignores_term``, ``garbage`` and ``huge`` (sent instead
of training).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome, StopKind
from worker.pipe_reporter import PipeReporter
from worker.protocol import MAX_LINE, Train, TrainMember
from worker.trainer import Options, TrainGroup, read_options, run


def save(member: TrainMember, step: int) -> Checkpoint:
    folder = Path(member.folder) / f"step-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    return Checkpoint(step=step, folder=folder, sha256="0" * 64, num_bytes=12, is_best=True)


def resumed_step(member: TrainMember) -> int:
    if member.resume_from is None:
        return 0
    state = json.loads((Path(member.resume_from) / "state.json").read_text())
    return int(state["step"])


class CountingEngine:
    def __init__(self, options: Options, plan: dict[str, Any]) -> None:
        self.options = options
        self.steps = plan.get("steps", 20)
        self.pause = plan.get("pause", 0.01)
        self.checkpoint_every = plan.get("checkpoint_every", 5)
        self.plan = plan

    def __call__(self, message: Train, reporter: PipeReporter) -> None:
        sys.stderr.write(f"fake trainer has {len(message.members)} runs\n")
        self.misbehave()
        step_of = {member.run_id: resumed_step(member) for member in message.members}
        for step in range(min(step_of.values()) + 1, self.steps + 1):
            for member in message.members:
                if member.run_id in reporter.open_runs() and step > step_of[member.run_id]:
                    self.train_step(member, reporter, step, len(message.members))

    def train_step(
        self, member: TrainMember, reporter: PipeReporter, step: int, group: int
    ) -> None:
        run_id = member.run_id
        stop = None if self.plan.get("is_deaf") else reporter.stop_wanted(run_id)
        if stop is StopKind.CANCEL:
            reporter.ended(run_id, Ending(Outcome.CANCELLED, detail=f"stopped at {step - 1}"))
            return
        if stop is StopKind.DRAIN:
            if step > 1:
                reporter.checkpoint(run_id, save(member, step - 1))
            reporter.ended(run_id, Ending(Outcome.DRAINED))
            return
        time.sleep(self.pause)
        self.perhaps_die(member, step)
        reporter.scalars(run_id, step, {"train/loss": 1 / step})
        reporter.progress(
            run_id, Progress("training", step, self.steps, self.pause, {"prompt": 8}, group)
        )
        if step % self.checkpoint_every == 0:
            reporter.checkpoint(run_id, save(member, step))
        if step == self.steps:
            adapter = Path(member.folder) / "adapter"
            adapter.mkdir(parents=True, exist_ok=True)
            result = {"best_step": step, "dev": {"accuracy": 0.5}, "train_loss": float("nan")}
            files = {"adapter": adapter}
            reporter.ended(run_id, Ending(Outcome.SUCCEEDED, result=result, files=files))

    def perhaps_die(self, member: TrainMember, step: int) -> None:
        if step == self.plan.get("raise_at"):
            raise ValueError("the fake engine was told to fail")
        fresh = member.resume_from is None or self.plan.get("die_again")
        if step == self.plan.get("die_at") and fresh:
            os.kill(os.getpid(), self.plan.get("die_by", signal.SIGKILL))

    def misbehave(self) -> None:
        if self.plan.get("ignores_term"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
