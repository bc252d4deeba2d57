"""Dev is cut from train by group, stratified, and the same whatever the order of the file."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from core.data.examples import Example, normalised
from core.data.splits import cut_dev, cut_fold, cut_test, dev_share, find_families, folds


def make(texts_labels_groups: list[tuple[str, int, str]]) -> tuple[Example, ...]:
    return tuple(Example(((t,),), label, normalised(g)) for t, label, g in texts_labels_groups)


def grouped(count: int, seed: int) -> tuple[Example, ...]:
    rng = random.Random(seed)
    return make(
        [(f"text {i}", rng.randrange(3), f"group {rng.randrange(60)}") for i in range(count)]
    )


def texts(examples: tuple[Example, ...]) -> set[str]:
    return {normalised(example.rows[0][0]) for example in examples}


@pytest.mark.parametrize("salt", [str(number) for number in range(100)])
def test_no_group_and_no_text_stands_in_two_splits(salt: str) -> None:
    examples = grouped(300, seed=1) + make([("same words", 0, "a"), ("Same  words", 1, "b")])
    for cut in (cut_dev, cut_test):
        train, dev = cut(examples, "task", salt=salt)
        assert len(train) + len(dev) == len(examples)
        assert not {e.group for e in train} & {e.group for e in dev}
        assert not texts(train) & texts(dev)


@pytest.mark.parametrize("salt", [str(number) for number in range(20)])
def test_label_shares_are_kept_within_two_points(salt: str) -> None:
    examples = make([(f"text {i}", i % 7 % 3, f"text {i}") for i in range(1000)])
    train, dev = cut_dev(examples, "task", salt=salt)
    for label in range(3):
        in_train = sum(e.label == label for e in train) / len(train)
        in_dev = sum(e.label == label for e in dev) / len(dev)
        assert abs(in_train - in_dev) < 0.02


@pytest.mark.parametrize("salt", [str(number) for number in range(20)])
def test_large_groups_are_traded_until_the_shares_are_near(salt: str) -> None:
    rng = random.Random(int(salt))
    sizes = [(rng.randrange(5, 60), rng.randrange(5, 60)) for _ in range(200)]
    examples = make(
        [
            (f"text {group} {label} {i}", label, f"group {group}")
            for group, counts in enumerate(sizes)
            for label in (0, 1)
            for i in range(counts[label])
        ]
    )
    dev = cut_dev(examples, "task", salt=salt)[1]
    for label in range(2):
        wanted = 0.1 * sum(counts[label] for counts in sizes)
        assert abs(sum(e.label == label for e in dev) - wanted) <= 0.01 * len(dev)


def test_every_class_with_five_examples_reaches_dev() -> None:
    examples = make([(f"text {i}", 1 if i < 5 else 0, f"text {i}") for i in range(200)])
    for salt in "abcdefgh":
        dev = cut_dev(examples, "task", salt=salt)[1]
        assert Counter(e.label for e in dev)[1] >= 1


def test_a_rare_class_reaches_dev_even_in_a_large_group() -> None:
    rows = [(f"text {i}", 0, f"text {i}") for i in range(100)]
    for group in range(5):
        rows += [(f"large {group} {i}", int(i == 0), f"large {group}") for i in range(51)]
    for salt in "abcdefgh":
        dev = cut_dev(make(rows), "task", salt=salt)[1]
        assert Counter(e.label for e in dev)[1] == 1


def test_many_small_classes_still_give_a_tenth() -> None:
    examples = make([(f"text {i}", i // 4, f"text {i}") for i in range(400)])
    dev = Counter(e.label for e in cut_dev(examples, "task")[1])
    assert dev.total() == 40
    assert max(dev.values()) == 1


def test_a_class_that_stands_in_one_group_stays_in_train() -> None:
    rows = [(f"text {i}", 0, f"text {i}") for i in range(30)]
    rows += [(f"rare {i}", 1, "one source") for i in range(6)]
    for salt in "abcdefgh":
        train, dev = cut_dev(make(rows), "task", salt=salt)
        assert {e.label for e in train} == {0, 1}
        assert {e.label for e in dev} == {0}


def test_two_groups_are_enough_for_a_dev_and_one_is_not() -> None:
    rows = [(f"text {i}", i % 2, "left" if i < 9 else "right") for i in range(20)]
    train, dev = cut_dev(make(rows), "task")
    assert {e.group for e in dev} == {"left"}
    assert {e.label for e in train} == {e.label for e in dev} == {0, 1}
    assert cut_dev(make(rows[:9]), "task") == (make(rows[:9]), ())
    few = make([(f"text {i}", i % 2, f"group {i // 4}") for i in range(8)])
    assert len(cut_dev(few, "task")[1]) == 4


def test_the_order_of_the_file_changes_nothing() -> None:
    examples = list(grouped(300, seed=2))
    dev = {e.key for e in cut_dev(examples, "task")[1]}
    dealt = {frozenset(examples[i].key for i in fold) for fold in folds(examples, "task")}
    random.Random(0).shuffle(examples)
    assert {e.key for e in cut_dev(examples, "task")[1]} == dev
    assert {frozenset(examples[i].key for i in fold) for fold in folds(examples, "task")} == dealt


def test_templates_change_nothing_where_it_is_known_what_a_person_types() -> None:
    plain = [Example(((f"word {i % 40}",),), i % 2, f"g {i}", typed=(f"w{i}",)) for i in range(99)]
    longer = [
        Example((("Say:", f"{i}"),), e.label, e.group, typed=e.typed) for i, e in enumerate(plain)
    ]
    assert find_families(plain) == find_families(longer)
    assert folds(plain, "task") == folds(longer, "task")


def test_the_share_shrinks_to_a_tenth_and_never_exceeds_three_tenths() -> None:
    shares = [dev_share(n) for n in (10, 50, 107, 250, 320, 1000, 10_000)]
    assert shares[0] == 0.3
    assert shares[-1] == 0.1
    assert dev_share(250) == pytest.approx(0.128)
    assert all(a >= b for a, b in pairwise(shares))


def test_a_fifth_becomes_test() -> None:
    examples = make([(f"text {i}", i % 4 // 3, f"text {i}") for i in range(400)])
    rest, test = cut_test(examples, "task")
    assert Counter(e.label for e in test) == {0: 60, 1: 20}
    assert len(rest) == 320


def test_folds_are_dealt_evenly_and_each_is_dev_once() -> None:
    examples = make([(f"text {i}", i % 50 // 46, f"text {i}") for i in range(250)])
    dealt = folds(examples, "task")
    assert [Counter(examples[i].label for i in fold) for fold in dealt] == [{0: 46, 1: 4}] * 5
    for number, fold in enumerate(dealt):
        train, dev = cut_fold(examples, "task", number)
        assert dev == tuple(examples[i] for i in fold)
        assert len(train) == 200
    assert folds(examples, "task", salt="other") != dealt


def test_choices_that_vary_in_number_are_not_stratified_by_place() -> None:
    examples = [
        Example(((f"row {i}",),) * (2 + i % 9), i % 2, f"g {i}", (i % 2,), ("a",) * (2 + i % 9))
        for i in range(40)
    ]
    assert find_families(examples).totals == {0: 40}
    assert [len(fold) for fold in folds(examples, "task")] == [8] * 5
