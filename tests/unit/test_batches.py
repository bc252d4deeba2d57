from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from core.data.tokens import TokenisedSplit
from core.training.batches import BatchPlan, TaskOrder, length_classes, to_tokens
from core.training.features import Chunk, chunks


def lengths_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(4, 100, size=count)


def make_split(lengths: np.ndarray, sizes: np.ndarray | None = None) -> TokenisedSplit:
    """Rows of such lengths; ``sizes`` rows stand together, the last of them right."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(offsets[-1])
    counts = np.ones(len(lengths), dtype=np.int64) if sizes is None else sizes
    unit_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    right = np.zeros(len(lengths), dtype=np.bool_)
    if sizes is not None:
        right[unit_offsets[1:] - 1] = True
    return TokenisedSplit(
        ids=np.arange(1, total + 1, dtype=np.int32),
        types=(np.arange(total, dtype=np.int32) % 2).astype(np.int32),
        offsets=offsets,
        unit_offsets=unit_offsets,
        labels=np.zeros(len(counts), dtype=np.int64) if sizes is None else counts - 1,
        right=right,
        kind="classes" if sizes is None else "choices",
        truncated=0,
        pad_id=0,
    )


@pytest.mark.parametrize(("count", "size"), [(100, 16), (16, 16), (5, 16), (1, 1), (97, 8)])
def test_every_epoch_holds_every_example_once(count: int, size: int) -> None:
    plan = BatchPlan(lengths_of(count), size, data_seed=3)
    for epoch in range(3):
        steps = range(epoch * plan.per_epoch, (epoch + 1) * plan.per_epoch)
        rows = np.concatenate([plan.batch(step).units for step in steps])
        assert sorted(rows.tolist()) == list(range(count))


def test_any_update_is_reached_without_those_before_it() -> None:
    lengths = lengths_of(200)
    plan = BatchPlan(lengths, 16, data_seed=1)
    batches = [plan.batch(step) for step in range(60)]
    for step in (59, 0, 31, 13):
        fresh = BatchPlan(lengths, 16, data_seed=1).batch(step)
        assert np.array_equal(fresh.units, batches[step].units)
        assert fresh.length == batches[step].length


def test_order_depends_on_the_data_seed_and_the_epoch() -> None:
    lengths = lengths_of(64)
    plan = BatchPlan(lengths, 64, data_seed=0)
    assert not np.array_equal(plan.batch(0).units, plan.batch(1).units)
    other = BatchPlan(lengths, 64, data_seed=1)
    assert not np.array_equal(plan.batch(0).units, other.batch(0).units)


def test_most_batches_hold_one_length_class() -> None:
    lengths = lengths_of(2000)
    plan = BatchPlan(lengths, 16, data_seed=0)
    pure = [
        len(set(length_classes(lengths[plan.batch(step).units]))) == 1
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
        sizes.add(min(batches, key=lambda batch: len(batch.units)).length)
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
    split = make_split(lengths_of(777))
    found = chunks(split)
    assert sorted(np.concatenate([chunk.rows for chunk in found]).tolist()) == list(range(777))
    for chunk in found:
        assert set(length_classes(split.lengths[chunk.rows])) == {chunk.length}
        assert np.array_equal(chunk.units, chunk.rows)
        assert len(chunk.rows) <= max(1, min(128, 1024 // chunk.length))
    assert_filled(found)


def assert_filled(found: list[Chunk]) -> None:
    """Of two chunks that follow each other the second one's first example had no more room."""
    for one, other in itertools.pairwise(found):
        if one.length == other.length:
            most = min(128, 1024 // one.length)
            first = len(other.rows) // len(other.units) if len(other.units) == 1 else 7
            assert len(one.rows) + first > most


def choices_split(count: int, seed: int = 0) -> TokenisedSplit:
    """Examples of 1 to 7 choices of 4 to 99 tokens."""
    sizes = np.random.default_rng(seed).integers(1, 8, size=count)
    return make_split(lengths_of(int(sizes.sum()), seed), sizes)


def test_chunks_keep_the_choices_of_an_example_together() -> None:
    split = choices_split(300)
    found = chunks(split)
    assert sorted(np.concatenate([chunk.units for chunk in found]).tolist()) == list(range(300))
    every = np.concatenate([chunk.rows for chunk in found])
    assert sorted(every.tolist()) == list(range(split.num_rows))
    for chunk in found:
        starts, ends = split.unit_offsets[chunk.units], split.unit_offsets[chunk.units + 1]
        wanted = [row for start, end in zip(starts, ends, strict=True) for row in range(start, end)]
        assert chunk.rows.tolist() == wanted
        longest = [split.lengths[a:b].max() for a, b in zip(starts, ends, strict=True)]
        assert set(length_classes(np.asarray(longest))) == {chunk.length}
        assert len(chunk.units) == 1 or len(chunk.rows) <= 1024 // chunk.length
    assert_filled(found)


def test_the_rows_of_units_in_any_order_are_found() -> None:
    split = choices_split(50)
    units = np.asarray([7, 0, 49, 7])
    wanted = [
        row
        for unit in units
        for row in range(split.unit_offsets[unit], split.unit_offsets[unit + 1])
    ]
    assert split.rows_of(units).tolist() == wanted
    seventh = slice(split.unit_offsets[7], split.unit_offsets[8])
    assert split.unit_lengths[7] == max(split.lengths[seventh])


def test_updates_of_several_tasks_come_mixed_and_in_the_promised_number() -> None:
    order = TaskOrder({"a": 30, "b": 10, "c": 1}, data_seed=3)
    turns = [order.at(step) for step in range(41)]
    for task, count in (("a", 30), ("b", 10), ("c", 1)):
        assert [place for name, place in turns if name == task] == list(range(count))
        assert order.done(task, 20) == sum(name == task for name, _ in turns[:20])
    names = [name for name, _ in turns]
    assert names != sorted(names)
    again = [TaskOrder({"a": 30, "b": 10, "c": 1}, data_seed=3).at(step) for step in range(41)]
    other = [TaskOrder({"a": 30, "b": 10, "c": 1}, data_seed=4).at(step) for step in range(41)]
    assert again == turns != other
