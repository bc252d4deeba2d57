"""The form: made from the models, read into a recipe, filled from one."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pytest
from pydantic import Field

from app.form_filling import values_from_recipe
from app.form_values import form_path, recipe_from_values
from app.forms import (
    controls,
    default_values,
    fields_of,
    method_choices,
    method_fields,
    regime_fields,
    training_fields,
)
from core.errors import RecipeErrors
from core.methods import ALIASES, METHODS, Axis, Part
from core.recipe import Recipe
from core.recipe_files import load_recipe, shipped_recipes
from core.recipe_parts import Training
from core.regimes import REGIMES
from core.tasks import TASKS as DECLARED
from tests.small_studies import recipe

TASKS = ("desk", "clauses")
OFFERED = (*TASKS, *(set(DECLARED) - set(TASKS)), "reviews@0123456789abcdef")


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
    optimisers = tuple(value for _, value in fields["training.optimizer"].choices)
    assert optimisers == ("adamw", "adafactor")
    assert (fields["training.accumulation"].kind, fields["training.accumulation"].default) == (
        "integer",
        1,
    )


class OneChoice(Part):
    """A part of which nothing can be chosen."""

    only: Literal["this"] = Field(default="this", title="Only")


def test_one_choice_is_no_choice() -> None:
    assert list(fields_of(OneChoice)) == []


def test_every_training_field_is_in_the_form_once() -> None:
    simple, rest = training_fields()
    paths = [field.path for field in (*simple, *rest)]
    assert len(paths) == len(set(paths))
    names = {path.split(".")[1] for path in paths if path.startswith("training.")}
    assert names == set(Training.model_fields)


def test_a_control_is_called_one_and_says_what_it_shows() -> None:
    labels = {value: label for label, value in method_choices()}
    assert len(set(labels.values())) == len(labels)
    told = dict(controls())
    assert set(told) == {"fixed_best", "capacity", "random_cut"}
    for name in told:
        assert labels[name] == f"Control: {told[name].title.lower()} · {name}"
        assert "whether" in told[name].shows
    assert labels["prompt_tuning"] == "Prompt tuning · prompt_tuning"


def test_every_method_can_be_chosen_and_set() -> None:
    chosen = {value for _, value in method_choices()}
    assert chosen >= set(ALIASES)
    assert {str(ALIASES.get(name, {"kind": name})["kind"]) for name in chosen} == set(METHODS)
    for name in chosen:
        tuned = {"tuning.protocol": "tuned", "tuning.trials": 5}
        protocol = tuned if name == "fixed_best" else {"tuning.protocol": "fixed"}
        found = read(methods=[name], **protocol).methods[0]
        assert found.label.replace(" ", "_").startswith(name)
    for kind in METHODS:
        assert any("learning_rates" in field.path for field in method_fields(kind))


def test_several_few_shot_sizes_are_several_regimes() -> None:
    found = read(regimes=["full_data", "few_shot"], **{"few_shot.k": "4, 16"})
    assert [regime.label for regime in found.regimes] == [
        "full_data",
        "few_shot (4 per label, full dev)",
        "few_shot (16 per label, full dev)",
    ]


def test_every_setting_of_a_regime_is_in_the_form_but_what_the_studio_sets() -> None:
    for kind, config in REGIMES.items():
        shown = {field.path.split(".")[1] for field in regime_fields(kind)}
        assert shown == set(config.model_fields) - {"kind", "role"}
    own = next(field for field in regime_fields("multi_task") if field.path == "multi_task.own")
    assert own.kind == "choices"
    assert [value for _, value in own.choices] == list(get_args(Axis))


def test_the_settings_of_a_regime_count_only_when_it_is_chosen() -> None:
    typed: dict[str, Any] = {"few_shot.k": "none", "multi_task.own": ["vectors"]}
    assert [regime.kind for regime in read(**typed).regimes] == ["full_data"]
    joint = read(tasks=["cb", "rte"], regimes=["multi_task"], **typed).regimes[0]
    assert joint.own_axes == ("vectors",)


def test_fewglue_is_fixed_whatever_was_typed_for_a_draw() -> None:
    values = {"few_shot.k": "none", "few_shot.draw": "fewglue"}
    (regime,) = read(tasks=["cb"], regimes=["few_shot"], **values).regimes
    assert regime.source == "fewglue"


def test_added_data_sets_and_templates_reach_the_tasks() -> None:
    chosen = ["rte", "wsc", "reviews@0123456789abcdef"]
    found = read(tasks=chosen, template="paper_code", diagnostics=True)
    rte, wsc, reviews = found.tasks
    assert (rte.template, rte.diagnostics) == ("paper_code", True)
    assert (wsc.template, wsc.diagnostics) == ("", False)  # it has no template of this name
    assert (reviews.name, reviews.dataset) == ("reviews", "0123456789abcdef")
    assert found.name.endswith("on rte, wsc, reviews")


def test_further_methods_are_read_as_a_recipe_has_them() -> None:
    text = "- adap_pos\n- {kind: p_tuning_v2, prefix_projection: true}"
    labels = [method.label for method in read(**{"methods.more": text}).methods]
    assert labels == ["prompt_tuning", "adap_ins_pos", "adap_pos", "p_tuning_v2 (MLP)"]


@pytest.mark.parametrize("text", ["adap_pos", "- {", "- {kind: nothing}"])
def test_unreadable_further_methods_are_told_at_their_field(text: str) -> None:
    told = problems(**{"methods.more": text})
    assert {form_path(field, default_values(TASKS)) for field in told} == {"methods.more"}


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
    values |= {"regimes": ["full_data", "few_shot", "multi_task"], "few_shot.k": "4, 8"}
    assert form_path("regimes.0.max_train", values) == "full_data.max_train"
    assert form_path("regimes.2.k", values) == "few_shot.k"
    assert form_path("regimes.3.own", values) == "multi_task.own"
    assert form_path("regimes.3", values) == "regimes"
    assert form_path("methods.1.kind", values) == "methods"
    assert form_path("methods.2.kind", values) == "methods.more"
    both = problems(**{"training.max_updates": "5", "training.epochs": "2"})
    assert {form_path(field, values) for field in both} == {"training.epochs"}


MIXED = recipe(
    ("prompt_tuning", "adap_ins_pos"),
    tasks=["cb", {"name": "rte", "diagnostics": True}, "wsc"],
    regimes=[
        {"kind": "full_data", "max_train": 100},
        {"kind": "few_shot", "k": 4, "dev": "same_size"},
        {"kind": "few_shot", "k": 8, "dev": "same_size"},
        {"kind": "multi_task", "own": ["vectors"], "sampling": "uniform", "control": False},
    ],
    init_from="S3-12",
)
TWO_VARIANTS = ("prompt_tuning", {"kind": "prompt_tuning", "cut": 3}, "adap_pos")
TWO_LENGTHS = ({"kind": "prompt_tuning", "num_virtual_tokens": 4}, "adap_pos")


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
        recipe(tasks=["cb", {"name": "reviews", "dataset": "0123456789abcdef"}]),
        recipe(tasks=[{"name": "wic", "template": "p_tuning_v2"}, "desk"]),
        recipe(tasks=["cb"], regimes=[{"kind": "few_shot", "draw": "fewglue"}]),
        recipe(tasks=["cb"], tuning={"protocol": "tuned", "trials": 2, "folds": 5}),
        recipe(TWO_VARIANTS),  # type: ignore[arg-type]
        recipe(TWO_LENGTHS),  # type: ignore[arg-type]
        recipe(({"kind": "dynamic_prompt", "position": "fixed"},)),  # type: ignore[arg-type]
        MIXED,
        *map(load_recipe, shipped_recipes()),
    ],
    ids=[
        "plain",
        "epochs",
        "settings",
        "own task",
        "added data",
        "template",
        "fewglue",
        "folds",
        "two settings of a method",
        "different lengths",
        "an axis without a name",
        "every regime",
        *shipped_recipes(),
    ],
)
def test_a_recipe_goes_into_the_form_and_back(wanted: Recipe) -> None:
    values = values_from_recipe(wanted, OFFERED)
    assert values is not None
    assert set(values) >= set(default_values(TASKS))
    again = recipe_from_values(values)
    assert {c.config_hash for c in again.runs()} == {c.config_hash for c in wanted.runs()}
    assert (again.name, again.tuning, again.init_from) == (
        wanted.name,
        wanted.tuning,
        wanted.init_from,
    )
    assert values_from_recipe(again, OFFERED) == values


@pytest.mark.parametrize(
    "wanted",
    [
        recipe(tasks=[{"name": "a", "folder": "x"}, {"name": "b", "folder": "y"}]),
        recipe(tasks=["cb"], regimes=["full_data", {"kind": "full_data", "max_train": 9}]),
        recipe(tasks=[{"name": "cb", "template": "p_tuning_v2"}, {"name": "rte", "template": ""}]),
        recipe(tasks=[{"name": "away", "dataset": "0123456789abcdef"}]),
    ],
    ids=["two own tasks", "two sizes of full data", "two templates", "data that are not here"],
)
def test_what_the_form_cannot_show_is_refused(wanted: Recipe) -> None:
    assert values_from_recipe(wanted, OFFERED) is None
