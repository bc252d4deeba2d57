"""What a dynamic prompt chooses among, how choices are scored, and how they are taken."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from core.methods._initial import UNIFORM_BOUND
from core.methods._linear import drawn_linear, empty_linear
from core.methods._module import Candidates, SelectorNoise
from core.methods._selector import best, gumbel_choice
from core.methods.dynamic_prompt.fields import Position


@dataclass(frozen=True)
class Decision:
    """What one axis chose for each row.

    Attributes:
        index: Which of its choices.
        share: One-hot rows that carry the selector's gradient; None when it gets none here.
        probabilities: Softmax of the scores without noise; None where it was not asked for.
    """

    index: Int[Tensor, " batch"]
    share: Float[Tensor, "batch choices"] | None = None
    probabilities: Float[Tensor, "batch choices"] | None = None

    def backwards(self, choices: int) -> Decision:
        """Return the same decision with the choices numbered from the last to the first."""
        return Decision(
            choices - 1 - self.index,
            None if self.share is None else self.share.flip(1),
            None if self.probabilities is None else self.probabilities.flip(1),
        )

    def repeated(self, times: int) -> Decision:
        """Return it for all rows several times, one whole batch after the other."""
        return Decision(self.index.repeat(times))


class Selector(nn.Module):
    """Scores of one axis: free ones for the task, or a linear map of the input; all zero at first.

    As the authors' code has it, they are drawn at first, and those of an input never below 0.

    Args:
        scope: ``task`` or ``instance``.
        hidden: Width of what it sees.
        choices: Choices, a count.
        draw: Generator of the initial values in the manner of the authors' code; None: zeros.
    """

    def __init__(
        self, scope: Position, hidden: int, choices: int, draw: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self._is_clipped = draw is not None
        self.scores: nn.Parameter | None = None
        if scope == "task":
            zeros = torch.zeros(choices)
            first = zeros if draw is None else (torch.rand(choices, generator=draw) * 2 - 1)
            self.scores = nn.Parameter(first * UNIFORM_BOUND)
        self.linear = linear_map(hidden, choices, draw) if scope == "instance" else None

    def forward(
        self, feature: Float[Tensor, "batch hidden"] | None, rows: int
    ) -> Float[Tensor, "batch choices"]:
        """Score the choices of each row."""
        if self.scores is not None:
            return self.scores.expand(rows, -1)
        if self.linear is None or feature is None:
            raise ValueError("a selector of instances needs what it sees")
        scores: Tensor = self.linear(feature)
        return scores.relu() if self._is_clipped else scores


def new_selector(
    scope: Position, hidden: int, choices: int, draw: torch.Generator | None = None
) -> Selector | None:
    """Make an axis's selector; none where nothing is learnt. See ``Selector``."""
    return Selector(scope, hidden, choices, draw) if scope in ("task", "instance") else None


def linear_map(inputs: int, outputs: int, draw: torch.Generator | None) -> nn.Linear:
    """Make a linear layer of zeros, or one drawn in the library's usual way."""
    if draw is not None:
        return drawn_linear(inputs, outputs, draw)
    layer = empty_linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def decide(
    scores: Float[Tensor, "batch choices"],
    noise: SelectorNoise | None,
    *,
    gumbel: Float[Tensor, "batch choices"] | None = None,
    one_for_all: bool = False,
) -> Decision:
    """Take one choice a row: drawn straight through in training, the best one without noise.

    Args:
        scores: Unnormalised log-probabilities.
        noise: Randomness of a training step; None in evaluation.
        gumbel: Noise of an evaluation that draws too; None: one that takes the best.
        one_for_all: True: a training step draws one choice for all rows, whose scores are equal.
    """
    probabilities = torch.softmax(scores.detach(), dim=1)
    if noise is None:
        seen = scores.detach() if gumbel is None else scores.detach() + gumbel
        return Decision(best(seen), None, probabilities)
    index, share = gumbel_choice(scores[:1] if one_for_all else scores, noise)
    rows = len(scores)
    return Decision(index.expand(rows), share.expand(rows, -1), probabilities)


def every_choice(
    scores: Mapping[str, Float[Tensor, "batch choices"]],
) -> tuple[dict[str, Decision], Candidates]:
    """Take all combinations of all axes' choices, one after the other.

    Returns:
        Decisions of the axes for combinations × batch rows, and what they stand for.
    """
    rows = len(next(iter(scores.values())))
    logs = {name: torch.log_softmax(found, dim=1) for name, found in scores.items()}
    combinations = list(itertools.product(*(range(found.shape[1]) for found in scores.values())))
    table = torch.tensor(combinations, device=next(iter(scores.values())).device)
    picked = dict(zip(scores, table.unbind(dim=1), strict=True))
    parts = [logs[name][:, index] for name, index in picked.items()]
    log_prior = torch.stack(parts).sum(dim=0)
    taken = {name: Decision(index.repeat_interleave(rows)) for name, index in picked.items()}
    return taken, Candidates(log_prior, True, log_prior.new_zeros(rows))


def drawn_choices(
    scores: Mapping[str, Float[Tensor, "batch choices"]],
    samples: int,
    draw: torch.Generator,
    entropy_bonus: float,
) -> tuple[dict[str, Decision], Candidates]:
    """Draw choices of all axes, independently and with repeats.

    Args:
        scores: Scores of each axis.
        samples: Draws for each row, a count.
        draw: CPU generator.
        entropy_bonus: Weight of the entropy of all axes' choices.

    Returns:
        Decisions of the axes for samples × batch rows, and what they stand for.
    """
    logs = {name: torch.log_softmax(found, dim=1) for name, found in scores.items()}
    taken: dict[str, Decision] = {}
    first = next(iter(logs.values()))
    log_prior = first.new_zeros(len(first), samples)
    entropy = first.new_zeros(len(first))
    for name, found in logs.items():
        index = torch.multinomial(
            found.detach().exp().cpu(), samples, replacement=True, generator=draw
        ).to(found.device)
        taken[name] = Decision(index.T.reshape(-1))
        log_prior = log_prior + found.gather(1, index)
        entropy = entropy - (found.exp() * found).sum(dim=1)
    return taken, Candidates(log_prior, False, entropy_bonus * entropy)
