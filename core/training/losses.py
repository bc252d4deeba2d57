"""Losses of classes and of choices that are scored together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from core.data.tokens import TokenisedSplit, choice_mask
from core.methods._marginal import marginal_loss
from core.methods._module import Candidates


@dataclass(frozen=True)
class Target:
    """Right answers of some examples.

    Attributes:
        labels: Right class of each example.
        is_choice: Where an example has a choice; None where classes are predicted.
        is_right: Where a right choice stands; None where classes are predicted.
    """

    labels: Int[Tensor, " examples"]
    is_choice: Bool[Tensor, "examples choices"] | None = None
    is_right: Bool[Tensor, "examples choices"] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def target(split: TokenisedSplit, units: NDArray[np.int64], device: torch.device) -> Target:
    """Gather the right answers of examples.

    Args:
        split: The split that they belong to.
        units: Indices of examples.
        device: Where the result shall live.
    """
    labels = torch.from_numpy(split.labels[units]).to(device)
    if split.kind == "classes":
        return Target(labels)
    is_choice = choice_mask(split.unit_sizes[units])
    is_right = np.zeros_like(is_choice)
    is_right[is_choice] = split.right[split.rows_of(units)]
    return Target(
        labels, torch.from_numpy(is_choice).to(device), torch.from_numpy(is_right).to(device)
    )


def summed_loss(
    scores: Float[Tensor, "rows outputs"], answers: Target, candidates: Candidates
) -> Float[Tensor, ""]:
    """Return the mean loss over what a selector may choose, in nats.

    Args:
        scores: Scores of the classes, one candidate's rows after the other's.
        answers: Right classes, one an example.
        candidates: What the rows stand for.
    """
    labels = answers.labels.repeat(candidates.log_prior.shape[1])
    likelihood = -cross_entropy(scores, labels, reduction="none")
    return marginal_loss(likelihood, candidates).mean()


def loss_of(scores: Float[Tensor, "rows outputs"], answers: Target) -> Float[Tensor, ""]:
    """Return the mean loss of the examples in nats.

    For classes the cross entropy. For choices -log of the probability of all right ones together,
    with one softmax over the choices of an example.

    Args:
        scores: One row an example, or one row a choice with one score.
        answers: Right answers; of choices the rows stand in the order of ``is_choice``.
    """
    if answers.is_choice is None or answers.is_right is None:
        return cross_entropy(scores, answers.labels)
    empty = scores.new_full(answers.is_choice.shape, -torch.inf)
    table = empty.masked_scatter(answers.is_choice, scores)
    right = table.masked_fill(~answers.is_right, -torch.inf)
    return (table.logsumexp(dim=1) - right.logsumexp(dim=1)).mean()
