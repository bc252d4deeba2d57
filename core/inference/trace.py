"""What a method did with one input, in plain numbers that a page can draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from core.methods._module import BackboneInputs

DECIMALS = 6


class Piece(NamedTuple):
    """Prompt vectors that stand together.

    Attributes:
        tokens_before: Tokens of the row in front of them, [CLS] included, a count.
        vectors: Prompt vectors, a count.
    """

    tokens_before: int
    vectors: int


@dataclass(frozen=True)
class AxisTrace:
    """What one axis of a dynamic prompt chose for one row.

    Attributes:
        axis: ``cut``, ``slot`` or ``length``.
        chosen: Index of its choice.
        names: All that it chose among.
        probabilities: Probability of each of them.
    """

    axis: str
    chosen: int
    names: list[str]
    probabilities: list[float]


@dataclass(frozen=True)
class Trace:
    """Where the prompt of one row stands and how it came about.

    Attributes:
        pieces: Prompt vectors that are used, from the first place to the last.
        choices: Axes of which something was chosen.
        pool_weights: Share of each prompt of the pool, None without a pool.
    """

    pieces: list[Piece]
    choices: list[AxisTrace]
    pool_weights: list[float] | None


def trace(inputs: BackboneInputs, row: int, names: Mapping[str, tuple[str, ...]]) -> Trace:
    """Read one row's trace from what the method gave the backbone.

    Args:
        inputs: Inputs of one run.
        row: Which row.
        names: ``choice_names`` of the method's configuration.
    """
    attended, content = inputs.mask[row], inputs.content_mask[row]
    tokens_before = content.cumsum(dim=0)[attended & ~content].tolist()
    return Trace(
        pieces=[Piece(*item) for item in sorted(Counter(tokens_before).items())],
        choices=[
            AxisTrace(axis, int(index[row]), list(names[axis]), _row(shares, row))
            for axis, (index, shares) in inputs.choice.by_axis().items()
        ],
        pool_weights=None
        if inputs.choice.pool_weights is None
        else _row(inputs.choice.pool_weights, row),
    )


def _row(values: Float[Tensor, "batch choices"], row: int) -> list[float]:
    return [round(value, DECIMALS) for value in values[row].tolist()]
