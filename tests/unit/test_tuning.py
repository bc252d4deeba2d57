"""Which settings are tried, which wins, and which runs follow."""

from __future__ import annotations

from collections import Counter

from core.methods import METHODS
from core.recipe import RunConfig
from core.recipe_files import parse_recipe
from core.tasks import TASKS
from core.tuning import (
    Trial,
    TrialResult,
    final_configs,
    selecting_metric,
    settings,
    trials,
    winner,
)

TUNED = parse_recipe(
    {
        "name": "Tuned",
        "tasks": ["desk", "cb"],
        "methods": ["prompt_tuning", "linear_probe"],
        "seeds": {"data": [0, 10_000], "init": [0, 1, 10_000]},
        "tuning": {"protocol": "tuned", "trials": 4},
    }
)


FOLDED = TUNED.model_copy(update={"tuning": TUNED.tuning.model_copy(update={"folds": 5})})


def with_result(config: RunConfig, **dev: float) -> TrialResult:
    return TrialResult(config, {"dev": dev})


def test_every_cell_gets_the_same_number_of_trials_with_the_default_first() -> None:
    found = trials(TUNED)
    assert set(Counter(trial.cell for trial in found).values()) == {4}
    firsts = {trial.cell: trial.config for trial in reversed(found)}
    as_written = {config.config_hash: config.method for config in TUNED.runs()}
    assert {cell: config.method for cell, config in firsts.items()} == as_written


def test_trials_use_seeds_that_no_final_run_has() -> None:
    for config in [trial.config for trial in trials(TUNED)]:
        assert config.seeds.data not in TUNED.seeds.data
        assert config.seeds.init not in TUNED.seeds.init


def test_settings_are_distinct_spread_evenly_and_always_the_same() -> None:
    method = METHODS["prompt_tuning"](kind="prompt_tuning").resolved()
    chosen = settings(method, 4)
    assert len({one.model_dump_json() for one in chosen}) == 4
    assert len({one.learning_rates.prompt for one in chosen}) == 4
    assert Counter(one.learning_rates.head for one in chosen) == {3e-3: 2, 1e-2: 2}
    assert settings(method, 4) == chosen


def test_a_small_space_is_tried_as_a_whole() -> None:
    method = METHODS["linear_probe"](kind="linear_probe").resolved()
    (search,) = method.SEARCH
    assert len(settings(method, 64)) == len(search.values)


def test_a_setting_outside_the_candidates_is_tried_too() -> None:
    method = METHODS["linear_probe"].model_validate({"learning_rates": {"head": 0.5}}).resolved()
    chosen = settings(method, 3)
    assert chosen[0].learning_rates.head == 0.5
    assert len(chosen) == 3


def best(*results: TrialResult) -> RunConfig | None:
    chosen = winner(results)
    return chosen and chosen.config


def test_the_best_dev_value_wins_then_the_loss_then_the_order() -> None:
    a, b, c, _ = [trial.config for trial in trials(TUNED)][:4]
    assert best(with_result(a, accuracy=0.5), with_result(b, accuracy=0.6)) == b
    tied = [with_result(a, accuracy=0.5, loss=2.0), with_result(b, accuracy=0.5, loss=1.0)]
    assert best(*tied, with_result(c, accuracy=0.5, loss=1.0)) == b


def test_failed_trials_never_win() -> None:
    a, b = [trial.config for trial in trials(TUNED)][:2]
    assert best(TrialResult(a, None), with_result(b, accuracy=float("nan"))) == b
    assert best(TrialResult(a, None)) is None


def test_with_folds_each_setting_is_tried_on_every_fold_with_equal_seeds() -> None:
    plain, folded = trials(TUNED), trials(FOLDED)
    assert {trial.cell for trial in folded} == {trial.cell for trial in plain}
    assert [trial.config.fold for trial in folded] == [0, 1, 2, 3, 4] * len(plain)
    assert {trial.config.selection for trial in folded} == {"fold"}
    assert [trial.config.method for trial in folded[::5]] == [t.config.method for t in plain]
    assert len({trial.config.seeds for trial in folded}) == 1


