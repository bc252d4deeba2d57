"""What a recipe with several regimes stands for, and what its parts demand of each other."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from core.errors import RecipeErrors
from core.methods import Axis
from core.recipe import Recipe, RunConfig
from core.recipe_checks import MAX_RUNS, WHAT_IS_FIXED
from core.recipe_files import parse_recipe, parse_recipe_text
from core.regimes.multi_task import Config as MultiTask

THREE = {"name": "three", "tasks": ["cb", "rte", "wic"], "methods": ["adap_ins_pos", "fine_tuning"]}
TUNED = {"protocol": "tuned", "trials": 3}


def problems(**content: object) -> list[tuple[str, str]]:
    with pytest.raises(RecipeErrors) as caught:
        parse_recipe({**THREE, **content})
    return [(problem.field, problem.message) for problem in caught.value.problems]


def grid(recipe: Recipe) -> list[tuple[str, str, str]]:
    return [
        (run.task_label, getattr(run.regime, "role", ""), run.method.kind) for run in recipe.runs()
    ]


def test_multi_task_is_one_joint_run_and_a_control_for_each_task() -> None:
    recipe = parse_recipe({**THREE, "regimes": ["multi_task"], "seeds": {"init": [0, 1]}})
    runs = recipe.runs()
    assert Counter((run.task_label, run.regime.is_joint) for run in runs) == {
        ("cb+rte+wic", True): 4,
        ("cb", False): 4,
        ("rte", False): 4,
        ("wic", False): 4,
    }
    for run in runs:
        assert {task.name for task in run.tasks} == {"cb", "rte", "wic"}
    controls = [run for run in runs if run.task.name == "rte"]
    assert [task.name for task in controls[0].partners] == ["cb", "wic"]
    assert len(runs) == recipe.num_final_runs == 16
    assert len({run.config_hash for run in runs}) == recipe.num_cells == 8


def test_runs_that_train_together_stand_together() -> None:
    recipe = parse_recipe({**THREE, "regimes": ["full_data", "multi_task"]})
    places = [(task, role) for task, role, _ in grid(recipe)]
    assert places == sorted(places, key=places.index)
    assert [task for task, role in dict.fromkeys(places) if role == "single"] == [
        "cb",
        "rte",
        "wic",
    ]


@pytest.mark.parametrize(
    "regimes",
    [
        ["full_data"],
        ["multi_task"],
        [{"kind": "multi_task", "control": False}],
        [{"kind": "multi_task", "role": "single", "control": False}],
        ["full_data", {"kind": "few_shot", "k": 4}, "multi_task"],
        [
            {"kind": "multi_task", "sampling": "uniform"},
            {"kind": "multi_task", "sampling": "proportional", "control": False},
            {"kind": "multi_task", "sampling": "proportional"},
        ],
    ],
)
def test_every_count_equals_what_is_expanded(regimes: list[object]) -> None:
    recipe = parse_recipe(
        {
            **THREE,
            "regimes": regimes,
            "backbones": ["minilm", {"name": "minilm", "pooling": "first"}],
            "seeds": {"data": [0, 1], "init": [0, 1, 2]},
            "tuning": TUNED,
        }
    )
    runs = recipe.runs()
    assert recipe.num_final_runs == len(runs)
    assert recipe.num_cells == len(list(recipe.cells())) == len({run.config_hash for run in runs})
    assert recipe.num_trial_runs == 3 * recipe.num_cells > 0


def test_regimes_that_differ_in_what_is_shared_have_one_control() -> None:
    shared = {"kind": "multi_task"}
    own = {"kind": "multi_task", "own": ["position"]}
    recipe = parse_recipe({**THREE, "methods": ["adap_ins_pos"], "regimes": [shared, own]})
    assert Counter(role for _, role, _ in grid(recipe)) == {"joint": 2, "single": 3}
    joint = [run.regime for run in recipe.runs() if run.regime.is_joint]
    assert [regime.own for regime in joint if isinstance(regime, MultiTask)] == [(), ("position",)]


def test_multi_task_needs_two_tasks() -> None:
    assert problems(tasks=["cb"], regimes=["full_data", "multi_task"]) == [
        ("regimes.1", "multi_task trains several tasks together; add a second task")
    ]


def test_the_names_of_joint_tasks_have_to_fit() -> None:
    tasks = [{"name": f"{letter * 40}", "folder": "x"} for letter in "ab"]
    ((field, message),) = problems(tasks=tasks, regimes=["multi_task"])
    assert field == "tasks"
    assert "have 81 characters" in message
    assert parse_recipe({**THREE, "tasks": tasks}).num_final_runs == 4
    many = [{"name": f"t{number}", "folder": "x"} for number in range(17)]
    assert problems(tasks=many, regimes=["multi_task"])[0][1].startswith(
        "multi_task trains at most"
    )


@pytest.mark.parametrize(
    ("method", "own", "refused"),
    [
        ("adap_ins_pos", ["vectors", "position"], ""),
        ("adap_ins_vec_pos", ["vectors", "position", "representation"], ""),
        ("prompt_tuning", ["vectors"], ""),
        ("p_tuning_v2", ["vectors"], ""),
        ("adap_ins_pos", ["representation"], "trains no choice of vectors"),
        ("adap_ins_vec", ["position"], "trains no position"),
        ("prompt_tuning", ["position"], "it can have: vectors"),
        ("fine_tuning", ["vectors"], "fine_tuning trains no vectors"),
        ("linear_probe", ["vectors"], "it can have: none"),
    ],
)
def test_a_task_has_its_own_only_of_what_is_trained(
    method: str, own: list[str], refused: str
) -> None:
    regimes = [{"kind": "multi_task", "own": own}]
    if not refused:
        assert parse_recipe({**THREE, "methods": [method], "regimes": regimes})
        return
    ((field, message),) = problems(methods=[method], regimes=regimes)
    assert field == "regimes.0.own"
    assert refused in message


def test_what_is_not_trained_has_words_for_every_axis() -> None:
    assert set(WHAT_IS_FIXED) == set(get_args(Axis))
    ((field, message),) = problems(
        methods=["adap_ins_pos"], regimes=[{"kind": "multi_task", "own": ["length"]}]
    )
    assert field == "regimes.0.own"
    assert "trains no length" in message


@pytest.mark.parametrize("selection", ["exact", "sampled"])
@pytest.mark.parametrize("task", ["copa", "record"])
def test_a_summed_selection_is_refused_where_choices_are_scored(task: str, selection: str) -> None:
    methods = ["prompt_tuning", {"kind": "adap_ins_pos", "selection": selection}]
    ((field, message),) = problems(tasks=["cb", task], methods=methods)
    assert field == "methods.1.selection"
    assert f"of {task} are scored together" in message
    assert "st_gumbel" in message
    assert parse_recipe({**THREE, "methods": methods})
    own = [{"name": task, "folder": "x", "text_fields": ["text"]}]
    assert parse_recipe({**THREE, "tasks": own, "methods": methods})


def test_a_task_is_not_trained_jointly_with_the_one_it_is_cut_from() -> None:
    pair = ["boolq-devsplit", "cb", "boolq"]
    ((field, message),) = problems(tasks=pair, regimes=["full_data", "multi_task"])
    assert field == "tasks.2"
    assert "boolq-devsplit is cut from the file that boolq reports on" in message
    assert parse_recipe({**THREE, "tasks": pair})
    assert parse_recipe({**THREE, "tasks": pair[:2], "regimes": ["multi_task"]})


@pytest.mark.parametrize("role", [{}, {"role": "single", "control": False}])
def test_patience_goes_with_no_control(role: dict[str, object]) -> None:
    early: dict[str, object] = {"training": {"patience": 2}}
    ((field, message),) = problems(regimes=[{"kind": "multi_task", **role}], **early)
    assert field == "training.patience"
    assert "control: false" in message
    for regime in ("full_data", {"kind": "multi_task", "control": False}):
        assert parse_recipe({**THREE, "regimes": [regime], **early})


def test_few_shot_alone_crosses_five_data_with_two_init_seeds_by_default() -> None:
    few: dict[str, object] = {**THREE, "regimes": [{"kind": "few_shot", "k": 4}, "few_shot"]}
    recipe = parse_recipe(few)
    assert (recipe.seeds.data, recipe.seeds.init) == ((0, 1, 2, 3, 4), (0, 1))
    assert parse_recipe_text(recipe.to_yaml()) == recipe
    for other in ({"seeds": {"init": [3]}}, {"regimes": ["few_shot", "full_data"]}):
        seeds = parse_recipe({**few, **other}).seeds
        assert len(seeds.data) == len(seeds.init) == 1


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"regimes": [{"kind": "few_shot", "dev": "same_size"}]}, "regimes.0.dev"),
        ({"regimes": [{"kind": "few_shot", "draw": "fewglue"}]}, "regimes.0.dev"),
    ],
)
@pytest.mark.parametrize(
    "elsewhere", [{"selection": "paper_practice"}, {"tuning": {**TUNED, "folds": 5}}]
)
def test_a_small_dev_needs_to_be_the_one_that_selects(
    content: dict[str, object], elsewhere: dict[str, object], field: str
) -> None:
    assert [place for place, _ in problems(**content, **elsewhere)] == [field]


def test_folds_go_with_neither_a_control_nor_paper_practice() -> None:
    folds = {"tuning": {**TUNED, "folds": 5}}
    assert [field for field, _ in problems(regimes=["multi_task"], **folds)] == [
        "regimes.0.control"
    ]
    assert [field for field, _ in problems(selection="paper_practice", **folds)] == ["selection"]
    joint = parse_recipe({**THREE, "regimes": [{"kind": "multi_task", "control": False}], **folds})
    assert joint.num_trial_runs == 2 * 3 * 5
    assert [field for field, _ in problems(tuning={"folds": 5})] == ["tuning"]


def test_trials_and_folds_count_against_the_limit_of_runs() -> None:
    wide: dict[str, object] = {
        "regimes": [{"kind": "few_shot", "k": k} for k in range(1, 23)],
        "seeds": {"init": [0]},
        "tuning": {**TUNED, "folds": 5},
    }
    ((field, message),) = problems(**wide)
    assert field == ""
    assert message == f"{22 * 6 * 16} runs are more than the {MAX_RUNS} a study may have"


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        tasks=["cb"],
        selection="paper_practice",
        regimes=[
            {"kind": "few_shot", "dev": "same_size"},
            {"kind": "multi_task", "own": ["vectors"]},
        ],
    )
    assert [field for field, _ in found] == ["regimes.1", "regimes.1.own", "regimes.0.dev"]


def test_everything_survives_yaml_and_reaches_the_runs() -> None:
    recipe = parse_recipe(
        {
            **THREE,
            "tasks": [
                "cb",
                {"name": "rte", "diagnostics": True, "template": "p_tuning_v2"},
                {"name": "reviews", "dataset": "latest"},
            ],
            "methods": ["adap_ins_pos"],
            "regimes": [
                {"kind": "multi_task", "own": ["position"], "sampling": "uniform", "max_train": 50},
                {"kind": "few_shot", "draw": "fewglue"},
                {"kind": "few_shot", "k": 32, "count": "in_all", "dev": "same_size"},
            ],
            "init_from": "S3-12",
        }
    )
    assert parse_recipe_text(recipe.to_yaml()) == recipe
    runs = recipe.runs()
    assert {run.init_from for run in runs} == {"S3-12"}
    for run in runs:
        assert RunConfig.model_validate_json(run.canonical_json()) == run


@pytest.mark.parametrize("regimes", [[{"kind": [1]}], "few_shot", [[]], [3], [{}]])
def test_hostile_regimes_are_problems(regimes: object) -> None:
    assert all(field.startswith("regimes") for field, _ in problems(regimes=regimes))
