"""Discrete choices.

Everything here is float32. Random numbers come from CPU generators that the caller hands in, so
that a draw is the same on every device.
"""

from __future__ import annotations

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.methods._module import SelectorNoise, TokenBatch


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
    noisy = scores + _gumbel(tuple(scores.shape), noise.generator).to(scores.device)
    index = best(noisy.detach())
    soft = torch.softmax(noisy / noise.temperature, dim=1)
    hard = torch.nn.functional.one_hot(index, scores.shape[1]).to(soft.dtype)
    return index, hard + (soft - soft.detach())


def row_gumbel(batch: TokenBatch, seed: int, choices: int) -> Float[Tensor, "batch choices"]:
    """Draw Gumbel noise for choices that are drawn where nothing is trained.

    Each row has a stream of its own, named by the run and the row's tokens: what it draws is the
    same in every evaluation, whatever is scored beside it and however far it is padded.

    Args:
        batch: Rows.
        seed: What names the run, 0 to 2**62.
        choices: Numbers for each row, a count.
    """
    rows = []
    for ids, count in zip(batch.token_ids.cpu(), batch.mask.sum(dim=1).tolist(), strict=True):
        text = f"{seed}|{ids[:count].tolist()}".encode()
        stream = torch.Generator()
        stream.manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1)
        rows.append(_gumbel((choices,), stream))
    return torch.stack(rows).to(batch.token_ids.device)


def _gumbel(shape: tuple[int, ...], stream: torch.Generator) -> Tensor:
    exponential = torch.empty(shape).exponential_(generator=stream)
    return -exponential.clamp(min=torch.finfo(torch.float32).tiny).log()
