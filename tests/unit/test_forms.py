"""The form: made from the models, read into a recipe, filled from one."""

from __future__ import annotations

from typing import Any

import pytest

from app.form_values import form_path, recipe_from_values, values_from_recipe
from app.forms import default_values, fields_of, method_choices, method_fields, training_fields
from core.errors import RecipeErrors
from core.methods import ALIASES, METHODS
from core.recipe import Recipe
from core.recipe_files import load_recipe
from core.recipe_parts import Training
from tests.small_studies import recipe

TASKS = ("desk", "clauses")


def read(**changes: Any) -> Recipe:
    return recipe_from_values({**default_values(TASKS), **changes})


def problems(**changes: Any) -> dict[str, str]:
    with pytest.raises(RecipeErrors) as caught:
        read(**changes)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_fresh_form_is_two_methods_by_two_seeds_on_desk() -> None:
    found = read()
    assert [task.name for task in found.tasks] == ["desk"]
    assert [method.label for method in found.methods] == ["prompt_tuning", "adap_ins_pos"]
    assert found.seeds.init == (0, 1)
    assert found.num_final_runs == 4
    assert found.name == "prompt_tuning and adap_ins_pos on desk"


def test_fields_carry_title_help_and_default_of_the_model() -> None:
    fields = {field.path: field for field in fields_of(Training, "training.")}
    batch = fields["training.batch_size"]
    assert (batch.title, batch.kind, batch.default) == ("Batch size", "integer", 16)
    assert batch.help == Training.model_fields["batch_size"].description
    assert fields["training.schedule"].choices == (("constant", "constant"), ("linear", "linear"))
    assert fields["training.patience"].optional
    assert "training.optimizer" not in fields  # one choice is no choice


def test_every_training_field_is_in_the_form_once() -> None:
    simple, rest = training_fields()
    paths = [field.path for field in (*simple, *rest)]
    assert len(paths) == len(set(paths))
    names = {path.split(".")[1] for path in paths if path.startswith("training.")}
    assert names == set(Training.model_fields) - {"optimizer"}


def test_every_method_can_be_chosen_and_set() -> None:
    chosen = {value for _, value in method_choices()}
    assert chosen >= set(ALIASES)
    assert {str(ALIASES.get(name, {"kind": name})["kind"]) for name in chosen} == set(METHODS)
    for name in chosen:
        assert read(methods=[name]).methods[0].label.startswith(name)
    for kind in METHODS:
        assert any("learning_rates" in field.path for field in method_fields(kind))


def test_several_few_shot_sizes_are_several_regimes() -> None:
    found = read(regimes=["full_data", "few_shot"], **{"few_shot.k": "4, 16"})
    assert [regime.label for regime in found.regimes] == [
        "full_data",
        "few_shot (k = 4)",
        "few_shot (k = 16)",
    ]


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-3", (0, 1, 2, 3)), (" 7 ", (7,)), ("1; 1, 2", (1, 2))]
)
def test_seeds_are_lists_or_spans(text: str, seeds: tuple[int, ...]) -> None:
    assert read(**{"seeds.init": text}).seeds.init == seeds


def test_numbers_in_text_fields_are_read() -> None:
    found = read(
        **{"training.max_updates": "33", "method.prompt_tuning.learning_rates.prompt": "0.25"}
    )
    assert found.training.max_updates == 33
    assert found.methods[0].learning_rates.prompt == 0.25


def test_all_problems_come_at_once_with_their_fields() -> None:
    told = problems(
        methods=[], **{"training.batch_size": 0, "seeds.init": "x", "training.warmup": 2}
    )
    assert set(told) == {"methods", "training.batch_size", "seeds.init", "training.warmup"}
    assert "'x' is not a whole number" in told["seeds.init"]


@pytest.mark.parametrize("text", ["a", ""])
def test_an_unreadable_k_is_one_problem_with_its_own_advice(text: str) -> None:
    told = problems(regimes=["few_shot"], **{"few_shot.k": text})
    assert set(told) == {"few_shot.k"}
    assert "write 8 or 8, 16, 32" in told["few_shot.k"]


def test_own_data_without_a_name_is_told_at_the_name() -> None:
    for tasks in (["desk"], []):
        assert set(problems(tasks=tasks, **{"own.folder": "data/mine"})) == {"own.name"}


def test_problems_find_their_control() -> None:
    values = default_values(TASKS)
    told = problems(**{"method.prompt_tuning.cut": "50"})
    assert {form_path(field, values) for field in told} <= {"methods", "method.prompt_tuning.cut"}
    assert form_path("methods.1.num_virtual_tokens", values) == "num_virtual_tokens"
    assert form_path("methods.1.pool_size", values) == "method.dynamic_prompt.pool_size"
    assert form_path("tasks.0", values) == "tasks"
    assert form_path("tasks.1.folder", values) == "own.folder"
    assert form_path("backbones.1", values) == "backbone.path"
    assert form_path("seeds.init.0", values) == "seeds.init"
    assert form_path("regimes.0.k", values) == "few_shot.k"
    both = problems(**{"training.max_updates": "5", "training.epochs": "2"})
    assert {form_path(field, values) for field in both} == {"training.epochs"}


@pytest.mark.parametrize(
    "wanted",
    [
        recipe(),
        recipe(("fine_tuning", "adap_ins_vec"), training={"epochs": 3, "patience": 2}),
        recipe(
            ({"kind": "adap_ins_vec", "pool_size": 7, "learning_rates": {"prompt": 0.5}},),  # type: ignore[arg-type]
            regimes=[{"kind": "few_shot", "k": 8}],
            tuning={"protocol": "tuned", "trials": 3},
            backbones=[{"name": "minilm", "pooling": "first"}],
        ),
        recipe(tasks=[{"name": "mine", "folder": "data/mine", "text_fields": ["a", "b"]}]),
        load_recipe("demo"),
    ],
    ids=["plain", "epochs", "settings", "own task", "demo"],
)
def test_a_recipe_goes_into_the_form_and_back(wanted: Recipe) -> None:
    values = values_from_recipe(wanted, TASKS)
    assert values is not None
    assert set(values) >= set(default_values(TASKS))
    again = recipe_from_values(values)
    assert [c.config_hash for c in again.runs()] == [c.config_hash for c in wanted.runs()]
    assert again.name == wanted.name


@pytest.mark.parametrize(
    "wanted",
    [
        recipe(("prompt_tuning", {"kind": "prompt_tuning", "cut": 3})),  # type: ignore[arg-type]
        recipe(({"kind": "prompt_tuning", "num_virtual_tokens": 4}, "adap_pos")),  # type: ignore[arg-type]
        recipe(tasks=[{"name": "a", "folder": "x"}, {"name": "b", "folder": "y"}]),
    ],
    ids=["two settings of a method", "different lengths", "two own tasks"],
)
def test_what_the_form_cannot_show_is_refused(wanted: Recipe) -> None:
    assert values_from_recipe(wanted, TASKS) is None
