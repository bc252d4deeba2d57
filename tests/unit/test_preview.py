"""What the preview says before anything is queued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import actions
from app.components.preview_card import preview_card
from app.estimate import Load, StepTime, estimate, rough_seconds
from app.preview import preview
from core.backbones.facts import facts
from core.backbones.spec import BackboneChoice
from core.methods import METHODS
from core.recipe_files import load_recipe, parse_recipe_text, shipped_recipes
from core.settings import Settings
from tests.small_studies import finish, new_store, recipe, worker


def load(**changes: object) -> Load:
    values: dict[str, object] = {
        "task": "desk",
        "backbone": "minilm",
        "method_kind": "prompt_tuning",
        "max_tokens": 64,
        "batch_size": 16,
        "passes": 1,
        "prompt_length": 20,
        "updates": 100,
        "repeats": 2,
        "tokens": 40.0,
        "rows": 1.0,
        "facts": None,
        "num_dev": 100,
        "evaluations": 10,
    }
    return Load(**{**values, **changes})  # type: ignore[arg-type]


def past(seconds: float, **changes: object) -> StepTime:
    values: dict[str, object] = {
        "task": "desk",
        "backbone": "minilm",
        "method_kind": "prompt_tuning",
        "max_tokens": 64,
        "batch_size": 16,
        "passes": 1,
        "prompt_length": 20,
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
    assert full.share == pytest.approx(1, abs=1e-3)
    assert "100 %" in preview_card(view)


def test_few_shot_updates_follow_the_drawn_examples() -> None:
    view = preview(
        recipe(regimes=[{"kind": "few_shot", "k": 4}], training={"epochs": 10, "batch_size": 16}),
        None,
    )
    assert view.updates == (20, 20)  # 8 labels x 4 examples = 2 batches, 10 times


def test_joint_training_is_one_run_a_seed_and_its_control_one_a_task() -> None:
    wanted = recipe(tasks=["desk", "clauses"], regimes=[{"kind": "multi_task", "max_train": 100}])
    view = preview(wanted, None)
    assert view.num_runs == 2 * 2 * (1 + 2)
    assert view.grid == "(1 joint training + 2 controls) × 2 methods × 2 seeds"
    prompt, _ = view.methods
    alone = prompt.singly
    assert alone is not None
    # Jointly one prompt and two heads, alone one prompt and the head of one task.
    vectors = prompt.parameters["prompt"]
    assert prompt.jointly == (prompt.total, prompt.total) == (sum(alone) - vectors,) * 2
    assert f"{prompt.total:,} jointly, {alone[0]:,}–{alone[1]:,} alone" in preview_card(view)
    # 100 updates of two tasks of equal size: 100 jointly, 50 for each alone.
    assert view.updates == (50, 100)
    assert [(found.task, found.most) for found in view.examples] == [
        ("desk", 100),
        ("clauses", 100),
    ]


def test_single_tasks_and_joint_training_are_added_in_the_sentence() -> None:
    regimes: list[object] = ["full_data", {"kind": "multi_task", "control": False}]
    view = preview(recipe(tasks=["desk", "clauses"], regimes=regimes), None)
    assert view.grid == "(2 tasks + 1 joint training) × 2 methods × 2 seeds"
    assert view.num_runs == 3 * 2 * 2
    assert any("No control" in text for text in view.warnings)


def test_a_few_shot_draw_is_counted_and_one_draw_alone_is_told() -> None:
    view = preview(recipe(regimes=[{"kind": "few_shot", "k": 4}]), None)
    (found,) = view.examples
    assert (found.task, found.fewest, found.most) == ("desk", 32, 32)
    assert any("One draw" in text for text in view.warnings)
    several = recipe(regimes=[{"kind": "few_shot", "k": 4}], seeds={"data": [0, 1], "init": [0]})
    assert not any("One draw" in text for text in preview(several, None).warnings)


def test_folds_multiply_the_trials() -> None:
    tuning = {"protocol": "tuned", "trials": 3, "folds": 5}
    view = preview(recipe(tuning=tuning), None)
    assert (view.num_trials, view.num_finals) == (2 * 3 * 5, 4)
    assert any("5 times, once a fold" in text for text in view.warnings)


def test_each_choice_is_a_row_that_costs_time(tmp_path: Path) -> None:
    folder = tmp_path / "COPA"
    folder.mkdir()
    for stem, count in (("train", 60), ("val", 20)):
        lines = [
            {
                "premise": f"The lamp number {index} of {stem} went out.",
                "choice1": "Its bulb had burnt through.",
                "choice2": "The room was painted green.",
                "question": "cause",
                "label": index % 2,
                "idx": index,
            }
            for index in range(count)
        ]
        (folder / f"{stem}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = Settings(home=tmp_path / "home", data_dir=str(tmp_path))
    view = preview(recipe(tasks=["copa"]), None, settings)
    assert view.methods[0].parameters["head"] == 384  # one score, and no bias
    assert rough_seconds(load(rows=2.0)) > 1.5 * rough_seconds(load())


def test_times_of_classes_say_nothing_about_choices() -> None:
    assert estimate([load(task="copa")], [past(0.1)], True).is_rough
    assert not estimate([load(task="copa")], [past(0.1, task="copa")], True).is_rough
    assert not estimate([load(task="clauses")], [past(0.1)], True).is_rough
    assert estimate([load(task="copa+desk")], [past(0.1)], True).is_rough


def test_a_single_seed_and_a_single_method_are_told() -> None:
    told = " ".join(preview(recipe(("prompt_tuning",), seeds={"init": [3]}), None).warnings)
    assert "One seed" in told
    assert "One method" in told
    assert not preview(recipe(), None).warnings


def test_methods_that_train_alone_are_named_and_so_are_settings_without_effect() -> None:
    told = preview(recipe(("bitfit",)), None).warnings
    assert any("bitfit changes the inside of the backbone, so its" in text for text in told)
    told = preview(recipe(("fine_tuning", "lora", "prompt_tuning")), None).warnings
    assert any(text.startswith("fine_tuning and lora change the") for text in told)
    exact: dict[str, object] = {"kind": "adap_ins_pos", "selection": "exact", "samples": 8}
    told = preview(recipe((exact,)), None).warnings  # type: ignore[arg-type]
    assert any("samples is only for selection: sampled" in text for text in told)
    drawn = {**exact, "selection": "sampled"}
    told = preview(recipe((drawn,)), None).warnings  # type: ignore[arg-type]
    assert not any("samples" in text for text in told)


@pytest.mark.parametrize(
    ("method", "idle"),
    [
        ({"kind": "adap_ins_pos", "selection": "exact"}, {"temperature": {"start": 2.0}}),
        ({"kind": "random_cut"}, {"temperature": {"start": 2.0}}),
        ({"kind": "adap_ins_pos"}, {"pool_size": 8}),
        ({"kind": "adap_ins_pos"}, {"shortest": 0}),
        ({"kind": "adap_ins_pos"}, {"slots": ["front", "end"]}),
        ({"kind": "adap_ins_pos", "place": "slot"}, {"slot": "end"}),
        ({"kind": "adap_pos"}, {"feature": "embedding_mean"}),
        ({"kind": "adap_pos", "injection": "deep_overwrite"}, {"init": "uniform"}),
    ],
)
def test_a_setting_without_effect_is_told_by_its_name(
    method: dict[str, object], idle: dict[str, object]
) -> None:
    (name,) = idle
    told = preview(recipe(({**method, **idle},)), None).warnings  # type: ignore[arg-type]
    assert any(f"{name} is only for" in text for text in told)
    assert not any("is only for" in text for text in preview(recipe((method,)), None).warnings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", shipped_recipes())
def test_no_shipped_recipe_sets_what_has_no_effect(name: str) -> None:
    assert [method.notes for method in load_recipe(name).methods if method.notes] == []


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"kind": "adap_pos", "place": "slot", "slots": ["end"]}, "there is one place"),
        ({"kind": "adap_len", "num_virtual_tokens": 1}, "there is one length"),
        ({"kind": "adap_ins_vec", "pool_size": 1}, "nothing to mix"),
        ({"kind": "smop", "pool_size": 1}, "the router has nothing to choose"),
        (
            {"kind": "adap_ins_pos", "num_virtual_tokens": 1, "selection": "sampled"},
            "draws 4 times among 2 choices",
        ),
        ({"kind": "fixed_best", "cut": 3}, "nothing is tried on dev here"),
    ],
)
def test_a_choice_of_one_thing_is_told(method: dict[str, object], said: str) -> None:
    told = preview(recipe((method,)), None).warnings  # type: ignore[arg-type]
    assert any(said in text for text in told)


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


def test_a_summed_choice_costs_a_pass_each_and_speaks_for_no_other_number_of_passes() -> None:
    exact, plain = load(passes=11), load(passes=1)
    assert rough_seconds(exact) > 5 * rough_seconds(plain)
    for asked, seconds in ((exact, 1.1), (plain, 0.1)):
        scaled = estimate([asked], [past(0.1) if asked is exact else past(1.1, passes=11)], True)
        assert scaled.seconds == pytest.approx(seconds * 100 * 2)
        assert scaled.is_rough
        assert "another number of passes" in scaled.basis
    both = estimate([exact], [past(0.1), past(0.9, passes=11)], True)
    assert both.seconds == pytest.approx(0.9 * 100 * 2)
    assert not both.is_rough


def test_more_prompt_vectors_cost_more_and_speak_for_no_other_number() -> None:
    longer = load(tokens=100.0, prompt_length=80)  # texts of 20 tokens in both
    scaled = estimate([longer], [past(0.2)], True)
    assert scaled.seconds == pytest.approx(0.2 * 100 / 40 * 100 * 2)
    assert scaled.is_rough
    assert "or of prompt vectors" in scaled.basis
    both = estimate([longer], [past(0.2), past(0.6, prompt_length=80)], True)
    assert both.seconds == pytest.approx(0.6 * 100 * 2)
    assert not both.is_rough


def test_runs_on_the_same_task_speak_before_those_on_another() -> None:
    other = past(0.4, task="clauses")
    assert estimate([load()], [other], True).seconds == pytest.approx(0.4 * 100 * 2)
    assert estimate([load()], [other, past(0.2)], True).seconds == pytest.approx(0.2 * 100 * 2)


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


def test_a_methods_own_settings_say_how_many_passes_it_makes(tmp_path: Path) -> None:
    """Every cut of ten vectors is a pass, and so is each of four samples."""
    settings = Settings(home=tmp_path)
    store = new_store(settings)
    every = {"kind": "adap_ins_pos", "num_virtual_tokens": 10, "selection": "exact"}
    few = {"kind": "adap_ins_pos", "num_virtual_tokens": 10, "selection": "sampled"}
    wanted = recipe((every,))  # type: ignore[arg-type]
    actions.submit_recipe(store, wanted, settings=settings)
    finish(store, worker(store), [0.8, 0.82])
    for method, passes in ((every, 11), ("adap_ins_pos", 1), (few, 4)):
        wanted = recipe((method,))  # type: ignore[arg-type]
        found = preview(wanted, store, settings).estimate
        assert found.seconds == pytest.approx(2 * 100 * 0.2 * passes / 11)
        assert found.is_rough == (method is not every)
    store.close()
