"""Metrics on tables small enough to count by hand."""

from __future__ import annotations

import math

import pytest

from core.metrics import METRICS, TITLES, accuracy, confusion, macro_f1, matthews
from core.tasks import TASKS

LABELS = [0, 0, 0, 1, 1, 2]
PREDICTIONS = [0, 0, 1, 1, 0, 2]


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(LABELS, PREDICTIONS) == pytest.approx(4 / 6)


def test_confusion_has_right_classes_in_rows() -> None:
    assert confusion(LABELS, PREDICTIONS, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_macro_f1_is_the_mean_over_the_classes() -> None:
    # F1 by class: 2*2/(3+3), 2*1/(2+2), 2*1/(1+1)
    assert macro_f1(LABELS, PREDICTIONS, 3) == pytest.approx((4 / 6 + 1 / 2 + 1) / 3)


def test_macro_f1_counts_a_class_that_never_occurs_as_zero() -> None:
    assert macro_f1([0, 1], [0, 1], 4) == pytest.approx(0.5)


def test_matthews_equals_the_two_class_formula() -> None:
    labels, predictions = [1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1]
    hits, rejections, false_alarms, misses = 2, 4, 1, 1
    product = (
        (hits + false_alarms)
        * (hits + misses)
        * (rejections + false_alarms)
        * (rejections + misses)
    )
    expected = (hits * rejections - false_alarms * misses) / math.sqrt(product)
    assert matthews(labels, predictions, 2) == pytest.approx(expected)


def test_matthews_of_constant_predictions_is_zero() -> None:
    assert matthews([0, 1, 1], [1, 1, 1], 2) == 0.0


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_perfect_on_right_answers_and_nan_on_none(name: str) -> None:
    assert METRICS[name]([0, 1, 2, 1], [0, 1, 2, 1], 3) == pytest.approx(1.0)
    assert math.isnan(METRICS[name]([], [], 3))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_shapes_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="do not match"):
        METRICS[name]([0, 1], [0], 2)


def test_a_class_outside_the_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        macro_f1([0, 2], [0, 1], 2)


def test_every_metric_that_a_task_names_exists() -> None:
    named = {name for spec in TASKS.values() for name in spec.metrics}
    assert named <= set(METRICS)
    assert set(TITLES) == set(METRICS)
