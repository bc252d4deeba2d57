"""Studies over SuperGLUE's tasks in a store: one of all tasks, one of joint training.

Numbers and predictions are drawn, not trained; the identifiers have the form of the official files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.recipe import RunConfig
from core.recipe_files import parse_recipe
from core.reporting import Ending, Progress
from core.states import Outcome
from core.store import runs, scalars, studies, workers
from core.store.runs import ClaimedRun
from core.store.session import Store
from core.tasks import TASKS
from tests.seeding import new_store

UPDATES, EVERY = 60, 10
LEVEL = {
    "boolq": 0.71, "cb": 0.80, "copa": 0.58, "multirc": 0.63, "record": 0.31, "rte": 0.62,
    "wic": 0.59, "wsc": 0.56,
}  # fmt: skip
SUITE, JOINT = tuple(LEVEL), ("cb", "rte", "wic")
BONUS = {"prompt_tuning": 0.0, "adap_ins_pos": 0.03}
TRAINABLE = {"prompt": 3840, "head": 770}
NUM_ANSWERS = 6
# What an official identifier looks like where it is no number.
NESTED = {
    "multirc": lambda n: {"answer": n % 3, "passage": n // 4, "question": n // 2},
    "record": lambda n: {"passage": 0, "query": n},
}


@dataclass(frozen=True)
class SeededTasks:
    """What was written.

    Attributes:
        home: Home folder.
        store: Open store.
        suite: Study of the single tasks, its test open; RTE was scored on the diagnostics.
        joint: Study of joint training with its control, its test open.
        runs: Ids by study, method, task as stored, regime and init seed.
    """

    home: Path
    store: Store
    suite: str
    joint: str
    runs: Mapping[tuple[str, str, str, str, int], str]


def seed_tasks(
    home: Path, *, suite: Sequence[str] = SUITE, predictions: bool = True
) -> SeededTasks:
    """Fill a fresh home folder.

    Args:
        home: The folder.
        suite: Tasks of the first study; empty: there is only the second one.
        predictions: Write files of predictions.
    """
    store = new_store(home)
    with store.write() as session:
        worker = workers.register(session, name="seeded", role="train", host="here", pid=1)
    found: dict[tuple[str, str, str, str, int], str] = {}
    of_suite = ""
    if suite:
        of_suite = _submit(store, "All of SuperGLUE", suite, ["full_data"], [0, 1])
        _end_all(store, worker, home, of_suite, found, predictions)
    joint = _submit(store, "Does joint training help?", JOINT, ["multi_task"], [0, 1, 2])
    _end_all(store, worker, home, joint, found, predictions)
    return SeededTasks(home, store, of_suite, joint, found)


def _submit(
    store: Store, name: str, tasks: Sequence[str], regimes: Sequence[str], seeds: Sequence[int]
) -> str:
    chosen = [{"name": task, "diagnostics": bool(TASKS[task].diagnostics)} for task in tasks]
    recipe = parse_recipe(
        {
            "name": name,
            "tasks": chosen,
            "methods": list(BONUS),
            "regimes": list(regimes),
            "seeds": {"init": list(seeds)},
            "training": {"max_updates": UPDATES, "evaluations": UPDATES // EVERY},
        }
    )
    with store.write() as session:
        return studies.create_study(session, recipe, recipe.runs()).id


def _end_all(
    store: Store,
    worker: str,
    home: Path,
    study: str,
    found: dict[tuple[str, str, str, str, int], str],
    predictions: bool,
) -> None:
    while True:
        with store.write() as session:
            claimed = runs.claim(session, worker, 8)
        if not claimed:
            return
        for claim in claimed:
            config = RunConfig.model_validate_json(claim.config)
            key = (config.method.label, config.task_label, config.regime.label, config.seeds.init)
            found[study, *key] = claim.id
            with store.write() as session:
                runs.started(session, claim.id, claim.fence, log_path="")
                _points(session, claim, config)
                where = Progress(
                    "training", UPDATES, UPDATES, 0.4, {"prompt": 3840, "head": 770}, 2
                )
                runs.progress(session, claim.id, claim.fence, where)
                files = {"predictions": _predictions(home, claim.id, config)} if predictions else {}
                result = _result(config)
                ending = Ending(Outcome.SUCCEEDED, result=result, files=files)
                names = {name: f"{claim.id}/{path.name}" for name, path in files.items()}
                runs.end_attempt(session, claim.id, claim.fence, ending, files=names)


def _level(config: RunConfig, task: str) -> float:
    """Value of a task: jointly a little better on small tasks and a little worse on large ones."""
    draw = random.Random(f"{config.method.label}{task}{config.seeds.init}")
    shift = {"cb": 0.05, "rte": 0.01, "wic": -0.02}.get(task, 0.0) if config.regime.is_joint else 0
    return LEVEL[task] + BONUS[config.method.label] + shift + draw.gauss(0, 0.008)


def _points(session: Any, claim: ClaimedRun, config: RunConfig) -> None:
    points = []
    for step in range(EVERY, UPDATES + 1, EVERY):
        values = {"train/loss": 1.2 / (1 + step / 20)}
        for task in (choice.name for choice in config.trained_tasks):
            name = f"{task}/{TASKS[task].metrics[0]}"
            prefix = name if config.regime.is_joint else TASKS[task].metrics[0]
            values[f"dev/{prefix}"] = _level(config, task) * (1 - 0.4 / (1 + step / 10))
        points.append((step, values))
    scalars.append(session, claim.id, claim.fence, points)


def _numbers(task: str, level: float) -> dict[str, float]:
    """Metrics of a task around a level, each a little lower than the one before."""
    return {name: level - 0.06 * place for place, name in enumerate(TASKS[task].metrics)}


def _task_result(config: RunConfig, task: str) -> dict[str, Any]:
    level = _level(config, task)
    spec = TASKS[task]
    extra = {"ax-b": {"matthews": 0.12, "accuracy": 0.55}}
    extra |= {"ax-g": {"gender_parity": 0.93, "accuracy": 0.51}}
    return {
        "dev": _numbers(task, level),
        "dev_last": _numbers(task, level - 0.004),
        "test": _numbers(task, level - 0.01),
        "majority": {"dev": 0.5, "test": 0.5},
        "counts": {"train": 900, "dev": 120, "test": spec.counts["val"]},
        "truncated": {"train": 0, "dev": 0, "test": 0},
        "flags": [],
        "test_source": "val.jsonl",
        "template": spec.template_names[0],
        "updates": UPDATES,
        **({"extra": extra} if spec.diagnostics else {}),
    }


def _result(config: RunConfig) -> dict[str, Any]:
    parts = {choice.name: _task_result(config, choice.name) for choice in config.trained_tasks}
    shared = {
        "best_step": UPDATES,
        "updates": UPDATES,
        "seconds": 41.5,
        "cpu_seconds": 63.2,
        "num_trainable": TRAINABLE,
        "flags": [],
    }
    if not config.regime.is_joint:
        return parts[config.task.name] | shared
    mean = {
        split: {
            "joint_mean": sum(next(iter(part[split].values())) for part in parts.values())
            / len(parts)
        }
        for split in ("dev", "dev_last", "test")
    }
    return {**shared, **mean, "tasks": parts}


def _predictions(home: Path, run_id: str, config: RunConfig) -> Path:
    rows: list[dict[str, Any]] = []
    for choice in config.trained_tasks:
        splits = ["dev", "test", "leaderboard"]
        splits += [*TASKS[choice.name].diagnostics] if choice.diagnostics else []
        for split in splits:
            rows += prediction_rows(choice.name, split)
    path = home / "artifacts" / run_id / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def prediction_rows(task: str, split: str, count: int = NUM_ANSWERS) -> list[dict[str, Any]]:
    """Rows of a predictions file: class or choice ``n % 2`` for the n-th input."""
    number = NESTED.get(task, lambda n: n)
    return [
        {
            "task": task,
            "split": split,
            "index": n,
            "id": json.dumps(number(n), sort_keys=True, separators=(",", ":")),
            "label": -1 if split == "leaderboard" else 0,
            "prediction": n % 2,
        }
        for n in range(count)
    ]
