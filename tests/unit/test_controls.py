"""Controls of a dynamic prompt: one cut chosen on dev, and as many vectors as a pool has."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import RecipeErrors
from core.methods import METHODS, MethodConfig
from core.recipe_files import parse_recipe
from core.tuning import TrialResult, settings, trials, winner
from tests.method_tools import make_method, tiny_backbone

TUNED = {"protocol": "tuned", "trials": 5}


def recipe(method: Any, **rest: Any) -> Any:
    return parse_recipe({"name": "controls", "tasks": ["desk"], "methods": [method], **rest})


def problem(method: Any, **rest: Any) -> str:
    with pytest.raises(RecipeErrors) as caught:
        recipe(method, **rest)
    (found,) = caught.value.problems
    return str(found)


def test_the_best_fixed_cut_is_searched_like_a_learning_rate() -> None:
    (method,) = recipe("fixed_best", tuning=TUNED).methods
    (search, *others) = method.search
    assert (search.field, search.values) == ("cut", (10, 8, 5, 2, 0))
    assert tuple(others) == method.SEARCH


def test_every_cut_is_tried_at_the_same_rates_before_the_rates_are_varied() -> None:
    (method,) = recipe("fixed_best", tuning=TUNED).methods
    tried = settings(method.resolved(), 8)
    assert [one.vectors_before for one in tried[:5]] == [10, 8, 5, 2, 0]
    assert {one.learning_rates for one in tried[:5]} == {method.DEFAULT_RATES}
    assert all(one.learning_rates != method.DEFAULT_RATES for one in tried[5:])
    assert len({one.model_dump_json() for one in tried}) == 8
    assert len({one.learning_rates.prompt for one in tried[5:]}) == 3
    assert settings(method.resolved(), 3) == tried[:3]
    every = settings(method.resolved(), 64)
    assert len(every) == len({(one.vectors_before, one.learning_rates) for one in every}) == 40


def test_rates_as_written_stay_while_the_cuts_are_tried() -> None:
    written = {"kind": "fixed_best", "learning_rates": {"prompt": 0.05}}
    (method,) = recipe(written, tuning=TUNED).methods
    tried = settings(method.resolved(), 5)
    assert {one.learning_rates.prompt for one in tried} == {0.05}
    assert {one.vectors_before for one in tried} == {10, 8, 5, 2, 0}
    assert {one.learning_rates.prompt for one in settings(method.resolved(), 7)[5:]} != {0.05}


def test_a_cut_as_written_is_tried_first_and_the_others_beside_it() -> None:
    six = {"protocol": "tuned", "trials": 6}
    (method,) = recipe({"kind": "fixed_best", "cut": 7}, tuning=six).methods
    tried = settings(method.resolved(), 6)
    assert [one.vectors_before for one in tried] == [7, 10, 8, 5, 2, 0]


@pytest.mark.parametrize(("vectors", "cuts"), [(10, 5), (2, 3), (1, 2)])
def test_fewer_trials_than_cuts_are_refused(vectors: int, cuts: int) -> None:
    method = {"kind": "fixed_best", "num_virtual_tokens": vectors}
    (found,) = recipe(method, tuning={"protocol": "tuned", "trials": cuts}).methods
    assert found.least_trials == cuts
    if cuts > 2:  # the least that a recipe may have
        said = problem(method, tuning={"protocol": "tuned", "trials": cuts - 1})
        assert said.startswith("tuning.trials")
        assert f"give trials: {cuts}" in said


def test_its_winner_says_its_cut_and_the_plain_method_is_searched_as_before() -> None:
    found = trials(recipe("fixed_best", tuning=TUNED))
    results = [
        TrialResult(trial.config, {"dev": {"accuracy": 1.0 if trial.config.method.cut == 5 else 0}})
        for trial in found
    ]
    best = winner(results)
    assert best is not None
    assert best.config.method.label == "fixed_best"
    assert best.config.method.vectors_before == 5
    assert "chosen on dev" in best.config.method.describe()
    (again,) = recipe(best.config.method.model_dump(mode="json")).methods
    assert again.cut == 5, "a clone of the winner trains without trials"
    plain = METHODS["prompt_tuning"](kind="prompt_tuning")
    assert plain.search == plain.SEARCH
    assert all(search.field != "cut" for search in plain.search)


def test_without_trials_nobody_chooses_the_cut() -> None:
    said = problem("fixed_best")
    assert "methods.0.cut" in said
    assert "protocol: tuned" in said


def test_capacity_has_as_many_numbers_as_the_pool() -> None:
    backbone = tiny_backbone()
    length = {"num_virtual_tokens": 3}
    (capacity,) = recipe({"kind": "capacity", **length}).methods
    (pool,) = recipe({"kind": "adap_ins_vec", **length}).methods
    counted = capacity.num_trainable(backbone.facts, 2)
    assert counted["prompt"] == pool.num_trainable(backbone.facts, 2)["prompt"]
    assert capacity.prompt_length == capacity.vectors_before == 12
    built = make_method(backbone, "prompt_tuning", num_virtual_tokens=3, pool_to_match=4)
    assert sum(tensor.numel() for tensor in built.parameters()) == counted["prompt"]
    assert "12 before and 0 after" in capacity.describe()


@pytest.mark.parametrize("fields", [{"cut": 2}, {"cut_from": "dev"}])
def test_vectors_that_match_a_pool_have_no_cut(fields: dict[str, Any]) -> None:
    assert "no cut" in problem({"kind": "capacity", **fields}, tuning=TUNED)


def test_labels_keep_other_settings_apart() -> None:
    def label(**fields: Any) -> str:
        method: MethodConfig = METHODS["prompt_tuning"](kind="prompt_tuning", **fields)
        return method.label

    found = [
        label(), label(cut=2), label(pool_to_match=4), label(pool_to_match=2),
        label(cut_from="dev"),
    ]  # fmt: skip
    assert len(set(found)) == len(found)


def test_fixed_best_is_one_row_whatever_cut_each_task_found() -> None:
    labels = {
        METHODS["prompt_tuning"](kind="prompt_tuning", cut_from="dev", cut=cut).label
        for cut in (None, 0, 5)
    }
    assert labels == {"fixed_best"}
