"""What a choice is worth: shuffled and random choices, paired gains, and what it tells of a class.

Everything is a pure function of its arguments: draws come from streams of fixed seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 8
"""Permutations, and draws of random choices, that are averaged over."""
RESAMPLES = 1000
PERMUTATIONS = 999

Indices = NDArray[np.int64]
Score = Callable[[Indices, Indices], float]
"""Metric of predictions, shape (examples,), on some of the examples, given by their indices."""


class Gain(NamedTuple):
    """Difference of two rows of an audit on the same examples.

    Attributes:
        value: First minus second; a mean where the second stands for several draws.
        low: Lower end of the 95 % interval, a percentile of the paired bootstrap.
        high: Upper end.
    """

    value: float
    low: float
    high: float


class Information(NamedTuple):
    """What a choice tells of a class.

    Attributes:
        nats: Mutual information of the counted pairs; it is above 0 by chance alone.
        chance: Its mean over permutations, which is how much of it chance explains.
        p: Share of permutations with at least as much, the counted pairs among them.
    """

    nats: float
    chance: float
    p: float


def modal(index: Indices, choices: int) -> int:
    """Return the choice that most rows took; of equally frequent ones the first."""
    return int(np.bincount(index, minlength=choices).argmax())


def permutations(rows: int, draws: int = DRAWS) -> list[Indices]:
    """Return permutations of row numbers, always the same ones for a number of rows."""
    draw = np.random.default_rng(1)
    return [draw.permutation(rows) for _ in range(draws)]


def random_choices(rows: int, choices: int, draws: int = DRAWS) -> list[Indices]:
    """Draw choices evenly, always the same ones for these sizes; each of shape (rows,)."""
    draw = np.random.default_rng(2)
    return [draw.integers(choices, size=rows) for _ in range(draws)]


def taken(table: NDArray[np.float32], index: Indices) -> NDArray[np.float32]:
    """Read each row's scores under its choice.

    Args:
        table: Scores, shape (choices, rows, outputs).
        index: Choice of each row, shape (rows,).

    Returns:
        Shape (rows, outputs).
    """
    found: NDArray[np.float32] = table[index, np.arange(table.shape[1])]
    return found


def mixed(table: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh the answers under every choice c by its probability: sum_c p(c | x) p(y | x, c).

    Args:
        table: Scores (logits) of classes, shape (choices, rows, classes).
        shares: Probability of every choice, shape (rows, choices).

    Returns:
        Probabilities of classes, shape (rows, classes).
    """
    weights = np.exp(table - table.max(axis=2, keepdims=True), dtype=np.float64)
    answers = weights / weights.sum(axis=2, keepdims=True)
    found: NDArray[np.float32] = np.einsum("rc,cro->ro", shares, answers).astype(np.float32)
    return found


def best_each(
    own: Indices, predictions: Sequence[Indices], is_right: Callable[[Indices], NDArray[np.bool_]]
) -> Indices:
    """Choose for each example, knowing the right answer, a choice that gives it.

    Args:
        own: Predictions under the own choices, shape (examples,): they stand where none is right.
        predictions: Predictions under every fixed choice, each of shape (examples,).
        is_right: Tells which predictions are right, shape (examples,).
    """
    found, done = own.copy(), is_right(own)
    for given in predictions:
        better = ~done & is_right(given)
        found[better] = given[better]
        done |= better
    return found


def paired_gain(
    score: Score, own: Indices, others: Sequence[Indices], clusters: Indices | None = None
) -> Gain:
    """Compare own choices with others on the same examples, with a paired bootstrap interval.

    Args:
        score: Metric.
        own: Predictions, shape (examples,), at least one.
        others: Predictions of each draw of the other choices, each of the same shape.
        clusters: What is drawn together, a number from 0 for each example; None: each by itself.
    """
    every = np.arange(len(own))

    def difference(rows: Indices) -> float:
        first = score(own, rows)
        return float(np.mean([first - score(other, rows) for other in others]))

    members = [every[clusters == c] for c in np.unique(clusters)] if clusters is not None else []
    draw = np.random.default_rng(3)
    found = np.empty(RESAMPLES)
    for place in range(RESAMPLES):
        if clusters is None:
            rows = draw.integers(len(own), size=len(own))
        else:
            picked = draw.integers(len(members), size=len(members))
            rows = np.concatenate([members[number] for number in picked])
        found[place] = difference(rows)
    low, high = np.percentile(found, [2.5, 97.5])
    return Gain(difference(every), float(low), float(high))


def mean_gain(differences: NDArray[np.float64], clusters: Indices | None = None) -> Gain:
    """Return the gain in a metric that is a mean of one number an example, with its interval.

    Args:
        differences: First minus second for each example, shape (examples,), at least one.
        clusters: As for ``paired_gain``.
    """
    groups = np.arange(len(differences)) if clusters is None else clusters
    sums = np.bincount(groups, weights=differences)
    sizes = np.bincount(groups)
    drawn = np.random.default_rng(3).integers(len(sums), size=(RESAMPLES, len(sums)))
    found = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(found, [2.5, 97.5])
    return Gain(float(differences.mean()), float(low), float(high))


def counts_by_class(
    choice: Indices, classes: Indices, num_choices: int, num_classes: int
) -> Indices:
    """Count the rows of each class that took each choice, shape (classes, choices)."""
    flat = np.bincount(classes * num_choices + choice, minlength=num_choices * num_classes)
    return flat.reshape(num_classes, num_choices).astype(np.int64)


def mutual_information(counts: NDArray[np.int64]) -> float:
    """Return the mutual information of the two sides of a table of counts, in nats."""
    total = counts.sum()
    if not total:
        return 0.0
    shares = counts / total
    expected = shares.sum(axis=1, keepdims=True) * shares.sum(axis=0, keepdims=True)
    seen = counts > 0
    return max(0.0, float((shares[seen] * np.log(shares[seen] / expected[seen])).sum()))


def information(
    choice: Indices, classes: Indices, num_choices: int, num_classes: int
) -> Information:
    """Tell how much choices say of classes, and how much of it chance explains.

    Args:
        choice: Choice of each row, shape (rows,).
        classes: Class of each row, the same shape.
        num_choices: Choices that there are, a count.
        num_classes: Classes that there are, a count.
    """

    def nats(of: Indices) -> float:
        return mutual_information(counts_by_class(choice, of, num_choices, num_classes))

    observed, draw = nats(classes), np.random.default_rng(4)
    chance = np.array([nats(draw.permutation(classes)) for _ in range(PERMUTATIONS)])
    hits = int((chance >= observed - 1e-12).sum())
    return Information(observed, float(chance.mean()), (hits + 1) / (PERMUTATIONS + 1))
