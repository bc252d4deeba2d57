from __future__ import annotations

import numpy as np
import pytest
import torch

from core.data.tokens import TokenisedSplit
from core.training.batches import BatchPlan, length_classes, to_tokens
from core.training.features import chunks


def lengths_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(4, 100, size=count)


def make_split(lengths: np.ndarray) -> TokenisedSplit:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(offsets[-1])
    return TokenisedSplit(
        ids=np.arange(1, total + 1, dtype=np.int32),
        types=(np.arange(total, dtype=np.int32) % 2).astype(np.int32),
        offsets=offsets,
        labels=np.zeros(len(lengths), dtype=np.int64),
        truncated=0,
        pad_id=0,
    )


@pytest.mark.parametrize(("count", "size"), [(100, 16), (16, 16), (5, 16), (1, 1), (97, 8)])
def test_every_epoch_holds_every_example_once(count: int, size: int) -> None:
    plan = BatchPlan(lengths_of(count), size, data_seed=3)
    for epoch in range(3):
        steps = range(epoch * plan.per_epoch, (epoch + 1) * plan.per_epoch)
        rows = np.concatenate([plan.batch(step).rows for step in steps])
        assert sorted(rows.tolist()) == list(range(count))


def test_any_update_is_reached_without_those_before_it() -> None:
    lengths = lengths_of(200)
    plan = BatchPlan(lengths, 16, data_seed=1)
    batches = [plan.batch(step) for step in range(60)]
    for step in (59, 0, 31, 13):
        fresh = BatchPlan(lengths, 16, data_seed=1).batch(step)
        assert np.array_equal(fresh.rows, batches[step].rows)
        assert fresh.length == batches[step].length


def test_order_depends_on_the_data_seed_and_the_epoch() -> None:
    lengths = lengths_of(64)
    plan = BatchPlan(lengths, 64, data_seed=0)
    assert not np.array_equal(plan.batch(0).rows, plan.batch(1).rows)
    assert not np.array_equal(plan.batch(0).rows, BatchPlan(lengths, 64, data_seed=1).batch(0).rows)


def test_most_batches_hold_one_length_class() -> None:
    lengths = lengths_of(2000)
    plan = BatchPlan(lengths, 16, data_seed=0)
    pure = [
        len(set(length_classes(lengths[plan.batch(step).rows]))) == 1
        for step in range(plan.per_epoch)
    ]
    assert np.mean(pure) > 0.7


def test_length_classes_do_not_come_in_order() -> None:
    plan = BatchPlan(lengths_of(2000), 16, data_seed=0)
    sizes = [plan.batch(step).length for step in range(plan.per_epoch)]
    assert sizes != sorted(sizes)
    assert abs(np.corrcoef(np.arange(len(sizes)), sizes)[0, 1]) < 0.3


def test_the_smaller_batch_is_not_always_the_longest() -> None:
    lengths = lengths_of(500)
    sizes = set()
    for seed in range(12):
        plan = BatchPlan(lengths, 16, data_seed=seed)
        batches = [plan.batch(step) for step in range(plan.per_epoch)]
        sizes.add(min(batches, key=lambda batch: len(batch.rows)).length)
    assert len(sizes) > 1


def test_gathered_rows_are_the_examples_padded_on_the_right() -> None:
    split = make_split(np.asarray([3, 8, 5]))
    batch = to_tokens(split, np.asarray([2, 0]), 8, torch.device("cpu"))
    assert batch.token_ids.tolist() == [[12, 13, 14, 15, 16, 0, 0, 0], [1, 2, 3, 0, 0, 0, 0, 0]]
    assert batch.token_types.tolist()[0] == [1, 0, 1, 0, 1, 0, 0, 0]
    assert batch.mask.sum(dim=1).tolist() == [5, 3]


def test_gathered_features_follow_their_rows() -> None:
    feature = torch.arange(6.0).reshape(3, 2)
    rows = np.asarray([2, 0])
    batch = to_tokens(make_split(np.asarray([3, 4, 5])), rows, 8, torch.device("cpu"), feature)
    assert batch.feature is not None
    assert batch.feature.tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_chunks_hold_every_example_once_and_one_class_each() -> None:
    lengths = lengths_of(777)
    found = chunks(lengths)
    assert sorted(np.concatenate([rows for rows, _ in found]).tolist()) == list(range(777))
    for rows, size in found:
        assert set(length_classes(lengths[rows])) == {size}
