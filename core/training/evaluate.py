"""Scoring of whole splits: every example is counted, results are in the original order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from core.backbones.load import Backbone
from core.backbones.readout import ReadOut
from core.data.examples import Example
from core.data.tokens import TokenisedSplit
from core.methods._module import Choice
from core.metrics.judged import Judged
from core.training.batches import to_tokens
from core.training.features import PreparedSplit
from core.training.launch import Rows, launch
from core.training.model import AdaptedModel

ENTROPIES = {
    "cut": "selector/entropy",
    "slot": "selector/entropy",
    "length": "selector/length_entropy",
}
"""Scalar of each axis of which a dynamic prompt may choose."""
POOL_SCALE = 1000


@dataclass(frozen=True)
class Scoring:
    """A model and a split that it is to score.

    Attributes:
        model: Trained part of a run for the split's task.
        split: Split to score.
        read_out: That of the run.
        feature: Cached features of the split, shape (rows, hidden), when the method asks.
        pooled: Cached pooled outputs, shape (rows, hidden), when nothing before the head is
            trained; the backbone is then not run.
    """

    model: AdaptedModel
    split: PreparedSplit
    read_out: ReadOut
    feature: torch.Tensor | None = None
    pooled: torch.Tensor | None = None


@dataclass(frozen=True)
class Chosen:
    """What one axis of a dynamic prompt chose for each row of a split, in the split's order.

    Attributes:
        index: Which of its choices, shape (rows,).
        probabilities: Shape (rows, choices).
    """

    index: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows that took each choice, shape (choices,)."""
        return np.bincount(self.index, minlength=self.probabilities.shape[1])

    @property
    def entropy(self) -> float:
        """Mean entropy of the probabilities in nats."""
        shares = self.probabilities.astype(np.float64)
        terms = np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0)), 0.0)
        return float(-terms.sum(axis=1).mean())


@dataclass(frozen=True)
class Scores:
    """What a model says about every example of a split, in the split's order.

    Attributes:
        split: The split's tokens, with the right answers.
        logits: Scores of the classes, or of each example's choices filled up with minus infinity,
            shape (examples, classes or most choices).
        chosen: What was chosen, by axis: ``cut``, ``slot``, ``length``; without those of which
            nothing is chosen.
        pool_weights: Shape (rows, pool), None without a pool.
    """

    split: TokenisedSplit
    logits: NDArray[np.float32]
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    pool_weights: NDArray[np.float32] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Right classes, or first right choices, shape (examples,)."""
        return self.split.labels

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Class or choice with the highest score, shape (examples,)."""
        found: NDArray[np.int64] = np.argmax(self.logits, axis=1)
        return found

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """Logarithm of the softmax of the scores, shape as ``logits``."""
        scores = self.logits.astype(np.float64)
        normalised: NDArray[np.float64] = scores - _log_sum(scores)[:, None]
        return normalised

    def probabilities(self) -> list[list[float]]:
        """Return the probability of each class or choice, one list an example."""
        shares = np.exp(self.log_probabilities)
        if self.split.kind == "classes":
            return list(shares.tolist())
        ends = self.split.unit_offsets[1:-1]
        return [part.tolist() for part in np.split(shares[self.split.is_choice], ends)]

    @property
    def is_finite(self) -> bool:
        """True when no score is NaN or infinite."""
        real = self.logits if self.split.kind == "classes" else self.logits[self.split.is_choice]
        return bool(np.isfinite(real).all())

    @property
    def answer_rows(self) -> NDArray[np.int64]:
        """Row of each example, of choices that of the given answer, shape (examples,)."""
        if self.split.kind == "classes":
            return np.arange(len(self.labels))
        found: NDArray[np.int64] = self.split.unit_offsets[:-1] + self.predictions
        return found

    def loss(self) -> float:
        """Return the mean loss in nats: -log of the probability of all that is right together."""
        found = self.log_probabilities
        if self.split.kind == "classes":
            return float(-found[np.arange(len(self.labels)), self.labels].mean())
        right = np.full_like(found, -np.inf)
        is_choice = self.split.is_choice
        right[is_choice] = np.where(self.split.right, found[is_choice], -np.inf)
        return float(-_log_sum(right).mean())

    def judged(self, examples: Sequence[Example], num_labels: int) -> Judged:
        """Put the right answers beside the given ones.

        Args:
            examples: The split's examples.
            num_labels: Classes of the task, a count; 0 where choices vary in number.
        """
        is_choices = self.split.kind == "choices"
        questions = [example.question for example in examples]
        return Judged(
            self.labels,
            self.predictions,
            num_labels,
            right=[example.right for example in examples] if is_choices else (),
            choices=[example.choices for example in examples] if is_choices else (),
            questions=questions if any(questions) else (),
        )

    def histograms(self) -> dict[str, NDArray[np.float64]]:
        """Count the rows that took each choice of each axis; of a pool the weights, in 1/1000."""
        found = {name: axis.counts.astype(np.float64) for name, axis in self.chosen.items()}
        if self.pool_weights is not None:
            found["pool"] = self.pool_weights.sum(axis=0, dtype=np.float64) * POOL_SCALE
        return found

    def entropies(self) -> dict[str, float]:
        """Return how undecided each axis is, in nats, by name of its scalar."""
        return {ENTROPIES[name]: axis.entropy for name, axis in self.chosen.items()}


