"""One seeded run and everything that belongs to it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from core.recipe import Recipe, RunConfig, group_key
from core.states import ENDED, RunState
from core.store.models import Attempt, Run, RunEvent
from core.store.models_data import Artifact, Checkpoint, Histogram
from tests.bench.scale_rows import Bulk, Row, curve_rows

EVALUATIONS = 10


@dataclass(frozen=True)
class Plan:
    """One study before its rows are made."""

    number: int
    id: str
    recipe: Recipe
    configs: tuple[RunConfig, ...]
    at: datetime
    priority: int
    states: tuple[RunState, ...]
    updates: int
    is_long: bool


_STATES_ON_THE_WAY: Mapping[RunState, Sequence[RunState]] = {
    RunState.QUEUED: (),
    RunState.RUNNING: (RunState.STARTING,),
    RunState.SUCCEEDED: (RunState.STARTING, RunState.RUNNING),
    RunState.FAILED: (RunState.STARTING, RunState.RUNNING),
    RunState.CANCELLED: (RunState.STARTING, RunState.RUNNING, RunState.STOPPING),
}


class SeededRun:
    """One run and everything that belongs to it."""

    def __init__(
        self,
        plan: Plan,
        ordinal: int,
        config: RunConfig,
        state: RunState,
        run_id: str,
        worker: str,
        draw: random.Random,
    ) -> None:
        self.plan, self.ordinal, self.config, self.state = plan, ordinal, config, state
        self.id, self.worker = run_id, worker
        self.began = state is not RunState.QUEUED
        self.attempts = (1 + (draw.random() < 0.05)) if self.began else 0
        self.start = plan.at + timedelta(seconds=60 * ordinal)
        self.end = self.start + timedelta(seconds=draw.uniform(20, 900))
        self.level = draw.uniform(0.5, 0.9)
        whole = state is RunState.SUCCEEDED
        self.steps = plan.updates if whole else max(2, round(plan.updates * draw.uniform(0.2, 0.9)))

    def write(self, bulk: Bulk, noise: np.random.Generator) -> int:
        """Write the run with its history and curves; return its points."""
        bulk.add(Run, self._row())
        for row in self._events():
            bulk.add(RunEvent, row)
        for attempt in range(1, self.attempts + 1):
            bulk.add(Attempt, self._attempt(attempt))
        if not self.began:
            return 0
        for row in self._files():
            bulk.add(*row)
        points = 0
        for name, steps, values in self._curves(noise):
            is_sealed = self.state in ENDED
            for model, content in curve_rows(
                self.id, name, self.attempts, steps, values, is_sealed=is_sealed
            ):
                bulk.add(model, content)
            points += len(steps)
        return points

    def _row(self) -> Row:
        config, is_ended = self.config, self.state in ENDED
        trainable = {"prompt": 3840, "selector": 4235, "head": 3080}
        return {
            "id": self.id,
            "study_id": self.plan.id,
            "ordinal": self.ordinal,
            "config": config.canonical_json(),
            "config_hash": config.config_hash,
            "cell": config.config_hash,
            "group_key": group_key(config, self.id),
            "task": config.task_label,
            "backbone": config.backbone.label,
            "regime": config.regime.label,
            "method_kind": config.method.kind,
            "method_label": config.method.label,
            "data_seed": config.seeds.data,
            "init_seed": config.seeds.init,
            "priority": self.plan.priority,
            "state": self.state.value,
            "version": len(list(self._events())),
            "fence": self.attempts,
            "attempt": self.attempts,
            "worker_id": self.worker if self.state is RunState.RUNNING else None,
            "exit_kind": "diverged" if self.state is RunState.FAILED else "",
            "exit_detail": "The loss became NaN." if self.state is RunState.FAILED else "",
            "phase": "training" if self.began else "",
            "last_step": self.steps if self.began else 0,
            "checkpoint_step": self.steps if self.began else 0,
            "total_steps": self.plan.updates if self.began else 0,
            "seconds_per_step": 0.2 if self.began else 0.0,
            "num_trainable": trainable if self.began else {},
            "group_size": 4 if self.began else 1,
            "result": self._result(trainable) if self.state is RunState.SUCCEEDED else None,
            "created_at": self.plan.at,
            "started_at": self.start if self.began else None,
            "ended_at": self.end if is_ended else None,
        }

    def _result(self, trainable: Mapping[str, int]) -> Row:
        splits = {"train": 900, "dev": 120, "test": 240}
        task, level = self.config.task.name, self.level
        return {
            "best_step": self.steps // 2,
            "updates": self.steps,
            "examples": self.steps * 16,
            "forward_equivalents": self.steps * 16.0,
            "seconds": (self.end - self.start).total_seconds(),
            "cpu_seconds": 63.2,
            "num_trainable": dict(trainable),
            "dev": {"accuracy": level, "macro_f1": level - 0.01},
            "dev_last": {"accuracy": level - 0.004, "macro_f1": level - 0.02},
            "test": {"accuracy": level - 0.012, "macro_f1": level - 0.03},
            "train_loss": 1.3 - level,
            "majority": {"dev": 0.5, "test": 0.5},
            "counts": splits,
            "truncated": dict.fromkeys(splits, 0),
            "flags": ["collapsed", "at chance"] if level < 0.52 else [],
            "test_source": "test.jsonl",
            "template": "plain",
            "group": 4,
            "environment": {
                "python": "3.11.2",
                "packages": dict.fromkeys(("torch", "transformers", "tokenizers", "numpy"), "2.1"),
                "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
                "cpu": "AMD EPYC 9654 96-Core Processor",
                "cpu_capability": "AVX512",
                "threads": 1,
                "device": "cpu",
                "deterministic": True,
                "dtype": "float32",
                "weights_sha256": "5f" * 32,
                "data": {task: {"data_version": "ab" * 8, "dev_source": "val.jsonl"}},
            },
        }

    def _events(self) -> Iterator[Row]:
        tries = [RunState.STARTING, RunState.RUNNING, RunState.QUEUED] * max(0, self.attempts - 1)
        last = [*_STATES_ON_THE_WAY[self.state], self.state] if self.began else []
        before = ""
        for version, after in enumerate([RunState.QUEUED, *tries, *last], 1):
            yield {
                "run_id": self.id,
                "version": version,
                "before": before,
                "after": after.value,
                "actor": "worker trainer" if before else "user",
                "reason": f"{after.value} as final run {self.ordinal} of study S{self.plan.number}",
                "at": (self.start if before else self.plan.at) + timedelta(seconds=version),
            }
            before = after.value

    def _attempt(self, number: int) -> Row:
        is_last = number == self.attempts
        lives = is_last and self.state is RunState.RUNNING
        return {
            "run_id": self.id,
            "attempt": number,
            "fence": number,
            "worker_id": self.worker,
            "last_step": self.steps,
            "outcome": "" if lives else self.state.value if is_last else "crashed",
            "started_at": self.start,
            "ended_at": None if lives else self.end,
        }

    def _files(self) -> Iterator[tuple[type[Any], Row]]:
        if self.state is RunState.SUCCEEDED:
            for name in ("adapter", "predictions", "environment"):
                path = f"artifacts/{self.id}/{name}"
                yield (
                    Artifact,
                    {"run_id": self.id, "name": name, "path": path, "created_at": self.end},
                )
        yield (
            Checkpoint,
            {
                "run_id": self.id,
                "step": self.steps,
                "attempt": self.attempts,
                "folder": f"artifacts/{self.id}/{self.steps}",
                "sha256": "0" * 64,
                "num_bytes": 123_456,
                "state": "deleted" if self.state is RunState.SUCCEEDED else "registered",
                "created_at": self.end,
            },
        )
        if self.config.method.choice_names:
            counts = np.full(11, 20, dtype="<i4").tobytes()
            for step in range(1, self.steps + 1, max(1, self.steps // 5)):
                row = {"run_id": self.id, "name": "cut", "step": step, "counts": counts}
                yield Histogram, row

    def _curves(
        self, noise: np.random.Generator
    ) -> Iterator[tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        steps = np.arange(1, self.steps + 1, dtype=np.int32)
        loss = 2.1 * np.exp(-steps / 30) + 1.3 - self.level + noise.normal(0, 0.06, len(steps))
        yield "train/loss", steps, loss
        every = 1 if self.plan.is_long else max(1, self.plan.updates // EVALUATIONS)
        told = steps[steps % every == 0]
        if len(told):
            dev = self.level * (1 - np.exp(-told / 25)) + noise.normal(0, 0.008, len(told))
            yield "dev/accuracy", told, dev
            if not self.plan.is_long:
                yield "dev/loss", told, 1.5 - dev
