"""On a task whose right place is known, what sums over choices finds it and nothing fixed does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from core.backbones.facts import facts, weights_digest, weights_folder
from core.backbones.load import Backbone, load_backbone
from core.backbones.position import make
from core.backbones.position.words import CUES_A_TEXT
from core.backbones.spec import BACKBONES, BackboneChoice
from core.methods import METHODS, MethodConfig
from core.recipe import RunConfig
from core.recipe_files import load_recipe, parse_recipe
from core.training.group import WarmBackbones
from tests.position_tools import (
    SLOTS,
    Bare,
    position_backbone,
    read,
    right_share,
    tensors,
    texts,
)
from tests.training_tools import succeeded, train

RESULTS = Path(__file__).parents[2] / "bench" / "results"
GOOD, POOR = 95.0, 70.0


@dataclass(frozen=True)
class Many:
    """A task with more slots than the bundled one.

    Attributes:
        words: Words of a text, without its three cue words.
        deciding: The words that decide, from 0; in front of each is a slot.
        samples: Numbers of samples that are tried; None: exact.
        updates: Updates of 64.
        seeds: Init seeds, a count.
    """

    words: int
    deciding: tuple[int, ...]
    samples: tuple[int | None, ...]
    updates: int
    seeds: int


EIGHT = Many(10, (0, 1, 3, 4, 5, 6, 8, 9), (2, 4), 1000, 3)
LONG = replace(EIGHT, samples=(4,), updates=3000)
MOST = Many(22, tuple(range(21)), (4, 8, 16, 32, None), 1500, 1)
MANY = (EIGHT, LONG, MOST, replace(MOST, samples=(32,), updates=3000))
ORACLE = "oracle (told the right slot, outside of the recipe)"
INTRODUCTION = """# Position task

All in percent; one number a seed (init 0, 1, 2). Four slots: the shipped recipe `position-task`,
{updates} updates of 64, and an oracle that the test tells each row's right slot, in training and
in scoring. More slots: texts of 10 words for 8 slots and of 22 for 21, and three cue words, 4,000
to train on, drawn by the test, and one seed for 21. Chance is
25 for accuracy, and one in the number of slots for right slots; "own − shuffled" is on dev, against
the mean of several shuffles. Synthetic: it shows which estimator finds a place that is there to be
found, and nothing about text.
"""


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return position_backbone()


def slots_method(**fields: Any) -> MethodConfig:
    return METHODS["dynamic_prompt"](**{**SLOTS, **fields})


def bundled(method: Mapping[str, Any], updates: int) -> RunConfig:
    content = {"name": "test", "tasks": ["position"], "backbones": ["position"]}
    training = {"max_updates": updates, "batch_size": 64, "max_tokens": 24, "evaluations": 1}
    recipe = parse_recipe({**content, "methods": [dict(method)], "training": training})
    return recipe.runs()[0]


def measured(ending: Any, config: RunConfig) -> dict[str, Any]:
    """Accuracy on test, share of right slots and gain over shuffled choices, in percent."""
    names = config.method.choice_names.get("slot")
    result = ending.result
    found = {"accuracy": 100 * result["test"]["accuracy"]}
    if names:
        found["right"] = right_share(ending.files["predictions"], names)
        (entry,) = result["audit"]
        (gain,) = (gain for gain in entry["gains"] if gain["over"] == "shuffled")
        found["own_minus_shuffled"] = 100 * gain["value"]
    return found


def test_the_backbone_that_is_shipped_is_the_one_of_the_table() -> None:
    choice = BackboneChoice(name="position")
    folder = weights_folder(choice, offline=True)
    assert weights_digest(folder) == BACKBONES["position"].sha256
    sizes = facts(choice, offline=True)
    assert (sizes.layers, sizes.width, sizes.vocab) == (2, 48, len(make.VOCABULARY))
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(
        make.tokenizer().to_str()
    )


def test_the_place_can_be_found_and_no_fixed_one_is_right(
    tmp_path: Path, warm: WarmBackbones
) -> None:
    methods = (
        {**SLOTS, "selection": "exact"},
        {**SLOTS, "selection": "sampled", "samples": 4},
        {**SLOTS, "position": "fixed", "slot": 0.5},
    )
    configs = [bundled(method, 120) for method in methods]
    recorder = train(configs, tmp_path, warm)
    exact, sampled, fixed = (
        measured(succeeded(recorder, f"r{i}"), config) for i, config in enumerate(configs)
    )
    for found in (exact, sampled):
        assert min(found["accuracy"], found["right"]) >= GOOD, found
        assert found["own_minus_shuffled"] > 20
    assert fixed["accuracy"] <= POOR


def test_a_selector_that_sees_nothing_gains_nothing_over_shuffled_choices(
    backbone: Backbone,
) -> None:
    rows = tensors(read("val"))
    bare = Bare(slots_method(selection="exact"), backbone, 0).train(tensors(read("train")), 80)
    assert bare.own_minus_shuffled(rows) > 20
    bare.blind()
    assert bare.own_minus_shuffled(rows) == 0


@pytest.mark.full
def test_the_script_makes_weights_that_solve_the_task(tmp_path: Path) -> None:
    assert make.main(["--folder", str(tmp_path)]) == 0
    made = load_backbone(BackboneChoice(path=str(tmp_path), pooling="mean"), offline=True)
    told = Bare(slots_method(selection="exact"), made, 0, is_told=True)
    assert told.train(tensors(read("train")), 200).score(tensors(read("test")))[0] >= GOOD


def name_of(config: RunConfig) -> str:
    """Label of a method, with its selector's rate where several settings share it."""
    method = config.method
    is_drawn = bool(method.choice_names) and not method.sums_choices
    return f"{method.label}{f', selector rate {method.learning_rates.selector:g}' * is_drawn}"


