"""The cuts of the real tasks under many salts."""

from __future__ import annotations

from collections import Counter

import pytest

from core.data.splits import CLASS_IS_LARGE_ENOUGH, cut_dev, dev_share, find_families, folds
from tests.real_data import real_task

TASKS = ("boolq-devsplit", "cb", "copa", "multirc", "rte", "sst2", "wic", "wsc")
QUICK_SALTS, SALTS = 25, 100
FOLD_SALTS = 20


@pytest.mark.parametrize("salts", [QUICK_SALTS, pytest.param(SALTS, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", TASKS)
def test_dev_keeps_groups_classes_and_shares_under_many_salts(name: str, salts: int) -> None:
    examples = real_task(name).train
    totals = Counter(e.label for e in examples)
    families = find_families(examples).of_examples()
    family = {id(e): one for e, one in zip(examples, families, strict=True)}
    cuts = set()
    for salt in range(salts):
        train, dev = cut_dev(examples, name, salt=str(salt))
        assert len(train) + len(dev) == len(examples)
        assert not {e.group for e in train} & {e.group for e in dev}
        assert not {family[id(e)] for e in train} & {family[id(e)] for e in dev}
        in_train, in_dev = (Counter(e.label for e in split) for split in (train, dev))
        for label, total in totals.items():
            assert in_dev[label] or total < CLASS_IS_LARGE_ENOUGH
            if name == "cb":
                # 32 examples: one of them is three points.
                assert abs(in_dev[label] - dev_share(len(examples)) * total) < 1
            else:
                assert abs(in_dev[label] / len(dev) - in_train[label] / len(train)) < 0.02
        cuts.add(frozenset(e.group for e in dev))
    assert len(cuts) == salts


@pytest.mark.parametrize("name", TASKS)
def test_folds_keep_groups_classes_and_shares(name: str) -> None:
    examples = real_task(name).train
    totals = Counter(e.label for e in examples)
    for salt in range(FOLD_SALTS):
        dealt = folds(examples, name, salt=str(salt))
        assert sorted(i for fold in dealt for i in fold) == list(range(len(examples)))
        groups = [{examples[i].group for i in fold} for fold in dealt]
        assert sum(map(len, groups)) == len(set().union(*groups))
        for fold in dealt:
            in_fold = Counter(examples[i].label for i in fold)
            for label, total in totals.items():
                assert in_fold[label] or total < CLASS_IS_LARGE_ENOUGH
                assert abs(in_fold[label] / len(fold) - total / len(examples)) < 0.02
