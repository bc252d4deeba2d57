"""Studies, runs and scalars by the hundred thousand, written in bulk and the same for a seed.

Curves go through the packing of ``core.store.curve_arrays``; all rows together are what the studio
itself would have written, and the checker finds no fault with them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from core.recipe import Recipe, RunConfig, canonical_json
from core.recipe_files import parse_recipe
from core.states import ENDED, RunState
from core.store.models import Study, Worker
from core.store.session import Store
from tests.bench.scale_rows import Bulk, Row
from tests.bench.scale_run import EVALUATIONS, Plan, SeededRun

SEED = 20_304
LONG_RUNS = 50
LONG_STUDIES = 10
LONG_UPDATES = 2_000
HELD = 8
TASKS = ("desk", "clauses", "sst2", "rte", "cb", "boolq", "wic", "wsc")
METHODS: tuple[Any, ...] = (
    "prompt_tuning", "p_tuning_v2", "adap_pos", "adap_ins_pos", "adap_ins_vec",
    "adap_ins_vec_pos", "linear_probe", "fine_tuning", "lora", "bitfit",
)  # fmt: skip
REGIMES: tuple[Any, ...] = ("full_data", {"kind": "few_shot", "k": 16}, {"kind": "few_shot"})
BACKBONES = ("minilm", "bert-base", "roberta-large")
WORDS = (
    "position",
    "length",
    "seeds",
    "few-shot",
    "rate",
    "pool",
    "vectors",
    "control",
    "ablation",
)


@dataclass(frozen=True)
class Size:
    """How much is seeded: counts of studies, runs and scalar points (at least ten a run)."""

    studies: int = 2_000
    runs: int = 100_000
    points: int = 10_000_000


@dataclass(frozen=True)
class Seeded:
    """What tests ask for by name.

    Attributes:
        long_study: Ended study of 50 runs with 2,000 points in each of their curves.
        usual_study: Ended study.
        running: Run that a worker holds, with open chunks.
        succeeded: Run of the usual study.
        queued: Last run in the order of claims.
        worker: Worker that holds eight runs.
        points: Scalar points that were written.
    """

    long_study: str
    usual_study: str
    running: str
    succeeded: str
    queued: str
    worker: str
    points: int


def seed(store: Store, size: Size, now: datetime, draw_seed: int = SEED) -> Seeded:
    """Fill a migrated, empty database; ids and numbers depend on size, time and seed alone."""
    draw = random.Random(draw_seed)
    noise = np.random.default_rng(draw_seed)
    plans = _plans(size, now, draw)
    worker = _identifier(draw)
    found: dict[str, str] = {}
    num_points = 0
    with Bulk(store) as bulk:
        for name, identifier in (("trainer", worker), ("gone", _identifier(draw))):
            bulk.add(Worker, _worker(identifier, name, now, is_alive=name == "trainer"))
        for plan in plans:
            bulk.add(Study, _study(plan))
            for ordinal, (config, state) in enumerate(
                zip(plan.configs, plan.states, strict=True), 1
            ):
                run = SeededRun(plan, ordinal, config, state, _identifier(draw), worker, draw)
                num_points += run.write(bulk, noise)
                found[_kind(plan, state)] = run.id
                found.setdefault(f"study {_kind(plan, state)}", plan.id)
            bulk.end_study()
    return Seeded(
        long_study=found.get("study long", ""),
        usual_study=found["study succeeded"],
        running=found["running"],
        succeeded=found["succeeded"],
        queued=found["queued"],
        worker=worker,
        points=num_points,
    )


def _kind(plan: Plan, state: RunState) -> str:
    return "long" if plan.is_long else state.value


def _identifier(draw: random.Random) -> str:
    return f"{draw.getrandbits(128):032x}"


def _plans(size: Size, now: datetime, draw: random.Random) -> list[Plan]:
    """Plan all studies: the newest tenth waits, eight runs before it train, the rest ended."""
    num_long = LONG_STUDIES if size.studies > 10 * LONG_STUDIES else 1
    long = set(range(num_long, (num_long + 1) * num_long, num_long))
    waiting_from = size.runs - size.runs // 10
    others = size.studies - num_long
    left, planned, plans = size.runs - num_long * LONG_RUNS, 0, []
    usual = max(5, size.points - 2 * num_long * LONG_RUNS * LONG_UPDATES) // int(0.89 * size.runs)
    for number in range(1, size.studies + 1):
        is_long = number in long
        wanted = LONG_RUNS
        if not is_long:
            mean = left / others
            wanted = left if others == 1 else max(1, round(draw.uniform(0.5, 1.5) * mean))
            others, left = others - 1, left - wanted
        updates = LONG_UPDATES if is_long else max(5, round(usual * draw.uniform(0.6, 1.25)))
        recipe, configs = _grid(number, wanted, updates, draw, is_long=is_long)
        at = now - timedelta(days=365) * ((size.studies - number + 1) / size.studies)
        states = tuple(_state(planned + place, waiting_from, draw) for place in range(len(configs)))
        planned += len(configs)
        priority = draw.choice((0, 0, 0, 0, 0, 5, -10))
        plans.append(
            Plan(number, _identifier(draw), recipe, configs, at, priority, states, updates, is_long)
        )
    return plans


def _state(place: int, waiting_from: int, draw: random.Random) -> RunState:
    if place >= waiting_from:
        return RunState.QUEUED
    if place >= waiting_from - HELD:
        return RunState.RUNNING
    part = draw.random()
    if part < 0.85 / 0.9:
        return RunState.SUCCEEDED
    return RunState.FAILED if part < 0.88 / 0.9 else RunState.CANCELLED


def _grid(
    number: int, wanted: int, updates: int, draw: random.Random, *, is_long: bool
) -> tuple[Recipe, tuple[RunConfig, ...]]:
    """Make a recipe with at least the wanted runs, and the first of them."""
    tasks, methods, regimes, seeds = ["desk"], list(METHODS), [REGIMES[0]], 5
    if not is_long:
        seeds = draw.choice((3, 5, 10))
        num_tasks = draw.choice((1, 1, 2, 3))
        num_methods = min(len(METHODS), max(1, -(-wanted // (seeds * num_tasks))))
        tasks = draw.sample(TASKS, num_tasks)
        methods = draw.sample(METHODS, num_methods)
        regimes = [draw.choice(REGIMES)]
        while num_tasks * num_methods * seeds < wanted:
            seeds += 1
    training: dict[str, Any] = {"max_updates": updates, "evaluations": min(EVALUATIONS, updates)}
    recipe = parse_recipe(
        {
            "name": f"{' and '.join(draw.sample(WORDS, 2))}, part {number}",
            "question": "Does what is chosen for each input help, and how sure are we of it?",
            "tasks": tasks,
            "methods": methods,
            "regimes": regimes,
            "backbones": [draw.choice(BACKBONES)],
            "seeds": {"data": [0], "init": list(range(seeds))},
            "training": {**training, "batch_size": draw.choice((8, 16, 32))},
        }
    )
    return recipe, tuple(recipe.runs()[:wanted])


def _worker(identifier: str, name: str, now: datetime, *, is_alive: bool) -> Row:
    return {
        "id": identifier,
        "name": name,
        "role": "train",
        "host": "here",
        "pid": 1,
        "info": {"device": "cpu"},
        "queues": ["default"],
        "hb_at": now if is_alive else now - timedelta(days=3),
        "state": "alive" if is_alive else "stopped",
        "started_at": now - timedelta(days=7),
    }


def _study(plan: Plan) -> Row:
    is_ended = all(state in ENDED for state in plan.states)
    return {
        "id": plan.id,
        "number": plan.number,
        "name": plan.recipe.name,
        "question": plan.recipe.question,
        "recipe": canonical_json(plan.recipe.model_dump(mode="json")),
        "priority": plan.priority,
        "created_at": plan.at,
        "closed_at": plan.at + timedelta(hours=4) if is_ended else None,
    }


def smaller(size: Size, by: int) -> Size:
    """Return a size with so many times fewer studies, runs and points."""
    return replace(size, studies=size.studies // by, runs=size.runs // by, points=size.points // by)
