"""Training examples are drawn by the data seed, whatever the order of the file."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from core.errors import DataError
from core.regimes import REGIMES
from core.regimes.few_shot import Config as FewShot
from core.regimes.full_data import Config as FullData

LABELS = [0] * 50 + [1] * 30 + [2] * 20
KEYS = [f"key {i}" for i in range(100)]


def test_few_shot_takes_k_of_each_label() -> None:
    chosen = FewShot(k=7).select(LABELS, KEYS, 3, data_seed=1)
    assert Counter(LABELS[i] for i in chosen) == {0: 7, 1: 7, 2: 7}


def test_few_shot_refuses_a_class_that_is_too_small() -> None:
    with pytest.raises(DataError, match="only 20"):
        FewShot(k=21).select(LABELS, KEYS, 3, data_seed=1)


def test_full_data_takes_all_or_a_stratified_cut() -> None:
    assert FullData().select(LABELS, KEYS, 3, data_seed=0) == list(range(100))
    chosen = FullData(max_train=40).select(LABELS, KEYS, 3, data_seed=0)
    assert Counter(LABELS[i] for i in chosen) == {0: 20, 1: 12, 2: 8}


@pytest.mark.parametrize("regime", [FewShot(k=5), FullData(max_train=33)])
def test_the_same_seed_draws_the_same_examples_in_any_order(
    regime: FewShot | FullData,
) -> None:
    order = list(range(100))
    random.Random(3).shuffle(order)
    shuffled = regime.select([LABELS[i] for i in order], [KEYS[i] for i in order], 3, data_seed=4)
    straight = regime.select(LABELS, KEYS, 3, data_seed=4)
    assert {KEYS[order[i]] for i in shuffled} == {KEYS[i] for i in straight}
    assert regime.select(LABELS, KEYS, 3, data_seed=5) != straight


def test_every_regime_is_discovered() -> None:
    assert set(REGIMES) >= {"full_data", "few_shot"}
