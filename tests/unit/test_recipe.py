"""One schema for page, YAML and CLI; every problem at once, with its field."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import RecipeErrors
from core.methods import ALIASES
from core.recipe import Recipe, RunConfig, group_key
from core.recipe_files import (
    load_recipe,
    parse_recipe,
    parse_recipe_text,
    read_yaml,
    shipped_recipes,
)
from core.recipe_problems import EXAMPLES

SMALL = {"name": "small", "tasks": ["desk"], "methods": ["prompt_tuning"]}
SLOT = {"kind": "dynamic_prompt", "position": "fixed", "place": "slot"}


def problems(content: dict[str, object]) -> dict[str, str]:
    with pytest.raises(RecipeErrors) as caught:
        parse_recipe(content)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_the_grid_is_every_combination() -> None:
    recipe = parse_recipe(
        {
            **SMALL,
            "tasks": ["desk", "clauses"],
            "methods": ["fine_tuning", "adap_pos"],
            "regimes": ["full_data", {"kind": "few_shot", "k": 4}],
            "seeds": {"data": [0, 1], "init": [5, 6, 7]},
        }
    )
    runs = recipe.runs()
    assert len(runs) == recipe.num_final_runs == 2 * 2 * 2 * 6
    assert len({run.canonical_json() for run in runs}) == len(runs)
    assert len({run.config_hash for run in runs}) == 8


def test_every_problem_is_told_at_its_field() -> None:
    found = problems(
        {
            "name": "x",
            "tasks": ["nosuch"],
            "methods": [{"kind": "nosuch"}, {"kind": "prompt_tuning", "num_virtual_tokens": 0}],
            "training": {"batch_size": 0, "epochs": 1, "max_updates": 1},
            "colour": "red",
        }
    )
    assert set(found) == {
        "tasks.0",
        "methods.0",
        "methods.1.num_virtual_tokens",
        "training.batch_size",
        "colour",
    }
    assert found["colour"].startswith("unknown key; known: name, question, tasks")
    assert "adap_ins_pos" in found["methods.0"]
    assert "got 0" in found["training.batch_size"]


def test_an_unknown_key_names_the_nearest_one_of_its_part() -> None:
    found = problems(
        {
            **SMALL,
            "methods": [{"kind": "adap_ins_pos", "learning_rates": {"promt": 0.1}}],
            "regimes": [{"kind": "few_shot", "counts": "per_label"}],
            "training": {"batchsize": 3, "lr": 1},
        }
    )
    assert found["methods.0.learning_rates.promt"] == "unknown key; did you mean prompt?"
    assert found["regimes.0.counts"] == "unknown key; did you mean count?"
    assert found["training.batchsize"] == "unknown key; did you mean batch_size?"
    assert found["training.lr"].startswith("unknown key; known: max_updates, epochs, batch_size")


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"seeds": [0, 1]}, "seeds", "must be written as keys with values, such as {data: [0], "),
        ({"name": None}, "name", "must be text, got None"),
        ({"methods": ["prompt_tunning"]}, "methods.0", "did you mean prompt_tuning?"),
        ({"methods": [{"cut": 1}]}, "methods.0", "names no kind; write kind: and one of adap_"),
        ({"methods": [{**SLOT, "slot": "bordr"}]}, "methods.0.slot", "front, border or end, or a"),
        ({"methods": [{**SLOT, "slot": 1.5}]}, "methods.0.slot", "below 1, such as 0.5; got 1.5"),
        ({"methods": [{**SLOT, "slots": ["front", "x"]}]}, "methods.0.slots.1", "got 'x'"),
        ({"methods": [{"kind": "adap_ins_pos", "samples": 1}]}, "methods.0.samples", "comparing"),
        ({"training": {"batch_size": "x"}}, "training.batch_size", "a whole number, got 'x'"),
        ({"training": {"optimizer": "sgd"}}, "training.optimizer", "must be adamw or adafactor,"),
    ],
)
def test_a_wrong_form_is_told_once_in_the_words_of_its_field(
    change: dict[str, object], field: str, message: str
) -> None:
    found = problems({**SMALL, **change})
    assert set(found) == {field}
    assert message in found[field]


def test_what_is_missing_says_what_it_is() -> None:
    found = problems({key: value for key, value in SMALL.items() if key != "name"})
    assert found == {"name": "is missing and must be given (name of the study, for people)"}


def test_the_right_forms_that_are_told_are_right() -> None:
    for name, example in EXAMPLES.items():
        for form in example.split(" or ", maxsplit=1):
            content: object = read_yaml(form)
            if name in ("learning_rates", "temperature"):
                assert parse_recipe({**SMALL, "methods": [{"kind": "adap_ins_pos", name: content}]})
                continue
            is_list = name in ("backbones", "methods", "regimes", "tasks")
            assert parse_recipe({**SMALL, name: [content] if is_list else content})


def test_no_methods_is_one_clear_problem() -> None:
    assert problems({**SMALL, "methods": []}) == {"methods": "at least one entry is needed"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"kind": "prompt_tuning", "cut": 11}, "cut 11 is larger"),
        ({"kind": "dynamic_prompt", "position": "task", "cut": 1}, "only for position: fixed"),
        ({"kind": "prompt_tuning", "learning_rates": {"prompt": float("nan")}}, "finite"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(
    method: dict[str, object], message: str
) -> None:
    assert message in " ".join(problems({**SMALL, "methods": [method]}).values())


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_the_papers_names_are_accepted_and_shown(alias: str) -> None:
    is_tuned = alias == "fixed_best"
    tuning = {"protocol": "tuned", "trials": 5} if is_tuned else {"protocol": "fixed"}
    recipe = parse_recipe({**SMALL, "methods": [alias], "tuning": tuning})
    assert recipe.methods[0].label.replace(" ", "_") == alias


def test_yaml_round_trip_keeps_the_recipe() -> None:
    recipe = parse_recipe(
        {
            **SMALL,
            "methods": ["adap_ins_pos", {"kind": "prompt_tuning", "cut": 5}],
            "backbones": [{"name": "minilm", "pooling": "first"}],
            "regimes": [{"kind": "few_shot", "k": 8}],
            "training": {"max_updates": 7},
        }
    )
    assert parse_recipe_text(recipe.to_yaml()) == recipe


def test_broken_yaml_names_its_line() -> None:
    with pytest.raises(RecipeErrors, match="line 2"):
        parse_recipe_text("name: x\n  tasks: [")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_load(name: str) -> None:
    assert isinstance(load_recipe(name), Recipe)


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(RecipeErrors, match="cb-quick"):
        load_recipe("nosuch")


def test_a_run_config_survives_json_and_its_hash_ignores_seeds_and_place(tmp_path: Path) -> None:
    run = parse_recipe(SMALL).runs()[0]
    again = RunConfig.model_validate_json(run.canonical_json())
    assert again == run
    here = run.task.model_copy(update={"folder": str(tmp_path), "data_version": "abc"})
    there = run.task.model_copy(update={"folder": "/elsewhere", "data_version": "abc"})
    seeds = run.seeds.model_copy(update={"init": 9})
    hashes = {
        run.model_copy(update={"task": here}).config_hash,
        run.model_copy(update={"task": there, "seeds": seeds}).config_hash,
    }
    assert len(hashes) == 1


def test_learning_rates_are_resolved_per_group() -> None:
    recipe = parse_recipe(
        {**SMALL, "methods": [{"kind": "adap_ins_pos", "learning_rates": {"prompt": 0.5}}]}
    )
    rates = recipe.runs()[0].method.learning_rates
    assert rates.prompt == 0.5
    assert rates.selector == 1e-2
    assert rates.backbone is None


def test_methods_that_change_the_backbone_train_alone() -> None:
    fine_tuning, prompt = parse_recipe({**SMALL, "methods": ["fine_tuning", "adap_pos"]}).runs()
    assert group_key(fine_tuning, "run1") != group_key(fine_tuning, "run2")
    assert group_key(prompt, "run1") == group_key(prompt, "run2")


@pytest.mark.parametrize(
    "text",
    [
        "name: 2024-99-99",
        "[" * 5000,
        "name: x\ntasks: [desk]\nmethods: [{kind: [1]}]",
        "tasks: desk",
    ],
    ids=["date", "depth", "list as kind", "text as list"],
)
def test_hostile_yaml_is_a_problem_and_never_a_crash(text: str) -> None:
    with pytest.raises(RecipeErrors):
        parse_recipe_text(text)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"methods": ["adap_pos", "adap_pos"]}, "methods"),
        ({"seeds": {"init": [1, 1]}}, "seeds.init"),
        ({"tasks": ["desk", {"name": "desk", "folder": "elsewhere"}]}, "tasks"),
    ],
)
def test_an_entry_that_stands_twice_is_refused(change: dict[str, object], place: str) -> None:
    assert f"twice in {place}" in problems({**SMALL, **change})[""]


def test_rates_of_tensors_that_a_method_lacks_are_refused() -> None:
    method = {"kind": "linear_probe", "learning_rates": {"prompt": 0.1}}
    assert "trains no prompt" in problems({**SMALL, "methods": [method]})["methods.0"]


def test_trials_count_against_the_limit_of_runs() -> None:
    wide = {"seeds": {"init": list(range(100))}, "tuning": {"protocol": "tuned", "trials": 64}}
    grid = {"regimes": [{"kind": "few_shot", "k": k} for k in range(1, 20)]}
    assert "more than the 2000" in problems({**SMALL, **wide, **grid})[""]
