"""A run's batches: a pure function of the tokenised split, the batch size and the data seed.

Order of an epoch: shuffle all examples, cut the order into windows, sort each window by text
length class, cut it into batches, shuffle the batches of the epoch. So most batches hold one
length class, every example is seen once an epoch, and neither the method nor the runs trained
beside this one play any part.
"""

from __future__ import annotations

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
    """Round token counts up to their length class, shape (examples,)."""
    return CLASS_SIZES[np.searchsorted(CLASS_SIZES, lengths)]


def to_tokens(
    split: TokenisedSplit,
    rows: NDArray[np.int64],
    length: int,
    device: torch.device,
    feature: torch.Tensor | None = None,
) -> TokenBatch:
    """Gather examples into one padded batch.

    Args:
        split: Tokens of all examples.
        rows: Indices of examples.
        length: Tokens to pad to; no row may be longer.
        device: Where the batch shall live.
        feature: Cached features of all examples, shape (examples, hidden), or None.
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
        rows: Indices into the split.
        length: Length class that the rows are padded to.
    """

    rows: NDArray[np.int64]
    length: int


class BatchPlan:
    """Batches of a run by update number; any update is reached without making those before it.

    Args:
        lengths: Tokens of each example, shape (examples,).
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
