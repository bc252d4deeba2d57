"""A store with studies in every state, written by the functions that workers and pages use.

The numbers are drawn, not trained: one finished study (two tasks, six methods, three seeds, one
failed run and one collapsed one) and one study whose first run is in its second attempt.
"""

from __future__ import annotations

import math
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import update

from core.recipe import Recipe, RunConfig
from core.recipe_files import parse_recipe
from core.reporting import Checkpoint, Ending, Progress
from core.states import Outcome
from core.store import predictions, runs, scalars, studies, workers
from core.store.models import Run
from core.store.runs import ClaimedRun
from core.store.session import Store
from tests.audit_example import audit_entry
from tests.fresh_database import make_database

UPDATES = 100
EVALUATIONS = 10
LABELS = {"desk": 8, "clauses": 2}
MAJORITY = {"desk": 0.17, "clauses": 0.51}
LEVEL = {
    "prompt_tuning": 0.70,
    "p_tuning_v2": 0.79,
    "adap_ins_pos": 0.76,
    "adap_ins_vec_pos": 0.81,
    "linear_probe": 0.62,
    "fine_tuning": 0.86,
}
TRAINABLE = {
    "prompt_tuning": {"prompt": 3840, "head": 3080},
    "p_tuning_v2": {"prompt": 46080, "head": 3080},
    "adap_ins_pos": {"prompt": 3840, "selector": 4235, "head": 3080},
    "adap_ins_vec_pos": {"prompt": 15360, "selector": 5775, "head": 3080},
    "linear_probe": {"head": 3080},
    "fine_tuning": {"backbone": 22_713_216, "head": 3080},
}
HOSTILE = '<img src=x onerror="window.hacked = 1">'
FAILED = ("linear_probe", "clauses", 2)
COLLAPSED = ("prompt_tuning", "clauses", 1)


@dataclass(frozen=True)
class Seeded:
    """What was written.

    Attributes:
        store: Open store.
        finished: Study that has ended, its test open.
        live: Study with a run in training; its test is sealed and its name is hostile.
        running: Run in its second attempt.
        running_fence: Fence of that attempt.
        queued: Run that waits.
        failed: Run that ended with an error.
        dynamic: Succeeded run with histograms of its cuts.
    """

    store: Store
    finished: str
    live: str
    running: str
    running_fence: int
    queued: str
    failed: str
    dynamic: str


def new_store(home: Path) -> Store:
    """Create an empty database in a home folder."""
    url = f"sqlite:///{home / 'studio.sqlite3'}"
    make_database(url)
    return Store(url)


def seed(home: Path) -> Seeded:
    """Fill a fresh home folder."""
    store = new_store(home)
    with store.write() as session:
        here = socket.gethostname()
        worker = workers.register(session, name="seeded", role="train", host=here, pid=1)
    finished = _submit(store, _finished_recipe())
    by_key = _train_all(store, worker, home)
    live = _submit(store, _live_recipe())
    running, fence = _train_half(store, worker, home)
    queued = next(run_id for run_id in live.run_ids if run_id != running)
    return Seeded(
        store,
        finished.id,
        live.id,
        running,
        fence,
        queued,
        by_key[FAILED],
        by_key["adap_ins_pos", "desk", 0],
    )


def report(store: Store, seeded: Seeded, step: int) -> None:
    """Let the running run go on to a step."""
    with store.write() as session:
        points = [(s, {"train/loss": _loss(s, 0.7)}) for s in range(step - 4, step + 1)]
        assert scalars.append(session, seeded.running, seeded.running_fence, points)
        _progress(session, seeded.running, seeded.running_fence, step)


def answer(store: Store, prediction_id: str, bodies: Mapping[str, Mapping[str, Any]]) -> None:
    """Answer a prediction as the predictor does."""
    with store.write() as session:
        predictions.take_pending(session)
        for run_id, body in bodies.items():
            predictions.add_answer(session, prediction_id, run_id, body)
        predictions.finish(session, prediction_id)


