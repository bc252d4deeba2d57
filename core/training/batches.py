"""A run's batches: a pure function of the tokenised split, the batch size and the data seed.

What is drawn are units: an example with all its rows, one a choice where choices are scored
together. The length class of a unit is that of its longest row.

Order of an epoch: shuffle all examples, cut the order into windows, sort each window by text
length class, cut it into batches, shuffle the batches of the epoch. So most batches hold one
length class, every example is seen once an epoch, and neither the method nor the runs trained
beside this one play any part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.tokens import LENGTH_CLASSES, TokenisedSplit
from core.methods._module import TokenBatch
from core.training.streams import generator

WINDOW_BATCHES = 32
CLASS_SIZES = np.asarray(LENGTH_CLASSES, dtype=np.int64)


def length_classes(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round token counts up to their length class, in the same shape."""
    return CLASS_SIZES[np.searchsorted(CLASS_SIZES, lengths)]


def to_tokens(
    split: TokenisedSplit,
    rows: NDArray[np.int64],
    length: int,
    device: torch.device,
    feature: torch.Tensor | None = None,
) -> TokenBatch:
    """Gather rows into one padded batch.

    Args:
        split: Tokens of all rows.
        rows: Indices of rows.
        length: Tokens to pad to; no row may be longer.
        device: Where the batch shall live.
        feature: Cached features of all rows, shape (rows, hidden), or None.
    """
    columns = np.arange(length, dtype=np.int64)
    mask = columns < split.lengths[rows, None]
    place = np.where(mask, split.offsets[rows, None] + columns, 0)
    ids = np.where(mask, split.ids[place], split.pad_id).astype(np.int64, copy=False)
    types = np.where(mask, split.types[place], 0).astype(np.int64, copy=False)
    return TokenBatch(
        token_ids=torch.from_numpy(ids).to(device),
        token_types=torch.from_numpy(types).to(device),
        mask=torch.from_numpy(mask).to(device),
        feature=None if feature is None else feature[torch.from_numpy(rows).to(feature.device)],
    )


@dataclass(frozen=True)
class Batch:
    """Examples of one update.

    Attributes:
        units: Indices of the examples in the split.
        length: Length class that their rows are padded to.
    """

    units: NDArray[np.int64]
    length: int


class BatchPlan:
    """Batches of a run by update number; any update is reached without making those before it.

    Args:
        lengths: Tokens of each example's longest row, shape (examples,).
        batch_size: Examples an update, a count; one batch of an epoch may be smaller.
        data_seed: Seed of the order.
    """

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, data_seed: int) -> None:
        self._classes = length_classes(lengths)
        self._batch_size = batch_size
        self._data_seed = data_seed
        self.per_epoch = -(-len(lengths) // batch_size)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def batch(self, step: int) -> Batch:
        """Return the batch of an update, counted from 0."""
        epoch, position = divmod(step, self.per_epoch)
        return self._epoch(epoch)[position]

    def _make_epoch(self, epoch: int) -> tuple[Batch, ...]:
        draw = generator(self._data_seed, epoch, "order")
        count, size = len(self._classes), self._batch_size
        order = torch.randperm(count, generator=draw).numpy()
        window = np.arange(count) // (size * WINDOW_BATCHES)
        order = order[np.lexsort((self._classes[order], window))]
        # The one smaller batch stands anywhere, else it would always hold the longest texts.
        sizes = np.full(self.per_epoch, size)
        short = int(torch.randint(self.per_epoch, (1,), generator=draw))
        sizes[short] -= self.per_epoch * size - count
        groups = np.split(order, np.cumsum(sizes)[:-1])
        sequence = torch.randperm(self.per_epoch, generator=draw).tolist()
        return tuple(
            Batch(groups[index], int(self._classes[groups[index]].max())) for index in sequence
        )


class TaskOrder:
    """Which task each update of a run works on: a permutation drawn from the data seed's stream.

    Args:
        updates: Updates that each task gets, a count.
        data_seed: Seed of the order.
    """

    def __init__(self, updates: Mapping[str, int], data_seed: int) -> None:
        self._names = tuple(updates)
        if len(self._names) == 1:
            return
        counts = list(updates.values())
        draw = generator(data_seed, 0, "task order")
        order = torch.randperm(sum(counts), generator=draw).numpy()
        self._turns = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        self._places = np.empty(len(order), dtype=np.int64)
        for index, count in enumerate(counts):
            self._places[self._turns == index] = np.arange(count)

    def at(self, step: int) -> tuple[str, int]:
        """Return the task of an update, counted from 0, and how many of its own went before."""
        if len(self._names) == 1:
            return self._names[0], step
        return self._names[self._turns[step]], int(self._places[step])

    def done(self, task: str, step: int) -> int:
        """Count a task's updates among the first ``step``."""
        if len(self._names) == 1:
            return step
        return int((self._turns[:step] == self._names.index(task)).sum())
