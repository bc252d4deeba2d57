"""What the preview says before anything is queued."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import actions
from app.estimate import Load, StepTime, estimate, rough_seconds
from app.preview import preview
from core.backbones.facts import facts
from core.backbones.spec import BackboneChoice
from core.methods import METHODS
from core.recipe_files import parse_recipe_text
from core.settings import Settings
from tests.small_studies import finish, new_store, recipe, worker


def load(**changes: object) -> Load:
    values: dict[str, object] = {
        "backbone": "minilm",
        "method_kind": "prompt_tuning",
        "max_tokens": 64,
        "batch_size": 16,
        "updates": 100,
        "repeats": 2,
        "tokens": 40.0,
        "facts": None,
        "num_dev": 100,
        "evaluations": 10,
    }
    return Load(**{**values, **changes})  # type: ignore[arg-type]


def past(seconds: float, **changes: object) -> StepTime:
    values: dict[str, object] = {
        "backbone": "minilm",
        "method_kind": "prompt_tuning",
        "max_tokens": 64,
        "batch_size": 16,
    }
    return StepTime(**{**values, **changes}, seconds=seconds)  # type: ignore[arg-type]


def test_counts_are_the_product_of_the_grid() -> None:
    view = preview(recipe(seeds={"init": [0, 1, 2]}), None)
    assert (view.num_runs, view.num_trials, view.num_finals) == (6, 0, 6)
    assert view.grid == "2 methods × 3 seeds"
    assert view.updates == (100, 100)


def test_tuning_adds_the_same_trials_for_each_method() -> None:
    view = preview(recipe(tuning={"protocol": "tuned", "trials": 5}), None)
    assert (view.num_runs, view.num_trials, view.num_finals) == (14, 10, 4)


def test_parameters_are_the_formulas_of_the_methods() -> None:
    view = preview(recipe(("prompt_tuning", "fine_tuning")), None)
    sizes = facts(BackboneChoice(name="minilm"), offline=True)
    formula = METHODS["prompt_tuning"](kind="prompt_tuning").num_trainable(sizes, 8)
    prompt, full = view.methods
    assert prompt.parameters == formula
    assert prompt.total == sum(formula.values())
    assert full.alone
    assert full.share > 1


def test_few_shot_updates_follow_the_drawn_examples() -> None:
    view = preview(
        recipe(regimes=[{"kind": "few_shot", "k": 4}], training={"epochs": 10, "batch_size": 16}),
        None,
    )
    assert view.updates == (20, 20)  # 8 labels x 4 examples = 2 batches, 10 times


def test_a_single_seed_and_a_single_method_are_told() -> None:
    told = " ".join(preview(recipe(("prompt_tuning",), seeds={"init": [3]}), None).warnings)
    assert "One seed" in told
    assert "One method" in told
    assert not preview(recipe(), None).warnings


def test_cut_texts_are_told() -> None:
    told = preview(recipe(training={"max_updates": 5, "max_tokens": 8}), None).warnings
    assert any("will be cut" in text for text in told)


def test_a_task_without_files_is_told_and_breaks_nothing() -> None:
    view = preview(recipe(tasks=["desk", "cb"]), None)
    assert any("'cb' has no readable files" in text for text in view.warnings)
    assert view.estimate.is_rough


def test_yaml_gives_the_same_recipe_again() -> None:
    wanted = recipe(("adap_pos", "p_tuning_v2"), training={"max_updates": 7})
    assert parse_recipe_text(preview(wanted, None).yaml) == wanted


def test_the_estimate_rests_on_like_runs_only() -> None:
    like = [past(0.1), past(0.3), past(0.2)]
    other = [
        past(9.0, method_kind="fine_tuning"),
        past(9.0, batch_size=32),
        past(9.0, max_tokens=128),
        past(9.0, backbone="bert-base"),
    ]
    found = estimate([load()], [*like, *other], True)
    assert found.seconds == pytest.approx(0.2 * 100 * 2)
    assert not found.is_rough
    assert estimate([load()], other, True).is_rough


def test_the_rough_rule_grows_with_the_work() -> None:
    assert rough_seconds(load(updates=200)) > 1.9 * rough_seconds(load(evaluations=0))
    assert rough_seconds(load(method_kind="fine_tuning")) > rough_seconds(load())
    assert rough_seconds(load(method_kind="linear_probe")) < rough_seconds(load())


def test_finished_runs_enter_the_estimate(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    store = new_store(settings)
    actions.submit_recipe(store, recipe(("prompt_tuning",)), settings=settings)
    finish(store, worker(store), [0.8, 0.82])
    view = preview(recipe(("prompt_tuning",)), store, settings)
    store.close()
    assert view.estimate.seconds == pytest.approx(2 * 100 * 0.2)
    assert "2 finished runs" in view.estimate.basis