def answer_body(run_id: str, label: str, tokens: Sequence[str], cut: int = 3) -> dict[str, Any]:
    """Body of an answer of a dynamic run with ten virtual tokens."""
    shares = [0.3 if i == cut else 0.07 for i in range(11)]
    others = {"billing": 0.1, "access": 0.06, "orders": 0.04}
    return {
        "run_id": run_id,
        "label": label,
        "probabilities": {**others, label: 0.8},
        "tokens": list(tokens),
        "pieces": [[1, cut], [len(tokens) - 1, 10 - cut]],
        "choices": [
            {
                "axis": "cut",
                "chosen": cut,
                "names": [str(i) for i in range(11)],
                "probabilities": shares,
            }
        ],
        "pool_weights": [0.1, 0.6, 0.2, 0.1],
        "used_tokens": len(tokens),
        "total_tokens": 412,
        "milliseconds": 7.3,
        "error": "",
    }


def train_slots(store: Store) -> str:
    """Train a run of an empty store that chooses a slot and a length; return its id."""
    method = {
        "kind": "dynamic_prompt",
        "place": "slot",
        "length": "instance",
        "num_virtual_tokens": 3,
    }
    limits = {"max_updates": UPDATES, "evaluations": EVALUATIONS}
    recipe = {"name": "Slots", "tasks": ["desk"], "methods": [method], "training": limits}
    (run_id,) = _submit(store, parse_recipe(recipe)).run_ids
    with store.write() as session:
        worker = workers.register(session, name="slots", role="train", host="here", pid=2)
        (claim,) = runs.claim(session, worker, 1)
        assert claim.id == run_id
        assert runs.started(session, claim.id, claim.fence)
        points = [(step, {"train/loss": _loss(step, 0.8)}) for step in range(1, UPDATES + 1)]
        scalars.append(session, claim.id, claim.fence, points)
        for step in range(10, UPDATES + 1, 10):
            for name, counts in (("slot", [20, 3 * step, 20, 40]), ("length", [10, step, 70])):
                scalars.append_histogram(session, claim.id, claim.fence, name, step, counts)
        result = {"dev": {"accuracy": 0.8}, "flags": []}
        files = {"adapter": Path("a/adapter")}
        ending = Ending(Outcome.SUCCEEDED, result=result, files=files)
        runs.end_attempt(session, claim.id, claim.fence, ending)
    return run_id


def _finished_recipe() -> Recipe:
    return parse_recipe(
        {
            "name": "Where should the prompt stand?",
            "question": "Does a cut chosen for each input help?",
            "tasks": ["desk", "clauses"],
            "methods": list(LEVEL),
            "seeds": {"init": [0, 1, 2]},
            "training": {"max_updates": UPDATES, "evaluations": EVALUATIONS},
        }
    )


def _live_recipe() -> Recipe:
    return parse_recipe(
        {
            "name": HOSTILE,
            "tasks": ["desk"],
            "methods": ["adap_ins_pos", "fine_tuning"],
            "training": {"max_updates": UPDATES, "evaluations": EVALUATIONS, "batch_size": 8},
        }
    )


def _submit(store: Store, recipe: Recipe) -> studies.CreatedStudy:
    with store.write() as session:
        return studies.create_study(session, recipe, recipe.runs())


def _train_all(store: Store, worker: str, home: Path) -> dict[tuple[str, str, int], str]:
    """Let every queued run end; return their ids by method, task and init seed."""
    found = {}
    while True:
        with store.write() as session:
            claimed = runs.claim(session, worker, 8)
        if not claimed:
            return found
        for claim in claimed:
            config = RunConfig.model_validate_json(claim.config)
            key = (config.method.label, config.task.name, config.seeds.init)
            found[key] = claim.id
            with store.write() as session:
                _begin(session, claim, home)
                _points(session, claim, config, 0, UPDATES)
                _progress(session, claim.id, claim.fence, UPDATES, config.method.label)
                ending = _crash() if key == FAILED else _success(config, home, claim.id)
                runs.end_attempt(session, claim.id, claim.fence, ending)


def _train_half(store: Store, worker: str, home: Path) -> tuple[str, int]:
    """Train to step 37, lose the trainer, and continue from the checkpoint at step 30 to 60."""
    with store.write() as session:
        (claim,) = runs.claim(session, worker, 1)
        config = RunConfig.model_validate_json(claim.config)
        _begin(session, claim, home)
        _points(session, claim, config, 0, 30)
        kept = Checkpoint(30, home / "artifacts" / claim.id / "30", "0" * 64, 1)
        runs.register_checkpoint(session, claim.id, claim.fence, kept)
        _points(session, claim, config, 30, 37)
        _progress(session, claim.id, claim.fence, 37)
        detail = "The trainer died (signal 9)."
        crash = Ending(Outcome.CRASHED, kind="crash", detail=detail)
        runs.end_attempt(session, claim.id, claim.fence, crash)
        # The pause before the next attempt is not what is shown here.
        session.execute(update(Run).where(Run.id == claim.id).values(not_before=None))
        (again,) = runs.claim(session, worker, 1)
        assert again.id == claim.id
        _begin(session, again, home)
        _points(session, again, config, again.checkpoint_step, 60)
        _progress(session, again.id, again.fence, 60)
    return again.id, again.fence