def folds_of(trial: Trial, accuracies: list[float | None], steps: list[int]) -> list[TrialResult]:
    """Results of all folds of a setting; None is a failed run."""
    return [
        TrialResult(
            trial.config.model_copy(update={"fold": fold}),
            None if value is None else {"dev": {"accuracy": value}, "best_step": step},
        )
        for fold, (value, step) in enumerate(zip(accuracies, steps, strict=True))
    ]


def test_the_mean_over_folds_decides_and_the_refit_takes_their_mean_updates() -> None:
    first, second = trials(FOLDED)[0], trials(FOLDED)[5]
    chosen = winner(
        [
            *folds_of(first, [0.9, 0.1, 0.9, 0.1, 0.9], [10] * 5),
            *folds_of(second, [0.6] * 5, [20, 30, 40, 50, 73]),
        ]
    )
    assert chosen is not None
    assert (chosen.settings, chosen.judged, chosen.folds) == (2, 2, 5)
    config = chosen.config
    assert (config.selection, config.fold) == ("refit", 0)
    assert config.method == second.config.method
    assert (config.training.max_updates, config.training.epochs) == (43, None)
    finals = final_configs(config, FOLDED.seeds)
    assert RunConfig.model_validate_json(finals[0].canonical_json()) == finals[0]


def test_epochs_give_way_to_the_updates_of_a_refit() -> None:
    folded = FOLDED.model_copy(
        update={"training": FOLDED.training.model_copy(update={"epochs": 3.0})}
    )
    chosen = winner(folds_of(trials(folded)[0], [0.5] * 5, [0, 0, 0, 0, 1]))
    assert chosen is not None
    assert (chosen.config.training.max_updates, chosen.config.training.epochs) == (1, None)


def test_a_setting_with_a_missing_fold_does_not_count() -> None:
    first, second = trials(FOLDED)[0], trials(FOLDED)[5]
    holed = folds_of(first, [0.9, 0.9, None, 0.9, 0.9], [10] * 5)
    chosen = winner([*holed, *folds_of(second, [0.2] * 5, [10] * 5)])
    assert chosen is not None
    assert chosen.config.method == second.config.method
    assert (chosen.settings, chosen.judged) == (2, 1)
    assert winner(holed) is None


def test_what_is_compared_is_the_tasks_metric_the_joint_mean_or_accuracy() -> None:
    recipe = parse_recipe(
        {
            "name": "Joint",
            "tasks": ["cb", "multirc"],
            "methods": ["prompt_tuning"],
            "regimes": ["multi_task"],
            "tuning": {"protocol": "tuned"},
        }
    )
    joint, cb, multirc = recipe.runs()
    assert [selecting_metric(config) for config in (joint, cb, multirc)] == [
        "joint_mean",
        TASKS["cb"].metrics[0],
        TASKS["multirc"].metrics[0],
    ]
    own = multirc.task.model_copy(update={"dataset": "0" * 16})
    assert selecting_metric(multirc.model_copy(update={"task": own})) == "accuracy"
    tried = [trial for trial in trials(recipe) if trial.cell == joint.config_hash]
    assert (
        best(
            with_result(tried[0].config, joint_mean=0.4, accuracy=0.9),
            with_result(tried[1].config, joint_mean=0.5, accuracy=0.1),
        )
        == tried[1].config
    )


def test_joint_runs_and_controls_are_cells_of_their_own() -> None:
    recipe = parse_recipe(
        {
            "name": "Joint",
            "tasks": ["cb", "rte"],
            "methods": ["prompt_tuning"],
            "regimes": ["multi_task"],
            "tuning": {"protocol": "tuned", "trials": 3},
        }
    )
    cells = Counter((trial.cell, trial.config.task_label) for trial in trials(recipe))
    assert sorted(label for _, label in cells) == ["cb", "cb+rte", "rte"]
    assert set(cells.values()) == {3}


def test_finals_are_the_winner_with_each_pair_of_seeds() -> None:
    chosen = [trial.config for trial in trials(TUNED)][2]
    finals = final_configs(chosen, TUNED.seeds)
    assert len({(one.seeds.data, one.seeds.init) for one in finals}) == 6
    assert {one.config_hash for one in finals} == {chosen.config_hash}
