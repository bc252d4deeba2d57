"""Cuts and folds of any examples."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.examples import Example
from core.data.splits import (
    CLASS_IS_LARGE_ENOUGH,
    NUM_FOLDS,
    cut_dev,
    cut_test,
    dev_share,
    find_families,
    folds,
)

# (label, group, text): few groups and texts, so that they are shared in all ways.
lines = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 30), st.integers(0, 60)), min_size=1, max_size=120
)
single = st.lists(st.integers(0, 5), min_size=2, max_size=300)


def examples_of(found: list[tuple[int, int, int]]) -> list[Example]:
    return [Example(((f"text {text}",),), label, f"group {group}") for label, group, text in found]


def lonely(labels: list[int]) -> list[Example]:
    return [Example(((f"text {i}",),), label, f"text {i}") for i, label in enumerate(labels)]


@settings(max_examples=200, deadline=None)
@given(lines, st.text(max_size=3))
def test_a_cut_tears_no_group_and_takes_no_class_from_train(
    found: list[tuple[int, int, int]], salt: str
) -> None:
    examples = examples_of(found)
    for cut in (cut_dev, cut_test):
        train, dev = cut(examples, "task", salt=salt)
        assert Counter(train) + Counter(dev) == Counter(examples)
        assert not {e.group for e in train} & {e.group for e in dev}
        assert not {e.rows for e in train} & {e.rows for e in dev}
        assert {e.label for e in train} == {e.label for e in examples}


@settings(max_examples=200, deadline=None)
@given(single)
def test_lonely_examples_are_cut_as_near_as_counts_allow(labels: list[int]) -> None:
    share = dev_share(len(labels))
    dev = Counter(e.label for e in cut_dev(lonely(labels), "task")[1])
    for label, total in Counter(labels).items():
        assert abs(dev[label] - share * total) < 1
        assert dev[label] >= 1 or total < CLASS_IS_LARGE_ENOUGH


@settings(max_examples=200, deadline=None)
@given(lines, st.text(max_size=3))
def test_folds_part_the_families(found: list[tuple[int, int, int]], salt: str) -> None:
    examples = examples_of(found)
    dealt = folds(examples, "task", salt=salt)
    assert len(dealt) == NUM_FOLDS
    assert sorted(i for fold in dealt for i in fold) == list(range(len(examples)))
    families = find_families(examples).of_examples()
    for name in set(families):
        assert sum(any(families[i] == name for i in fold) for fold in dealt) == 1
    used = sum(bool(fold) for fold in dealt)
    assert used == min(NUM_FOLDS, len(set(families)))


@settings(max_examples=200, deadline=None)
@given(single)
def test_folds_of_lonely_examples_differ_by_one_of_each_label(labels: list[int]) -> None:
    examples = lonely(labels)
    counts = [Counter(labels[i] for i in fold) for fold in folds(examples, "task")]
    for label in set(labels):
        found = [count[label] for count in counts]
        assert max(found) - min(found) <= 1


@settings(max_examples=100, deadline=None)
@given(lines, st.randoms(use_true_random=False))
def test_no_order_of_the_lines_changes_a_cut_or_a_fold(
    found: list[tuple[int, int, int]], rng: random.Random
) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)
    one, other = examples_of(found), examples_of(shuffled)
    assert Counter(cut_dev(one, "task")[1]) == Counter(cut_dev(other, "task")[1])
    assert [sorted(one[i].key for i in fold) for fold in folds(one, "task")] == [
        sorted(other[i].key for i in fold) for fold in folds(other, "task")
    ]