def _log_sum(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the sum of the exponentials of each row."""
    most = scores.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = most[:, 0] + np.log(np.exp(scores - most).sum(axis=1))
    return found


@dataclass
class _Partial:
    """Results of one job so far, in the order in which they were made."""

    logits: list[torch.Tensor]
    choices: list[Choice]


def evaluate(
    backbone: Backbone,
    jobs: Sequence[Scoring],
    is_stopped: Callable[[int], bool] = lambda index: False,
) -> list[Scores | None]:
    """Score splits with several models; models that score the same split share passes.

    Args:
        backbone: The frozen backbone.
        jobs: Models and splits.
        is_stopped: Asked before each pass with the index of a job; a stopped job is given up.

    Returns:
        Scores of each job, None for those given up.
    """
    partial = {index: _Partial([], []) for index in range(len(jobs))}
    longest = max((len(job.split.chunks) for job in jobs), default=0)
    with torch.inference_mode():
        for turn in range(longest):
            for index in [index for index in partial if is_stopped(index)]:
                del partial[index]
            _one_turn(backbone, jobs, turn, partial)
    return [
        _gather(jobs[index], partial[index]) if index in partial else None
        for index in range(len(jobs))
    ]


def _one_turn(
    backbone: Backbone, jobs: Sequence[Scoring], turn: int, partial: dict[int, _Partial]
) -> None:
    """Score the ``turn``-th chunk of every job that has one."""
    running: list[tuple[int, Rows]] = []
    for index in partial:
        job = jobs[index]
        if turn >= len(job.split.chunks):
            continue
        chunk = job.split.chunks[turn]
        if job.pooled is not None:
            pooled = job.pooled[torch.from_numpy(chunk.rows).to(job.pooled.device)]
            partial[index].logits.append(job.model.score(pooled))
            continue
        batch = to_tokens(job.split.tokens, chunk.rows, chunk.length, backbone.device, job.feature)
        running.append((index, Rows(job.model, job.model.method.adapt(batch), job.read_out)))
    for (index, part), logits in zip(
        running, launch(backbone, [part for _, part in running]), strict=True
    ):
        partial[index].logits.append(logits)
        partial[index].choices.append(part.inputs.choice)


def _gather(job: Scoring, partial: _Partial) -> Scores:
    """Put the chunks' results into the split's order."""
    order = np.concatenate([chunk.rows for chunk in job.split.chunks])

    def ordered(parts: list[torch.Tensor]) -> NDArray[np.generic]:
        joined = torch.cat(parts).cpu().numpy()
        result = np.empty_like(joined)
        result[order] = joined
        return result

    parts = [choice.by_axis() for choice in partial.choices]
    weights = [item.pool_weights for item in partial.choices if item.pool_weights is not None]
    logits = ordered([part.float() for part in partial.logits]).astype(np.float32, copy=False)
    return Scores(
        split=job.split.tokens,
        logits=answer_table(job.split.tokens, logits),
        chosen={
            name: Chosen(
                ordered([part[name][0] for part in parts]).astype(np.int64),
                ordered([part[name][1] for part in parts]).astype(np.float32),
            )
            for name in (parts[0] if parts else ())
        },
        pool_weights=ordered(weights).astype(np.float32) if weights else None,
    )


def answer_table(split: TokenisedSplit, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put the scores of choices, shape (rows, 1), side by side; those of classes already are.

    Returns:
        Shape (examples, classes or most choices), minus infinity where an example has no choice.
    """
    if split.kind == "classes":
        return scores
    table = np.full(split.is_choice.shape, -np.inf, dtype=np.float32)
    table[split.is_choice] = scores[:, 0]
    return table
