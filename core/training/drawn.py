"""What one update of a run works on, whole or in parts.

An update in parts adapts all its rows at once, so that every draw is that of the whole batch, and
passes the backbone part by part. Each part's loss counts by its examples; the gradients of the
parts then add up to that of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.methods._module import BackboneInputs, Candidates, Choice, DeepSlots
from core.training.launch import Rows
from core.training.losses import Target, loss_of, summed_loss


@dataclass(frozen=True)
class DrawnPart:
    """Examples that pass the backbone together.

    Attributes:
        rows: Adapted rows for the backbone, None when ``logits`` are known without it.
        logits: Scores from cached outputs, None when the backbone must run.
        target: Right answers.
        weight: What the mean loss of these examples counts for in the update's loss.
    """

    rows: Rows | None
    logits: Tensor | None
    target: Target
    weight: float = 1.0

    def loss(self, logits: Tensor) -> Tensor:
        """Return the mean loss of the examples in nats, times the weight."""
        candidates = None if self.rows is None else self.rows.inputs.candidates
        if candidates is not None:
            found = summed_loss(logits, self.target, candidates)
        else:
            found = loss_of(logits, self.target)
        return found if self.weight == 1.0 else found * self.weight


@dataclass(frozen=True)
class Drawn:
    """What one update of a run works on.

    Attributes:
        task: Task of this update.
        parts: Its examples, one part after the other.
        num_tokens: Tokens and prompt vectors of all rows, what the cost is shared by.
        num_losses: Losses that the sum of the parts' weighted losses stands for; 1 where it is
            the mean over the examples.
    """

    task: str
    parts: tuple[DrawnPart, ...]
    num_tokens: int
    num_losses: int = 1

    @property
    def num_examples(self) -> int:
        """Examples of the update, a count."""
        return sum(len(part.target) for part in self.parts)


def cut_units(units: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Cut a batch's examples into parts whose sizes differ by one at most, none of them empty."""
    return np.array_split(units, min(count, len(units)))


def cut_rows(rows: Rows, counts: Sequence[int]) -> list[Rows]:
    """Cut adapted rows into consecutive parts.

    Args:
        rows: Rows of an update; where the loss sums over candidates, all rows of the first
            candidate, then those of the next.
        counts: Rows of each part, those of one candidate; together all of them.
    """
    ends = np.cumsum(counts).tolist()
    places = zip([0, *ends], ends, strict=False)
    return [replace(rows, inputs=_between(rows.inputs, *place)) for place in places]


def _between(inputs: BackboneInputs, start: int, end: int) -> BackboneInputs:
    candidates = inputs.candidates
    times = 1 if candidates is None else candidates.log_prior.shape[1]

    def taken(tensor: Tensor) -> Tensor:
        if times == 1:
            return tensor[start:end]
        return tensor.reshape(times, -1, *tensor.shape[1:])[:, start:end].flatten(0, 1)

    return replace(
        inputs,
        embeddings=taken(inputs.embeddings),
        mask=taken(inputs.mask),
        content_mask=taken(inputs.content_mask),
        position_ids=taken(inputs.position_ids),
        token_types=taken(inputs.token_types),
        prefix=tuple(tuple(taken(side) for side in layer) for layer in inputs.prefix),
        read_out=taken(inputs.read_out),
        last=taken(inputs.last),
        choice=Choice(),
        candidates=None if candidates is None else _of_rows(candidates, start, end),
        deep=None if inputs.deep is None else _deep_of(inputs.deep, taken),
    )


def _of_rows(candidates: Candidates, start: int, end: int) -> Candidates:
    return replace(
        candidates,
        log_prior=candidates.log_prior[start:end],
        bonus=candidates.bonus[start:end],
    )


def _deep_of(deep: DeepSlots, taken: Callable[[Tensor], Tensor]) -> DeepSlots:
    kept = None if deep.kept is None else taken(deep.kept)
    return DeepSlots(tuple(taken(layer) for layer in deep.added), kept)
