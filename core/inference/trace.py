"""What a method did with one input, in plain numbers that a page can draw."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from core.methods._module import BackboneInputs

DECIMALS = 6


@dataclass(frozen=True)
class Trace:
    """Where the prompt of one row stands and how it came about.

    Attributes:
        prompt_before: Prompt vectors between [CLS] and the text, a count.
        prompt_after: Prompt vectors between the text and the final [SEP], a count.
        cut_probabilities: Probability of each cut 0..l, None when nothing chooses it.
        pool_weights: Share of each prompt of the pool, None without a pool.
    """

    prompt_before: int
    prompt_after: int
    cut_probabilities: list[float] | None
    pool_weights: list[float] | None


def trace(inputs: BackboneInputs, row: int) -> Trace:
    """Read one row's trace from what the method gave the backbone.

    Args:
        inputs: Inputs of one run.
        row: Which row.
    """
    attended, content = inputs.mask[row], inputs.content_mask[row]
    is_prompt = attended & ~content
    # [CLS] is the first real token: prompt vectors before the second one stand before the text.
    is_early = content.cumsum(dim=0) < 2
    before = int((is_prompt & is_early).sum())
    return Trace(
        prompt_before=before,
        prompt_after=int(is_prompt.sum()) - before,
        cut_probabilities=_row(inputs.choice.cut_probabilities, row),
        pool_weights=_row(inputs.choice.pool_weights, row),
    )


def _row(values: Float[Tensor, "batch choices"] | None, row: int) -> list[float] | None:
    if values is None:
        return None
    return [round(value, DECIMALS) for value in values[row].tolist()]
