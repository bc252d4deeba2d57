"""Flags of finished runs: each one alone, and its border."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from core.metrics import LOWEST
from core.metrics.flags import FLAGS, guessing_loss, label_entropy, run_flags

BALANCED = np.array([0, 1] * 100)


def flags(**changes: Any) -> tuple[str, ...]:
    """Flags of a healthy run with some things changed."""
    healthy = {
        "dev_predictions": BALANCED,
        "dev_labels": BALANCED,
        "num_labels": 2,
        "train_losses_tail": 0.2,
        "label_entropy": math.log(2),
        "dev_curve": [0.5, 0.9, 0.95, 0.95],
    }
    return run_flags(**(healthy | changes))


def test_a_healthy_run_has_none() -> None:
    assert flags() == ()


@pytest.mark.parametrize(("ones", "collapsed"), [(4, True), (5, False)])
def test_collapsed_begins_at_98_percent_of_one_class(ones: int, collapsed: bool) -> None:
    predictions = np.zeros(200, dtype=int)
    predictions[:ones] = 1
    assert ("collapsed" in flags(dev_predictions=predictions)) is collapsed


@pytest.mark.parametrize(("loss", "unfitted"), [(0.674, True), (0.672, False), (math.nan, False)])
def test_unfitted_begins_just_below_the_entropy_of_the_labels(loss: float, unfitted: bool) -> None:
    assert ("unfitted" in flags(train_losses_tail=loss)) is unfitted


@pytest.mark.parametrize(("right", "chance"), [(100, True), (112, True), (116, False), (80, False)])
def test_at_chance_when_the_interval_holds_the_majority_share(right: int, chance: bool) -> None:
    predictions = np.where(np.arange(200) < right, BALANCED, 1 - BALANCED)
    assert ("at chance" in flags(dev_predictions=predictions)) is chance


def test_still_rising_needs_the_best_value_last_and_clearly_above() -> None:
    assert flags(dev_curve=[0.5, 0.6, 0.7, 0.8]) == ("still rising",)
    assert flags(dev_curve=[0.5, 0.6, 0.8, 0.79]) == ()
    assert flags(dev_curve=[0.5, 0.6, 0.8, 0.801]) == ()
    assert flags(dev_curve=[0.5, 0.8]) == ()
    assert flags(dev_curve=[]) == ()


def test_gaps_and_no_examples_raise_no_flag_by_themselves() -> None:
    assert flags(dev_curve=[0.5, math.nan, 0.7, 0.9]) == ("still rising",)
    assert flags(dev_curve=[0.5, 0.6, 0.7, math.nan]) == ()
    assert flags(dev_predictions=[], dev_labels=[]) == ()


def test_flags_come_in_the_order_of_their_list() -> None:
    dead = flags(dev_predictions=np.zeros(200, dtype=int), train_losses_tail=0.7)
    assert dead == ("collapsed", "unfitted", "at chance")
    assert set(dead) < set(FLAGS)


def test_label_entropy_in_nats() -> None:
    assert label_entropy([0, 1, 0, 1]) == pytest.approx(math.log(2))
    assert label_entropy([3, 3]) == 0.0
    assert label_entropy([]) == 0.0


def test_several_right_choices_count_as_hits_and_chance_is_what_even_choosing_gives() -> None:
    """ReCoRD: choices vary in number, so neither a position nor a majority means anything."""
    right = [(0, 1)] * 200
    varying = {
        "num_labels": 0,
        "dev_right": right,
        "dev_labels": np.zeros(200, dtype=int),
        "dev_predictions": np.where(np.arange(200) < 150, 1, 5),
        "chance": 0.25,
    }
    assert flags(**varying) == ()
    assert flags(**(varying | {"chance": 0.75})) == ("at chance",)
    assert flags(**(varying | {"chance": math.nan})) == ()
    always_first = np.zeros(200, dtype=int)
    assert flags(**(varying | {"dev_predictions": always_first})) == ()


def test_one_position_for_all_is_collapsed_where_the_number_of_choices_is_fixed() -> None:
    """COPA: two choices, and a run that always takes the first."""
    found = flags(
        dev_predictions=np.zeros(200, dtype=int),
        dev_right=[(int(label),) for label in BALANCED],
        chance=0.5,
    )
    assert found == ("collapsed", "at chance")


def test_without_dev_only_the_train_loss_can_raise_a_flag() -> None:
    refit = {"dev_predictions": [], "dev_labels": [], "dev_curve": []}
    assert flags(**refit) == ()
    assert flags(**refit, train_losses_tail=0.69) == ("unfitted",)
    assert flags(**refit, chance=0.5) == ()


def test_a_correlation_rises_by_its_own_measure() -> None:
    lowest = LOWEST["matthews"]
    # On -1 to 1 the noise at 0.1 is twice that of the share 0.55: sqrt(0.55 * 0.45 / 200) = 0.035.
    assert flags(dev_curve=[-0.2, 0.0, 0.0, 0.06], lowest=lowest) == ()
    assert flags(dev_curve=[-0.2, 0.0, 0.0, 0.08], lowest=lowest) == ("still rising",)
    assert flags(dev_curve=[-0.9, -0.8, -0.7, -0.5], lowest=lowest) == ("still rising",)


def test_guessing_among_choices_costs_the_log_of_their_share() -> None:
    assert guessing_loss([1, 2], [4, 4]) == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert guessing_loss([], []) == 0.0