def name_of_many(many: Many, samples: int | None) -> str:
    """Label of a task with more slots."""
    selection = f"sampled {samples}" if samples else "exact"
    return f"{len(many.deciding)} slots, {selection}, {many.updates:,} updates"


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    keys = runs[0].keys()
    each = {key: [round(run[key], 2) for run in runs] for key in keys}
    return {**each, "mean": {key: round(mean(values), 2) for key, values in each.items()}}


def many_slots(backbone: Backbone, many: Many, samples: int | None, seed: int) -> dict[str, float]:
    """What sums over choices reach where there are more slots than the bundled task has."""
    content = many.words + CUES_A_TEXT
    shares = [round(place / content, 4) if place else "front" for place in many.deciding]
    drawn = {"selection": "sampled", "samples": samples} if samples else {"selection": "exact"}
    method = slots_method(slots=shares, **drawn)
    bare = Bare(method, backbone, seed)
    bare.train(texts(4000, many.words, many.deciding, 1), many.updates)
    accuracy, right = bare.score(texts(1000, many.words, many.deciding, 2))
    return {"accuracy": accuracy, "right": right}


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_all_settings_of_the_shipped_recipe(
    backbone: Backbone, tmp_path: Path, warm: WarmBackbones
) -> None:
    recipe = load_recipe("position-task")
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in recipe.seeds.init:
        told = Bare(slots_method(selection="exact"), backbone, seed, is_told=True)
        told.train(tensors(read("train")), recipe.training.max_updates or 0)
        accuracy, right = told.score(tensors(read("test")))
        found.setdefault(ORACLE, []).append({"accuracy": accuracy, "right": right})
        configs = [config for config in recipe.runs() if config.seeds.init == seed]
        recorder = train(configs, tmp_path / str(seed), warm)
        for index, config in enumerate(configs):
            ending = succeeded(recorder, f"r{index}")
            found.setdefault(name_of(config), []).append(measured(ending, config))
        four = {name: summary(runs) for name, runs in found.items()}
        keep({"updates": recipe.training.max_updates, "four_slots": four})
    for name, entry in four.items():
        if ORACLE in name:
            assert min(entry["accuracy"]) >= GOOD, name
        elif "exact" in name or "sampled" in name:
            assert min(entry["accuracy"] + entry["right"]) >= GOOD, name
            assert min(entry["own_minus_shuffled"]) > 0, name
        elif "right" not in entry:
            assert max(entry["accuracy"]) <= POOR, name


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_more_slots_need_more_samples_and_updates(backbone: Backbone) -> None:
    found = {
        name_of_many(many, samples): summary(
            [many_slots(backbone, many, samples, seed) for seed in range(many.seeds)]
        )
        for many in MANY
        for samples in many.samples
    }
    keep({"more_slots": found})
    eight = found[name_of_many(LONG, 4)]
    assert min(eight["accuracy"] + eight["right"]) >= GOOD


def keep(part: Mapping[str, Any]) -> None:
    """Write figures beside those of the other test as JSON, and all as a table for people."""
    path = RESULTS / "position-task.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content = {"updates": 0, "four_slots": {}, "more_slots": {}} | known | dict(part)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    lines = [
        "| setting | accuracy on test | right slots | own − shuffled |",
        "| --- | --- | --- | --- |",
    ]
    for name, entry in [*content["four_slots"].items(), *content["more_slots"].items()]:
        cells = [
            ", ".join(f"{value:.1f}" for value in entry.get(key, ())) or "–"
            for key in ("accuracy", "right", "own_minus_shuffled")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    page = f"{INTRODUCTION.format(**content)}\n" + "\n".join(lines) + "\n"
    (RESULTS / "position-task.md").write_text(page, encoding="utf-8")
