"""Runs in processes that are killed and continued, beside the same runs unbroken."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from core.recipe import RunConfig
from tests.conftest import ROOT

TIMES = ("seconds", "cpu_seconds")
"""Of a result what no two trainings have in common."""


@dataclass
class Log:
    """What one attempt told.

    Attributes:
        code: Exit code of its process, negative for a signal.
        scalars: Numbers of each step in hex, by name.
        checkpoints: Told checkpoints as (step, folder), in order.
        notices: Sentences for people.
        ended: What was told of its end, empty when it was killed.
    """

    code: int = 0
    scalars: dict[int, dict[str, str]] = field(default_factory=dict)
    checkpoints: list[tuple[int, Path]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    ended: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, code: int) -> Log:
        """Read a log; a process that is killed leaves whole lines, as each is one write."""
        log = cls(code)
        for line in path.read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            if told["kind"] == "scalars":
                log.scalars.setdefault(told["step"], {}).update(told["values"])
            elif told["kind"] == "checkpoint":
                log.checkpoints.append((told["step"], Path(told["folder"])))
            elif told["kind"] == "notice":
                log.notices.append(told["text"])
            elif told["kind"] == "ended":
                log.ended = told
        return log

    @property
    def first_step(self) -> int:
        """First step that it told of."""
        return min(self.losses)

    @property
    def losses(self) -> dict[int, str]:
        return {
            s: found["train/loss"] for s, found in self.scalars.items() if "train/loss" in found
        }


class Trainer:
    """Trains one job after the other, each in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], orders: IO[str], answers: IO[str]) -> None:
        self._process, self._orders, self._answers = process, orders, answers
        self._jobs = 0

    def attempt(
        self,
        config: RunConfig,
        folder: Path,
        resume_from: Path | None = None,
        *,
        every: int = 3,
        **rest: Any,
    ) -> Log:
        """Train a run until it ends or its process does.

        Args:
            config: The run.
            folder: Folder of this attempt.
            resume_from: Checkpoint to continue from.
            every: Steps from one checkpoint to the next.
            rest: Further entries of the job, see ``tests.training_child``.
        """
        folder.mkdir(parents=True)
        log = folder / "told.jsonl"
        job = {
            "config": config.model_dump_json(),
            "folder": str(folder / "files"),
            "resume_from": None if resume_from is None else str(resume_from),
            "log": str(log),
            "every": every,
            **rest,
        }
        self._orders.write(json.dumps(job) + "\n")
        self._orders.flush()
        answer = self._answers.readline()
        assert answer, f"the process that trains is gone: {self._process.wait()}"
        return Log.read(log, json.loads(answer)["code"])


@contextmanager
def trainer() -> Iterator[Trainer]:
    """Start a process that trains; at the end it is gone."""
    command = [sys.executable, "-m", "tests.training_child"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Trainer(process, process.stdin, process.stdout)


@dataclass(frozen=True)
class Broken:
    """A run that was killed and continued until its end.

    Attributes:
        kills: Step at which each kill was under way.
        attempts: What each attempt told, the last one to its end.
    """

    kills: tuple[int, ...]
    attempts: tuple[Log, ...]

    @property
    def last(self) -> Log:
        return self.attempts[-1]

    @property
    def redone(self) -> int:
        """Steps that were done more than once."""
        return sum(len(log.losses) for log in self.attempts) - len(self.losses)

    @property
    def checkpoints(self) -> list[tuple[int, Path]]:
        return [found for log in self.attempts for found in log.checkpoints]

    @property
    def losses(self) -> dict[int, str]:
        return {step: loss for log in self.attempts for step, loss in log.losses.items()}


def break_run(
    process: Trainer,
    config: RunConfig,
    folder: Path,
    total: int,
    *,
    num_kills: int,
    seed: int,
    every: int,
    longest_wait: float,
) -> Broken:
    """Train a run that is killed so many times at drawn steps, a drawn moment after each.

    Args:
        process: Who trains.
        config: The run.
        folder: Folder for all attempts.
        total: Updates of the run.
        num_kills: Kills, a count.
        seed: Seed of steps and moments.
        every: Steps from one checkpoint to the next.
        longest_wait: Seconds from a step's loss to its kill at most.
    """
    draw = random.Random(seed)
    kills = sorted(draw.sample(range(1, total), num_kills))
    attempts: list[Log] = []
    for index, step in enumerate((*kills, 0)):
        told = [path for log in attempts for _, path in log.checkpoints]
        wait = draw.choice((0.0, draw.uniform(0, longest_wait)))
        log = process.attempt(
            config,
            folder / f"attempt{index}",
            told[-1] if told else None,
            every=every,
            kill_at=step,
            kill_after=wait,
        )
        assert log.code == (-signal.SIGKILL if step else 0), log
        attempts.append(log)
    return Broken(tuple(kills), tuple(attempts))


def compare(broken: Broken, whole: Log) -> dict[str, int]:
    """Assert that nothing tells a broken run from an unbroken one; return what was compared."""
    assert set(broken.losses) == set(whole.losses)
    num_equal = 0
    for log in broken.attempts:  # also those that were discarded and redone
        for step, values in log.scalars.items():
            assert values.items() <= whole.scalars[step].items(), (step, broken.kills)
            num_equal += len(values)
    told = {
        step for log in broken.attempts for step, found in log.scalars.items() if len(found) > 1
    }
    assert told == {step for step, found in whole.scalars.items() if len(found) > 1}
    assert fingerprint(broken.last, broken.checkpoints) == fingerprint(whole, whole.checkpoints)
    return {"equal_numbers": num_equal, "redone_steps": broken.redone}


def fingerprint(log: Log, checkpoints: Sequence[tuple[int, Path]]) -> dict[str, Any]:
    """Everything about a finished run that must not depend on interruptions.

    Args:
        log: What its last attempt told.
        checkpoints: Those of all attempts; the last one stands where training ended.
    """
    assert log.ended["outcome"] == "succeeded", log.ended["detail"]
    files = {name: Path(path) for name, path in log.ended["files"].items()}
    result = {name: value for name, value in log.ended["result"].items() if name not in TIMES}
    step, last = checkpoints[-1]
    assert step == result["updates"]
    return {
        "weights": sha256(files["adapter"] / "adapter.safetensors"),
        "last_weights": sha256(last / "adapter.safetensors"),
        "last_moments": sha256(last / "state.safetensors"),
        "predictions": pq.read_table(files["predictions"]).to_pylist(),
        "result": result,
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
