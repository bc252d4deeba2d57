"""A trainer process without torch for runs under faults: quick, exact, and slow to give in.

Pipes, orders and sealed folders are the real ones; only the numbers come from ``figures``. A
resumed run reads its checkpoint back and refuses it when a byte is wrong.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path

from core.errors import StudioError
from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome, StopKind
from core.training.sealed import SealedFolder, write_sealed
from tests.chaos.figures import checkpoint_every, names_at, pace, value
from worker import trainer
from worker.pipe_reporter import PipeReporter
from worker.protocol import Train, TrainMember
from worker.trainer import Options, TrainGroup, read_options, run

STATE = "state.json"


class Member:
    """One run in training."""

    def __init__(self, told: TrainMember, reporter: PipeReporter, group: int) -> None:
        self.id = told.run_id
        self.folder = Path(told.folder)
        self.steps = told.config.training.max_updates or 30
        self.step = self.saved = self._resumed(told)
        self._reporter = reporter
        self._group = group

    def _resumed(self, told: TrainMember) -> int:
        if told.resume_from is None:
            return 0
        state = json.loads(SealedFolder(Path(told.resume_from)).read(STATE))
        assert state["run"] == told.run_id, "a checkpoint of another run"
        return int(state["step"])

    @property
    def is_open(self) -> bool:
        return self.id in self._reporter.open_runs()

    def advance(self) -> None:
        """Do a step, or what the supervisor wants instead."""
        stop = self._reporter.stop_wanted(self.id)
        if stop is StopKind.CANCEL:
            ending = Ending(Outcome.CANCELLED, detail=f"stopped at {self.step}")
            self._reporter.ended(self.id, ending)
        elif stop is StopKind.DRAIN:
            self._save()
            self._reporter.ended(self.id, Ending(Outcome.DRAINED))
        elif self.step < self.steps:
            self._train()
        else:
            self._finish()

    def _train(self) -> None:
        seconds = pace(self.steps)
        time.sleep(seconds)
        self.step += 1
        values = {name: value(self.id, name, self.step) for name in names_at(self.step)}
        self._reporter.scalars(self.id, self.step, values)
        progress = Progress("training", self.step, self.steps, seconds, {"prompt": 8}, self._group)
        self._reporter.progress(self.id, progress)
        if self.step % checkpoint_every(self.steps) == 0:
            self._save()

    def _save(self) -> None:
        if self.step == self.saved:
            return
        target = self.folder / f"step-{self.step}"
        content = json.dumps({"run": self.id, "step": self.step})
        seal = write_sealed(target, lambda part: _fill(part, content))
        self.saved = self.step
        self._reporter.checkpoint(
            self.id, Checkpoint(self.step, target, seal.sha256, seal.num_bytes, is_best=True)
        )

    def _finish(self) -> None:
        adapter = self.folder / "adapter"
        write_sealed(adapter, lambda part: _fill(part, json.dumps({"run": self.id})))
        result = {"best_step": self.steps, "dev": {"accuracy": 0.5}}
        ending = Ending(Outcome.SUCCEEDED, result=result, files={"adapter": adapter})
        self._reporter.ended(self.id, ending)


def _fill(part: Path, content: str) -> None:
    (part / STATE).write_text(content)


def train_group(message: Train, reporter: PipeReporter) -> None:
    members = []
    for told in message.members:
        try:
            members.append(Member(told, reporter, len(message.members)))
        except StudioError as error:
            reporter.ended(told.run_id, Ending(Outcome.FAILED, error.code, str(error)))
    while any(member.is_open for member in members):
        for member in members:
            if member.is_open:
                member.advance()


def load_engine(_options: Options) -> TrainGroup:
    return train_group


def stay_quick() -> None:
    """Give way to nobody: on a machine full of other work such a trainer would hardly move."""
    settle = trainer.settle
    trainer.settle = partial(settle, 0)


if __name__ == "__main__":
    stay_quick()
    run(read_options(sys.argv[1:]), load_engine)
