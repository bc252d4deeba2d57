"""Parts of an audit: which examples, the passes under told choices, and how they are judged."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.backbones.load import Backbone
from core.backbones.readout import ReadOut
from core.data.examples import Example
from core.data.tokens import TokenisedSplit
from core.methods._module import Choice, ChoosingMethod, TokenBatch
from core.metrics import METRICS, Judged
from core.statistics.audit import Gain, Indices, mean_gain, mixed, paired_gain
from core.training.batches import to_tokens
from core.training.evaluate import answer_table
from core.training.features import Chunk, PreparedSplit
from core.training.launch import Rows, launch
from core.training.model import AdaptedModel

MEANS = frozenset({"accuracy", "record_em", "record_f1"})
"""Metrics that are means of one number an example."""

Values = NDArray[Any]
"""A choice of each row: an index, shape (rows,), or weights of a pool, shape (rows, pool)."""


class Own(NamedTuple):
    """What a method chooses by itself on an axis.

    Attributes:
        taken: What each row takes: an index, or weights of a pool.
        shares: Its probability of every choice, shape (rows, choices); of a pool the weights.
    """

    taken: Values
    shares: NDArray[np.float32]


class Stopped(Exception):
    """The run was asked to stop in the middle of an audit."""


def sample(examples: Sequence[Example], most: int) -> list[int]:
    """Choose examples, evenly from all classes; what belongs to one question stays together.

    Which ones are taken depends on nothing but the examples themselves.

    Args:
        examples: A split.
        most: Examples at most, a count; a single question may have more.

    Returns:
        Indices, ascending; all where there are not more.
    """
    if len(examples) <= most:
        return list(range(len(examples)))
    questions: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        questions[example.question or str(place)].append(place)
    strata: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    for places in questions.values():
        first = examples[places[0]]
        digest = hashlib.sha256(f"{first.key}|{places[0]}".encode()).hexdigest()
        strata[-1 if first.question else first.label].append((digest, places))
    turns = [
        ((rank + 0.5) / len(stratum), digest, places)
        for stratum in strata.values()
        for rank, (digest, places) in enumerate(sorted(stratum))
    ]
    chosen: list[int] = []
    for _, _, places in sorted(turns):
        if chosen and len(chosen) + len(places) > most:
            break
        chosen += places
    return sorted(chosen)


@dataclass(frozen=True)
class Subject:
    """A trained model and the examples that its choices are audited on.

    Attributes:
        backbone: The frozen backbone.
        model: Trained part of a run.
        method: Its method.
        split: Examples.
        read_out: That of the run.
        feature: Cached features of all rows, shape (rows, hidden), when the method asks.
        is_stopped: Asked before each pass with the rows that went through in this round.
    """

    backbone: Backbone
    model: AdaptedModel
    method: ChoosingMethod
    split: PreparedSplit
    read_out: ReadOut
    feature: Tensor | None
    is_stopped: Callable[[int], bool]

    def own(self) -> dict[str, Own]:
        """Return what the method chooses by itself: ``cut``, ``slot``, ``length``, ``pool``."""
        found: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        with torch.inference_mode():
            for _, batch in self._batches():
                choice = self.method.adapt(batch).choice
                for axis, (index, shares) in choice.by_axis().items():
                    found[axis].append((index, shares.float()))
                if choice.pool_weights is not None:
                    found["pool"].append((choice.pool_weights, choice.pool_weights))
        return {
            axis: Own(*(self._ordered(tensors) for tensors in zip(*parts, strict=True)))
            for axis, parts in found.items()
        }

    def sizes(self) -> dict[str, int]:
        """Count the choices of every axis of which something is chosen."""
        with torch.inference_mode():
            choice = self.method.adapt(next(self._batches())[1]).choice
        found = {axis: shares.shape[1] for axis, (_, shares) in choice.by_axis().items()}
        if choice.pool_weights is not None:
            found["pool"] = choice.pool_weights.shape[1]
        return {axis: size for axis, size in found.items() if size > 1}

    def scores(self, axis: str, told: Sequence[Values]) -> NDArray[np.float32]:
        """Score all rows under every told choice of an axis; of other axes each row has its own.

        Args:
            axis: ``cut``, ``slot``, ``length`` or ``pool``.
            told: Choices of all rows, one entry a pass.

        Returns:
            Shape (len(told), rows, outputs).

        Raises:
            Stopped: If the run was asked to stop.
        """
        found: list[list[Tensor]] = [[] for _ in told]
        done = 0
        with torch.inference_mode():
            for chunk, batch in self._batches():
                shortest = self.method.adapt(batch).choice.shortest
                for place, values in enumerate(told):
                    if self.is_stopped(done):
                        raise Stopped
                    done += len(chunk.rows)
                    given = torch.from_numpy(values[chunk.rows]).to(self.backbone.device)
                    inputs = self.method.adapt_with(batch, _choice(axis, given, shortest))
                    rows = Rows(self.model, inputs, self.read_out)
                    found[place].append(launch(self.backbone, [rows])[0].float())
        return np.stack([self._ordered(parts) for parts in found]).astype(np.float32, copy=False)

    def predictions(self, scores: NDArray[np.float32]) -> Indices:
        """Return the class or choice of each example from the scores of its rows."""
        found: Indices = np.argmax(answer_table(self.split.tokens, scores), axis=1)
        return found

    def mixture(self, scores: NDArray[np.float32], shares: NDArray[np.float32]) -> Indices | None:
        """Predict from the answers under every choice, each weighed by its probability.

        Args:
            scores: As ``scores`` returns them, one entry a choice.
            shares: Probability of every choice, shape (rows, choices).

        Returns:
            Class of each example; None where choices of a text are scored and no class is.
        """
        if self.split.tokens.kind != "classes":
            return None
        return self.predictions(mixed(scores, shares))

    def _batches(self) -> Iterator[tuple[Chunk, TokenBatch]]:
        device = self.backbone.device
        for chunk in self.split.chunks:
            tokens = self.split.tokens
            yield chunk, to_tokens(tokens, chunk.rows, chunk.length, device, self.feature)

    def _ordered(self, parts: Sequence[Tensor]) -> Values:
        """Put the chunks' results into the order of the rows."""
        joined = torch.cat(list(parts)).cpu().numpy()
        found = np.empty_like(joined)
        found[np.concatenate([chunk.rows for chunk in self.split.chunks])] = joined
        ordered: Values = found
        return ordered


