"""Dev is cut from train by group, stratified, and the same whatever the order of the file."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from core.data.examples import Example, normalised
from core.data.splits import cut_dev, dev_share


def make(texts_labels_groups: list[tuple[str, int, str]]) -> tuple[Example, ...]:
    return tuple(Example((t,), label, normalised(g)) for t, label, g in texts_labels_groups)


def grouped(count: int, seed: int) -> tuple[Example, ...]:
    rng = random.Random(seed)
    return make(
        [(f"text {i}", rng.randrange(3), f"group {rng.randrange(60)}") for i in range(count)]
    )


@pytest.mark.parametrize("salt", [str(number) for number in range(100)])
def test_no_group_and_no_text_stands_in_two_splits(salt: str) -> None:
    examples = grouped(300, seed=1) + make([("same words", 0, "a"), ("Same  words", 1, "b")])
    train, dev = cut_dev(examples, "task", salt=salt)
    assert len(train) + len(dev) == len(examples)
    assert not {e.group for e in train} & {e.group for e in dev}
    assert not {e.text_key for e in train} & {e.text_key for e in dev}


@pytest.mark.parametrize("salt", [str(number) for number in range(20)])
def test_label_shares_are_kept_within_two_points(salt: str) -> None:
    examples = make([(f"text {i}", i % 7 % 3, f"text {i}") for i in range(1000)])
    train, dev = cut_dev(examples, "task", salt=salt)
    for label in range(3):
        in_train = sum(e.label == label for e in train) / len(train)
        in_dev = sum(e.label == label for e in dev) / len(dev)
        assert abs(in_train - in_dev) < 0.02


def test_every_class_with_five_examples_reaches_dev() -> None:
    examples = make([(f"text {i}", 1 if i < 5 else 0, f"text {i}") for i in range(200)])
    for salt in "abcdefgh":
        dev = cut_dev(examples, "task", salt=salt)[1]
        assert Counter(e.label for e in dev)[1] >= 1


def test_the_order_of_the_file_changes_nothing() -> None:
    examples = list(grouped(300, seed=2))
    first = {e.key for e in cut_dev(examples, "task")[1]}
    random.Random(0).shuffle(examples)
    assert {e.key for e in cut_dev(examples, "task")[1]} == first


def test_the_share_shrinks_to_a_tenth_and_never_exceeds_three_tenths() -> None:
    shares = [dev_share(n) for n in (10, 50, 107, 250, 320, 1000, 10_000)]
    assert shares[0] == 0.3
    assert shares[-1] == 0.1
    assert dev_share(250) == pytest.approx(0.128)
    assert all(a >= b for a, b in pairwise(shares))
