from __future__ import annotations

import math

import pytest

from core.methods import METHODS
from core.recipe_parts import Training
from core.training.schedules import evaluation_steps, rate_factor, temperature


def test_linear_rises_to_one_and_falls_without_reaching_zero() -> None:
    factors = [rate_factor(step, 10, warmup=2, schedule="linear") for step in range(10)]
    assert factors[:3] == [0.5, 1.0, 1.0]
    assert factors == sorted(factors[:2]) + sorted(factors[2:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 8)


def test_constant_stays_at_one_after_the_warm_up() -> None:
    factors = [rate_factor(step, 8, warmup=4, schedule="constant") for step in range(8)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.99])
def test_very_short_runs_have_positive_rates(total: int, warmup: float) -> None:
    warm = Training(warmup=warmup).warmup_of(total)
    for step in range(total):
        assert 0 < rate_factor(step, total, warmup=warm, schedule="linear") <= 1


def test_the_warm_up_is_a_count_where_one_is_given() -> None:
    published = Training(warmup_updates=500, schedule="constant")
    assert [published.warmup_of(total) for total in (20_000, 400)] == [500, 400]
    assert [Training(warmup=0.1).warmup_of(30), Training(warmup_updates=0).warmup_of(30)] == [3, 0]
    factors = [rate_factor(step, 2000, warmup=500, schedule="constant") for step in range(2000)]
    assert factors[:3] == [1 / 500, 2 / 500, 3 / 500]
    assert factors[498] < 1 == min(factors[499:]) == max(factors)


def test_temperature_moves_from_start_to_end() -> None:
    method = METHODS["dynamic_prompt"].model_validate(
        {"kind": "dynamic_prompt", "temperature": {"start": 2.0, "end": 1.0}}
    )
    assert [temperature(method, step, 5) for step in range(5)] == [2.0, 1.75, 1.5, 1.25, 1.0]
    assert temperature(method, 0, 1) == 2.0


def test_the_authors_rule_multiplies_the_running_value_down_to_its_floor() -> None:
    method = METHODS["dynamic_prompt"].model_validate(
        {"kind": "dynamic_prompt", "temperature": {"rule": "paper_code"}}
    )
    running = 1.0
    for step in range(800):
        assert temperature(method, step, 20_000) == pytest.approx(running, rel=1e-9)
        running = max(running * math.exp(-3e-5 * (step + 1) / 10), 0.5)
    known = {100: 0.985, 500: 0.687, 679: 0.5003, 680: 0.5, 19_999: 0.5}
    for step, value in known.items():
        assert temperature(method, step, 20_000) == pytest.approx(value, abs=6e-4)
    assert temperature(method, 679, 20_000) > 0.5 == temperature(method, 680, 20_000)


def test_the_authors_behaviour_brings_their_rule_unless_another_is_given() -> None:
    config = METHODS["dynamic_prompt"]
    theirs = config.model_validate({"kind": "dynamic_prompt", "behaviour": "paper_code"})
    assert temperature(theirs, 500, 1000) == pytest.approx(0.687, abs=1e-3)
    given = {"kind": "dynamic_prompt", "behaviour": "paper_code", "temperature": {"rule": "linear"}}
    assert temperature(config.model_validate(given), 999, 1000) == 0.5
    assert temperature(config.model_validate(given), 0, 1000) == 1.0


def test_methods_without_temperature_get_one() -> None:
    method = METHODS["prompt_tuning"].model_validate({"kind": "prompt_tuning"})
    assert temperature(method, 3, 5) == 1.0


def test_evaluations_are_evenly_spread_and_the_last_update_is_among_them() -> None:
    assert evaluation_steps(100, 4) == (25, 50, 75, 100)
    assert evaluation_steps(3, 10) == (1, 2, 3)
    assert evaluation_steps(7, 3)[-1] == 7