def _choice(axis: str, values: Tensor, shortest: int) -> Choice:
    match axis:
        case "cut":
            return Choice(cut=values)
        case "slot":
            return Choice(slot=values)
        case "length":
            return Choice(length=values + shortest)
        case _:
            return Choice(pool_weights=values)


class Judge:
    """Metrics of predictions on some examples.

    Args:
        examples: Their right answers.
        num_labels: Classes of the task, a count; 0 where choices vary in number.
        metrics: Names in ``core.metrics``, at least one; the first decides.
        tokens: The same examples as tokens.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        num_labels: int,
        metrics: Sequence[str],
        tokens: TokenisedSplit,
    ) -> None:
        self._examples = examples
        self._num_labels = num_labels
        self._names = metrics
        self._is_choices = tokens.kind == "choices"
        self._labels = tokens.labels
        width = int(tokens.unit_sizes.max()) if self._is_choices else num_labels
        self._values = np.full((len(examples), width), np.nan)

    @property
    def clusters(self) -> Indices | None:
        """Number of the question of each example; None where each stands by itself."""
        questions = [example.question for example in self._examples]
        if not any(questions):
            return None
        found: Indices = np.unique(questions, return_inverse=True)[1].astype(np.int64)
        return found

    def metrics(self, predictions: Indices) -> dict[str, float]:
        """Judge predictions of all examples, by name of the metric."""
        judged = self._judged(predictions, np.arange(len(predictions)))
        return {name: METRICS[name](judged) for name in self._names}

    def is_right(self, predictions: Indices) -> NDArray[np.bool_]:
        """Tell which examples got a right answer."""
        return self._judged(predictions, np.arange(len(predictions))).hits

    def score(self, predictions: Indices, rows: Indices) -> float:
        """Return the first metric of predictions on some of the examples, repeats allowed."""
        return METRICS[self._names[0]](self._judged(predictions, rows))

    def gain(self, own: Indices, others: Sequence[Indices]) -> Gain:
        """Compare predictions with those of each draw of other choices in the first metric."""
        if self._names[0] not in MEANS:
            return paired_gain(self.score, own, others, self.clusters)
        first = self._each(own)
        differences = np.mean([first - self._each(other) for other in others], axis=0)
        return mean_gain(differences, self.clusters)

    def _each(self, predictions: Indices) -> NDArray[np.float64]:
        """Judge each example's prediction by itself, shape (examples,); known ones are kept."""
        every = np.arange(len(predictions))
        for place in np.flatnonzero(np.isnan(self._values[every, predictions])).tolist():
            judged = self._judged(predictions, np.array([place]))
            self._values[place, predictions[place]] = METRICS[self._names[0]](judged)
        found: NDArray[np.float64] = self._values[every, predictions]
        return found

    def _judged(self, predictions: Indices, rows: Indices) -> Judged:
        chosen = [self._examples[place] for place in rows.tolist()] if self._needs_texts else []
        return Judged(
            self._labels[rows],
            predictions[rows],
            self._num_labels,
            right=[example.right for example in chosen] if self._is_choices else (),
            choices=[example.choices for example in chosen] if self._is_choices else (),
            questions=[example.question for example in chosen],
        )

    @property
    def _needs_texts(self) -> bool:
        return self._is_choices or any(example.question for example in self._examples[:1])
