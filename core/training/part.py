"""One task of a run: its data, what the backbone reads of it, and the order of its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.examples import Example, TaskData
from core.metrics import METRICS
from core.training.batches import Batch, BatchPlan
from core.training.checkpoint import TaskCard
from core.training.evaluate import Scores
from core.training.features import PreparedSplit
from core.training.losses import Target, target
from core.training.model import AdaptedModel
from core.training.warm import WarmBackbone


class TaskPart:
    """What a run holds for each of its tasks; it never changes but for the model's tensors.

    Args:
        data: The task; ``train`` and ``dev`` as the run uses them.
        card: What the adapter says of the task.
        warm: Backbone of the run.
        max_tokens: Tokens of a row at most, a count.
        model: The run's trained part for this task.
    """

    def __init__(
        self,
        data: TaskData,
        card: TaskCard,
        warm: WarmBackbone,
        max_tokens: int,
        model: AdaptedModel,
    ) -> None:
        self.data = data
        self.card = card
        self.model = model
        self._examples: dict[str, tuple[Example, ...]] = {
            "train": data.train,
            "dev": data.dev,
            "test": data.test,
            **{name: extra.examples for name, extra in data.extra.items()},
        }
        self.splits: dict[str, PreparedSplit] = {
            name: warm.split(examples, max_tokens) for name, examples in self._examples.items()
        }

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.data.name

    @property
    def criterion(self) -> str:
        """Metric that selects."""
        return self.data.metrics[0]

    @property
    def scored_splits(self) -> tuple[str, ...]:
        """Splits that are scored at the end: dev and test where there are any, and extra sets."""
        names = ("dev", "test", *self.data.extra)
        return tuple(name for name in names if len(self.splits[name]))

    def plan(self, batch_size: int, data_seed: int) -> BatchPlan:
        """Order the training examples."""
        return BatchPlan(self.splits["train"].tokens.unit_lengths, batch_size, data_seed)

    def rows_of(self, batch: Batch) -> NDArray[np.int64]:
        """Return the rows of a training batch."""
        return self.splits["train"].tokens.rows_of(batch.units)

    def target(self, batch: Batch, device: torch.device) -> Target:
        """Return the right answers of a training batch."""
        return target(self.splits["train"].tokens, batch.units, device)

    def examples(self, split: str) -> tuple[Example, ...]:
        """Return a split's examples."""
        return self._examples[split]

    def metric_names(self, split: str) -> Sequence[str]:
        """Return the metrics of a split; none where the right answers are hidden."""
        extra = self.data.extra.get(split)
        return self.data.metrics if extra is None else extra.metrics

    def metrics(self, split: str, scores: Scores) -> dict[str, float]:
        """Judge what a model said about a split, by name of the metric."""
        names = self.metric_names(split)
        if not names:
            return {}
        judged = scores.judged(self._examples[split], len(self.data.labels))
        return {name: METRICS[name](judged) for name in names}


def with_draw(data: TaskData, train: Sequence[int], dev: Sequence[int] | None) -> TaskData:
    """Leave in train, and where given in dev, what a regime drew from train."""
    chosen = replace(data, train=tuple(data.train[index] for index in train))
    if dev is None:
        return chosen
    return replace(
        chosen,
        dev=tuple(data.train[index] for index in dev),
        dev_source="drawn from train beside the training examples",
    )


def mean_of(values: Mapping[str, float]) -> float:
    """Return the unweighted mean over tasks."""
    return float(np.mean(list(values.values())))
