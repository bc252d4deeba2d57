"""Numbers of an audit against values computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from core.data.examples import Example
from core.statistics.audit import (
    best_each,
    counts_by_class,
    information,
    mean_gain,
    mixed,
    modal,
    mutual_information,
    paired_gain,
    permutations,
    random_choices,
    taken,
)
from core.training.audit_parts import sample

Indices = np.ndarray


def ints(*values: int) -> Indices:
    return np.array(values, dtype=np.int64)


def test_the_most_frequent_choice_is_the_first_of_equals() -> None:
    assert modal(ints(2, 0, 2, 1), 4) == 2
    assert modal(ints(3, 1, 3, 1), 4) == 1


def test_scores_are_read_at_each_rows_choice() -> None:
    table = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    assert taken(table, ints(1, 0, 1)).tolist() == [[6, 7], [2, 3], [10, 11]]


def test_a_mixture_weighs_answers_and_not_scores() -> None:
    # Two choices lean to class 1, one is sure of class 0 and has scores that outweigh both.
    likelihood = np.array([[[0.4, 0.6]], [[0.4, 0.6]], [[0.999, 0.001]]])
    scores = (np.log(likelihood) + np.array([3.0, -2.0, 500.0])[:, None, None]).astype(np.float32)
    shares = np.array([[0.5, 0.4, 0.1]], dtype=np.float32)
    found = mixed(scores, shares)
    assert found[0].tolist() == pytest.approx([0.9 * 0.4 + 0.0999, 0.9 * 0.6 + 0.0001], abs=1e-4)


def test_draws_are_always_the_same_and_permutations_lose_nothing() -> None:
    first, again = permutations(9), permutations(9)
    assert [order.tolist() for order in first] == [order.tolist() for order in again]
    assert all(sorted(order.tolist()) == list(range(9)) for order in first)
    drawn = np.concatenate(random_choices(2000, 4))
    assert np.bincount(drawn).tolist() == pytest.approx([4000] * 4, rel=0.05)


def test_the_best_of_each_knows_the_answers() -> None:
    labels = ints(0, 1, 1, 0)
    own, fixed = ints(0, 0, 0, 1), [ints(1, 1, 0, 1), ints(1, 0, 0, 1)]
    found = best_each(own, fixed, lambda given: given == labels)
    assert found.tolist() == [0, 1, 0, 1]


def accuracy(labels: Indices) -> Callable[[Indices, Indices], float]:
    return lambda given, rows: float(np.mean(given[rows] == labels[rows]))


def test_a_gain_of_equal_predictions_is_exactly_nothing() -> None:
    labels = ints(*([0, 1, 0] * 7))
    own = ints(*([0, 1, 1] * 7))
    assert paired_gain(accuracy(labels), own, [own.copy() for _ in range(8)]) == (0.0, 0.0, 0.0)


def test_a_gain_is_the_mean_difference_and_its_interval_is_the_binomials() -> None:
    count = 400
    labels = np.zeros(count, dtype=np.int64)
    own, other = labels.copy(), labels.copy()
    other[:80] = 1
    gain = paired_gain(accuracy(labels), own, [other, own])
    assert gain.value == pytest.approx(0.1)
    half = 1.96 * math.sqrt(0.2 * 0.8 / count) / 2
    assert (gain.low, gain.high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.004)


@pytest.mark.parametrize("clusters", [None, np.arange(30, dtype=np.int64) // 3])
def test_both_ways_to_a_gain_agree_where_the_metric_is_a_mean(clusters: Indices | None) -> None:
    draw = np.random.default_rng(8)
    labels, own, other = (draw.integers(2, size=30) for _ in range(3))
    slow = paired_gain(accuracy(labels), own, [other], clusters)
    each = (own == labels).astype(float) - (other == labels).astype(float)
    assert mean_gain(each, clusters) == pytest.approx(slow, abs=0.05)
    assert mean_gain(each, clusters).value == pytest.approx(slow.value)
    assert mean_gain(np.zeros(30), clusters) == (0.0, 0.0, 0.0)


def test_clusters_weigh_as_much_as_they_have_examples() -> None:
    """20 clusters of nine gain, 20 of one do not; 14 to 26 of 40 drawn ones are large."""
    sizes = np.repeat([9, 1], 20)
    gain = mean_gain(np.repeat([1.0, 0.0], [180, 20]), np.repeat(np.arange(40), sizes))
    assert gain.value == 0.9
    assert (gain.low, gain.high) == pytest.approx((126 / 152, 234 / 248), abs=0.012)


def test_what_belongs_together_is_drawn_together() -> None:
    labels = np.zeros(40, dtype=np.int64)
    other = np.repeat([0, 1], 20).astype(np.int64)
    two = paired_gain(accuracy(labels), labels, [other], np.repeat([0, 1], 20).astype(np.int64))
    assert two == (0.5, 0.0, 1.0)
    one = paired_gain(accuracy(labels), labels, [other])
    assert one.low > 0.3


def test_mutual_information_by_hand() -> None:
    assert mutual_information(np.array([[5, 0], [0, 5]])) == pytest.approx(math.log(2))
    assert mutual_information(np.array([[3, 3], [2, 2]])) == pytest.approx(0.0, abs=1e-12)
    counts = np.array([[3, 1], [1, 3]])
    by_hand = 2 * (3 / 8) * math.log((3 / 8) / (1 / 4)) + 2 * (1 / 8) * math.log((1 / 8) / (1 / 4))
    assert mutual_information(counts) == pytest.approx(by_hand)
    assert mutual_information(np.zeros((2, 2), dtype=np.int64)) == 0.0


def test_counts_stand_by_class_and_choice() -> None:
    found = counts_by_class(ints(0, 2, 2, 1), ints(1, 0, 0, 1), 3, 2)
    assert found.tolist() == [[0, 0, 2], [1, 1, 0]]


def test_information_tells_chance_apart() -> None:
    classes = ints(*([0, 1] * 20))
    same = information(classes, classes, 2, 2)
    assert same.nats == pytest.approx(math.log(2))
    assert same.p == 1 / 1000
    draw = np.random.default_rng(5)
    noise = information(draw.integers(4, size=200), draw.integers(3, size=200), 4, 3)
    # The bias of the plug-in estimate: degrees of freedom over twice the rows (Miller 1955).
    assert noise.chance == pytest.approx((4 - 1) * (3 - 1) / (2 * 200), rel=0.1)
    assert noise.p > 0.01
    assert information(np.zeros(10, dtype=np.int64), ints(*([0, 1] * 5)), 3, 2) == (0, 0, 1)


def example(place: int, label: int, question: str = "") -> Example:
    return Example(rows=((f"text {place}",),), label=label, group="", question=question)


def test_a_sample_is_even_over_classes_and_keeps_questions_whole() -> None:
    examples = [example(i, 0 if i < 300 else 1) for i in range(400)]
    found = sample(examples, 100)
    assert found == sorted(set(found))
    assert sum(place < 300 for place in found) == pytest.approx(75, abs=1)
    assert len(found) == 100
    assert sample(examples, 400) == list(range(400))
    asked = [example(i, i % 2, f"q{i // 5}") for i in range(100)]
    chosen = sample(asked, 33)
    assert len(chosen) == 30
    assert all(len({i // 5 for i in chosen}) * 5 == len(chosen) for _ in "x")