def _begin(session: Any, claim: ClaimedRun, home: Path) -> None:
    log = home / "logs" / f"{claim.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"attempt {claim.attempt} of {claim.slug}: training from step 0\n")
    runs.started(session, claim.id, claim.fence, log_path=str(log))


def _progress(
    session: Any, run_id: str, fence: int, step: int, label: str = "adap_ins_pos"
) -> None:
    where = Progress("training", step, UPDATES, 0.4, TRAINABLE[label], 2)
    runs.progress(session, run_id, fence, where)


def _points(session: Any, claim: ClaimedRun, config: RunConfig, first: int, last: int) -> None:
    """Write train losses, evaluations and, for a chosen cut, its histograms."""
    level = _level(config)
    draw = random.Random(f"{claim.id}{first}")
    every = UPDATES // EVALUATIONS
    points = []
    for step in range(first + 1, last + 1):
        values = {"train/loss": _loss(step, level) + draw.gauss(0, 0.06)}
        if step % every == 0:
            rise = 1 - math.exp(-step / 25)
            low = MAJORITY[config.task.name]
            values["dev/accuracy"] = low + (level - low) * rise + draw.gauss(0, 0.008)
            values["dev/loss"] = _loss(step, level) + 0.08
        points.append((step, values))
    scalars.append(session, claim.id, claim.fence, points)
    if config.method.label in ("adap_ins_pos", "adap_ins_vec_pos"):
        for step in range(first + every - first % every, last + 1, every):
            shares = [1 + step * (cut == 3) + 0.5 * step * (cut == 7) for cut in range(11)]
            counts = [round(100 * share / sum(shares)) for share in shares]
            scalars.append_histogram(session, claim.id, claim.fence, "cut", step, counts)
            if config.method.label == "adap_ins_vec_pos":
                weights = [1000, 1000 + 60 * step, 800, 700]
                scalars.append_histogram(session, claim.id, claim.fence, "pool", step, weights)


def _loss(step: int, level: float) -> float:
    return 2.1 * math.exp(-step / 30) + 1.2 * (1 - level)


def _level(config: RunConfig) -> float:
    label, task = config.method.label, config.task.name
    if (label, task, config.seeds.init) == COLLAPSED:
        return MAJORITY[task]
    spread = (config.seeds.init - 1) * 0.013
    return LEVEL[label] + spread - (0.09 if task == "clauses" else 0.0)


def _crash() -> Ending:
    return Ending(
        Outcome.FAILED, kind="diverged", detail="The loss became NaN at update 41; lower the rate."
    )


def _success(config: RunConfig, home: Path, run_id: str) -> Ending:
    label, task, level = config.method.label, config.task.name, _level(config)
    is_collapsed = (label, task, config.seeds.init) == COLLAPSED
    adapter = home / "artifacts" / run_id / "adapter"
    return Ending(
        Outcome.SUCCEEDED,
        result={
            "best_step": 90,
            "updates": UPDATES,
            "examples": UPDATES * 16,
            "forward_equivalents": UPDATES * 16.0,
            "seconds": 41.5,
            "cpu_seconds": 63.2,
            "num_trainable": TRAINABLE[label],
            "dev": {"accuracy": level},
            "dev_last": {"accuracy": level - 0.004},
            "test": {"accuracy": level - 0.012},
            "train_loss": _loss(UPDATES, level),
            "majority": {"dev": MAJORITY[task], "test": MAJORITY[task]},
            "counts": {"train": 900, "dev": 120, "test": 240},
            "truncated": {"train": 0, "dev": 0, "test": 0},
            "flags": ["collapsed", "at chance"] if is_collapsed else [],
            "test_source": "test.jsonl",
            "group": 4,
            "environment": {"python": "3.11"},
            **({"audit": [audit_entry(HOSTILE)]} if label == "adap_ins_pos" else {}),
        },
        files={"adapter": adapter},
    )
