"""Which settings are tried, which wins, and which runs follow."""

from __future__ import annotations

from collections import Counter

from core.methods import METHODS
from core.recipe import RunConfig
from core.recipe_files import parse_recipe
from core.tuning import (
    TrialResult,
    final_configs,
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


def test_the_best_dev_value_wins_then_the_loss_then_the_order() -> None:
    a, b, c, _ = [trial.config for trial in trials(TUNED)][:4]
    assert winner([with_result(a, accuracy=0.5), with_result(b, accuracy=0.6)]) == b
    tied = [with_result(a, accuracy=0.5, loss=2.0), with_result(b, accuracy=0.5, loss=1.0)]
    assert winner([*tied, with_result(c, accuracy=0.5, loss=1.0)]) == b


def test_failed_trials_never_win() -> None:
    a, b = [trial.config for trial in trials(TUNED)][:2]
    assert winner([TrialResult(a, None), with_result(b, accuracy=float("nan"))]) == b
    assert winner([TrialResult(a, None)]) is None


def test_finals_are_the_winner_with_each_pair_of_seeds() -> None:
    chosen = [trial.config for trial in trials(TUNED)][2]
    finals = final_configs(chosen, TUNED.seeds)
    assert len({(one.seeds.data, one.seeds.init) for one in finals}) == 6
    assert {one.config_hash for one in finals} == {chosen.config_hash}
