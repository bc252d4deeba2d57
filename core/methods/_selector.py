"""Discrete choices and initial prompt vectors.

Everything here is float32. Random numbers come from CPU generators that the caller hands in, so
that a draw is the same on every device.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.methods._module import SelectorNoise

UNIFORM_BOUND = 0.5


def best(scores: Float[Tensor, "batch choices"]) -> Int[Tensor, " batch"]:
    """Index of each row's largest score; of equal ones the last, which is the longest prefix."""
    index = torch.arange(scores.shape[1], device=scores.device)
    return torch.where(scores == scores.amax(dim=1, keepdim=True), index, -1).amax(dim=1)


def gumbel_choice(
    scores: Float[Tensor, "batch choices"], noise: SelectorNoise
) -> tuple[Int[Tensor, " batch"], Float[Tensor, "batch choices"]]:
    """Draw one choice a row by straight-through Gumbel-Softmax (arXiv 1611.01144).

    The drawn index follows softmax(scores) whatever the temperature is; the temperature only
    shapes the gradient.

    Args:
        scores: Unnormalised log-probabilities.
        noise: Generator and temperature of this step.

    Returns:
        Drawn indices, and their one-hot rows, which carry the gradient of the soft sample.
    """
    exponential = torch.empty(scores.shape).exponential_(generator=noise.generator)
    gumbel = -exponential.clamp(min=torch.finfo(torch.float32).tiny).log()
    noisy = scores + gumbel.to(scores.device)
    index = best(noisy.detach())
    soft = torch.softmax(noisy / noise.temperature, dim=1)
    hard = torch.nn.functional.one_hot(index, scores.shape[1]).to(soft.dtype)
    return index, hard + (soft - soft.detach())


def initial_vectors(
    count: int, init: Literal["vocabulary", "uniform"], backbone: Backbone, draw: torch.Generator
) -> Float[Tensor, "count hidden"]:
    """Draw initial prompt vectors, in float32 on the CPU.

    Args:
        count: Vectors.
        init: ``vocabulary``: word embeddings of random entries; ``uniform``: in -0.5..0.5.
        backbone: Whose vocabulary it is.
        draw: CPU generator.
    """
    facts = backbone.facts
    if init == "uniform":
        return torch.rand(count, facts.hidden, generator=draw) * 2 * UNIFORM_BOUND - UNIFORM_BOUND
    entries = torch.randint(facts.vocab, (1, count), generator=draw)
    with torch.no_grad():
        return backbone.embed(entries.to(backbone.device))[0].float().cpu().clone()


def empty_linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Make a linear layer with undefined values, without touching the global random state."""
    return nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")


def drawn_linear(inputs: int, outputs: int, draw: torch.Generator) -> nn.Linear:
    """Make a linear layer with the library's usual uniform range, out of the given generator."""
    layer = empty_linear(inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=draw)
    return layer
