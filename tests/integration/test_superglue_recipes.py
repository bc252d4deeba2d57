"""Every SuperGLUE task that is here, trained end to end on its real files and on MiniLM.

A few updates only: what counts is that every example of the files is read, trained or scored once.
Tasks with thousands of answers stand in the long tier.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.submission import prepare_runs
from core.recipe import Recipe
from core.recipe_files import load_recipe
from core.settings import Settings
from core.tasks import TASKS
from core.training.group import WarmBackbones
from tests.real_data import need_real_data
from tests.training_tools import succeeded, train

UPDATES = 2
DRAWN = 40
BATCH = 4
LENGTH = 4
TOKENS = 24
METHODS = {"prompt_tuning", "adap_ins_pos"}
# All examples of the reported file.
QUICK = {"cb": 56, "copa": 100, "wsc": 104}
LONG = {"boolq-devsplit": 968, "multirc": 4848, "rte": 277, "wic": 638}


@pytest.fixture(scope="module")
def warm() -> WarmBackbones:
    return WarmBackbones(offline=True, threads=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, data_dir=str(need_real_data("recipes are")), offline=True)


def shortened(name: str, tasks: tuple[str, ...] = (), **training: object) -> Recipe:
    """A shipped recipe with fewer updates, examples and vectors, and of its tasks only some."""
    recipe = load_recipe(name)
    kept = tuple(task for task in recipe.tasks if not tasks or task.name in tasks)
    assert kept
    fewer = {
        "batch_size": BATCH,
        "max_tokens": TOKENS,
        "max_updates": UPDATES,
        "evaluations": 1,
        "audit": False,
    }
    methods = tuple(
        method.model_copy(update={"num_virtual_tokens": LENGTH}) for method in recipe.methods
    )
    regimes = tuple(
        regime.model_copy(update={"max_train": DRAWN}) if regime.kind != "few_shot" else regime
        for regime in recipe.regimes
    )
    training_part = recipe.training.model_copy(update={**fewer, **training})
    content = {"tasks": kept, "methods": methods, "regimes": regimes, "training": training_part}
    return recipe.model_copy(update=content)


def results(recipe: Recipe, settings: Settings, warm: WarmBackbones) -> dict[str, dict[str, Any]]:
    """Train all runs of a recipe as one group; return their results by task and method."""
    configs = prepare_runs(recipe, settings)
    trained = train(configs, settings.home_path / "runs", warm, data=settings.data_folders)
    found = {}
    for place, config in enumerate(configs):
        ending = succeeded(trained, f"r{place}")
        rows = pq.read_table(ending.files["predictions"]).to_pylist()
        found[f"{config.task_label} {config.method.label}"] = {**ending.result, "rows": rows}
    return found


def check_single(
    name: str, settings: Settings, warm: WarmBackbones, methods: set[str] = METHODS
) -> None:
    num_test = {**QUICK, **LONG}[name]
    recipe = shortened("superglue-quick", (name,))
    assert {method.label for method in recipe.methods} == METHODS
    kept = tuple(method for method in recipe.methods if method.label in methods)
    found = results(recipe.model_copy(update={"methods": kept}), settings, warm)
    assert {label.split()[1] for label in found} == methods
    spec = TASKS[name]
    for result in found.values():
        assert (result["counts"]["train"], result["counts"]["test"]) == (DRAWN, num_test)
        assert result["updates"] == UPDATES
        assert result["template"] == spec.template_names[0]
        for split in ("dev", "test"):
            rows = [row for row in result["rows"] if row["split"] == split]
            assert len(rows) == result["counts"][split]
            assert set(spec.metrics) <= set(result[split])
            assert all(0 <= result[split][metric] <= 1 for metric in spec.metrics)


def test_the_quick_recipe_has_every_task_but_record() -> None:
    named = {task.name for task in load_recipe("superglue-quick").tasks}
    assert named == {*QUICK, *LONG}
    official = {spec.name for spec in TASKS.values() if spec.suite == "superglue"}
    assert official - named == {"boolq", "record"}
    assert [task.name for task in load_recipe("record-quick").tasks] == ["record"]


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("cb", METHODS),
        ("copa", {"adap_ins_pos"}),
        ("wsc", {"prompt_tuning"}),
        pytest.param("copa", METHODS, marks=pytest.mark.full),
        pytest.param("wsc", METHODS, marks=pytest.mark.full),
    ],
)
def test_a_task_trains_and_every_example_is_scored(
    name: str, methods: set[str], settings: Settings, warm: WarmBackbones
) -> None:
    check_single(name, settings, warm, methods)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LONG)
def test_a_large_task_trains_and_every_example_is_scored(
    name: str, settings: Settings, warm: WarmBackbones
) -> None:
    check_single(name, settings, warm)


@pytest.mark.parametrize(
    "methods", [{"adap_ins_pos"}, pytest.param(METHODS, marks=pytest.mark.full)], ids=len
)
def test_record_trains_on_fewglue_and_every_entity_is_a_choice(
    methods: set[str], settings: Settings, warm: WarmBackbones
) -> None:
    recipe = shortened("record-quick")
    assert {method.label for method in recipe.methods} == METHODS
    kept = tuple(method for method in recipe.methods if method.label in methods)
    found = results(recipe.model_copy(update={"methods": kept}), settings, warm)
    assert {label.split()[1] for label in found} == methods
    for result in found.values():
        assert result["test_source"] == "dev32.jsonl"
        counts = result["counts"]
        scored = [row for row in result["rows"] if row["split"] == "test"]
        assert len(scored) == counts["test"] >= 32
        assert len({len(row["probabilities"]) for row in scored}) > 1
        for row in scored:
            assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_three_tasks_train_together_beside_their_controls(
    settings: Settings, warm: WarmBackbones
) -> None:
    recipe = shortened("multi-task-quick", max_updates=9)
    found = results(recipe.model_copy(update={"methods": recipe.methods[:1]}), settings, warm)
    joint = found.pop("cb+rte+wic prompt_tuning")
    assert set(joint["tasks"]) == {"cb", "rte", "wic"}
    updates = {name: part["updates"] for name, part in joint["tasks"].items()}
    assert sum(updates.values()) == 9
    mean = sum(part["dev"]["accuracy"] for part in joint["tasks"].values()) / 3
    assert joint["dev"]["joint_mean"] == pytest.approx(mean)
    assert {name.split()[0]: result["updates"] for name, result in found.items()} == updates
