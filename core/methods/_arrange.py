"""One gather that puts tokens and prompt vectors at their columns, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAST_BLOCK = 32
"""Tokens that are multiplied at a time on a CPU, a count."""


@dataclass(frozen=True)
class Layout:
    """Both directions of a row's permutation of ``[tokens ; prompt]``.

    Attributes:
        source: Where each column comes from: below ``length`` a token, else a prompt vector.
        token_column: Column of each token.
        prompt_column: Column of each prompt vector.
    """

    source: Int[Tensor, "batch total"]
    token_column: Int[Tensor, "batch length"]
    prompt_column: Int[Tensor, "batch prompt"]


def take_rows(
    table: Float[Tensor, "batch rows hidden"], index: Int[Tensor, "batch columns"]
) -> Float[Tensor, "batch columns hidden"]:
    batch, rows, hidden = table.shape
    start = torch.arange(batch, device=index.device)[:, None] * rows
    taken = table.reshape(batch * rows, hidden).index_select(0, (index + start).reshape(-1))
    return taken.reshape(batch, index.shape[1], hidden)


class Arrange(torch.autograd.Function):
    """Put tokens and prompt vectors at their columns; the gradient of the choice by correlation.

    ``share`` is a one-hot row over the choices whose value is only implied by ``source``: its
    gradient is that of the mixture of all layouts, up to a constant a row that cancels in the
    softmax behind it (arXiv 2303.02909, straight-through; no mixture is ever built). The choices
    are the cuts 0..l, or those of ``others`` when it is given.
    """

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        prompt: Tensor,
        share: Tensor | None,
        num_tokens: Tensor,
        active: Tensor,
        layout: Layout,
        others: Sequence[Layout],
        lead: int,
        is_rotated: bool,
    ) -> Tensor:
        ctx.layout, ctx.others, ctx.lead, ctx.is_rotated = layout, others, lead, is_rotated
        ctx.save_for_backward(tokens, prompt, num_tokens, active)
        table = torch.cat([tokens, prompt.to(tokens.dtype)], dim=1)
        return take_rows(table, layout.source)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, prompt, num_tokens, active = ctx.saved_tensors
        wants_tokens, wants_prompt, wants_share = ctx.needs_input_grad[:3]
        token_gradient = prompt_gradient = share_gradient = None
        if wants_tokens:
            token_gradient = take_rows(gradient, ctx.layout.token_column)
        if wants_prompt:
            prompt_gradient = take_rows(gradient, ctx.layout.prompt_column).to(prompt.dtype)
        if wants_share and ctx.others:
            share_gradient = layout_gradient(
                tokens.float(), prompt.float(), ctx.others, gradient.float()
            )
        elif wants_share:
            share_gradient = cut_gradient(
                tokens.float(), prompt.float(), num_tokens, gradient.float(), active, ctx.lead,
                is_rotated=ctx.is_rotated,
            )  # fmt: skip
        return token_gradient, prompt_gradient, share_gradient, *(None for _ in range(6))


def layout_gradient(
    tokens: Float[Tensor, "batch length hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
    layouts: Sequence[Layout],
    gradient: Float[Tensor, "batch total hidden"],
) -> Float[Tensor, "batch choices"]:
    """Gradient of the loss for each layout's share in the mixture of a few layouts."""
    table = torch.cat([tokens, prompt], dim=1)
    shares = [(take_rows(table, layout.source) * gradient).sum(dim=(1, 2)) for layout in layouts]
    return torch.stack(shares, dim=1)


def cut_gradient(
    tokens: Float[Tensor, "batch length hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
    num_tokens: Int[Tensor, " batch"],
    gradient: Float[Tensor, "batch total hidden"],
    active: Int[Tensor, " batch"],
    lead: int = 1,
    *,
    is_rotated: bool = False,
) -> Float[Tensor, "batch cuts"]:
    """Gradient of the loss for each cut's share in the mixture of layouts.

    For cut b: dot products of the first b vectors with the columns before the input, of the
    content with the columns shifted by b, and of the other vectors with the columns after it.

    Args:
        tokens: Word embeddings.
        prompt: Prompt vectors, zero where they are not used.
        num_tokens: Real tokens of each row.
        gradient: Gradient at the arranged embeddings.
        active: Vectors that are used; larger cuts stand for this one.
        lead: Special tokens in front of the text, 0 or 1.
        is_rotated: True: the last b vectors stand before the input, the first ones after it.
    """
    length, num_vectors = tokens.shape[1], prompt.shape[1]
    inner = gradient[:, lead:]
    token = torch.arange(length, device=tokens.device)[None]
    is_content = (token >= lead) & (token < (num_tokens - 1)[:, None])

    vector = torch.arange(num_vectors, device=tokens.device)[None]
    cut = torch.arange(num_vectors + 1, device=tokens.device)[None]
    diagonals = _shifted_products(inner, tokens[:, lead:], is_content[:, lead:], num_vectors)
    diagonals = diagonals.gather(1, torch.minimum(cut, active[:, None]))
    before = inner[:, :num_vectors]
    after = take_rows(gradient, vector + (num_tokens - 1)[:, None])
    return diagonals + (_rotated if is_rotated else _straight)(before, after, prompt)


def _shifted_products(
    columns: Float[Tensor, "batch columns hidden"],
    tokens: Float[Tensor, "batch width hidden"],
    is_content: Bool[Tensor, "batch width"],
    most: int,
) -> Float[Tensor, "batch shifts"]:
    """Sum the products of content tokens with the columns that stand 0..most behind their own.

    On a CPU some tokens at a time are multiplied with the columns that they can reach, as those
    beyond would be wasted; an accelerator is quicker with all at once.
    """
    width = tokens.shape[1]
    size = max(LEAST_BLOCK, most) if tokens.device.type == "cpu" else width
    sums = []
    for start in range(0, width, size):
        block, counts = tokens[:, start : start + size], is_content[:, start : start + size]
        reach = columns[:, start : start + block.shape[1] + most]
        products = torch.bmm(reach, block.transpose(1, 2))
        batch, rows, across = products.shape
        diagonals = (batch, most + 1, across), (rows * across, across, across + 1)
        shifted = products.as_strided(*diagonals)
        sums.append(torch.where(counts[:, None], shifted, 0.0).sum(dim=-1))
    return torch.stack(sums).sum(dim=0)


def _straight(
    before: Float[Tensor, "batch prompt hidden"],
    after: Float[Tensor, "batch prompt hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
) -> Float[Tensor, "batch cuts"]:
    """Products of the vectors with the columns where they stand: running sums over the cuts."""
    zero = prompt.new_zeros(len(prompt), 1)
    in_front = torch.cat([zero, (before * prompt).sum(dim=-1).cumsum(dim=1)], dim=1)
    behind = (after * prompt).sum(dim=-1).flip(1).cumsum(dim=1).flip(1)
    return in_front + torch.cat([behind, zero], dim=1)


def _rotated(
    before: Float[Tensor, "batch prompt hidden"],
    after: Float[Tensor, "batch prompt hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
) -> Float[Tensor, "batch cuts"]:
    """The same where the first l - b vectors are those behind the text: sums along diagonals.

    At cut b the vector i stands in front at the column i - (l - b), or behind at the column i + b.
    """
    in_front = _diagonal_sums(torch.bmm(before, prompt.transpose(1, 2)))
    behind = _diagonal_sums(torch.bmm(prompt, after.transpose(1, 2)))
    return in_front.flip(1) + behind


def _diagonal_sums(table: Float[Tensor, "batch size size"]) -> Float[Tensor, "batch diagonals"]:
    """Sum each upper diagonal, from the main one to the empty one beyond the corner."""
    batch, size, _ = table.shape
    wide = torch.nn.functional.pad(table, (0, size)).contiguous()
    strides = (2 * size * size, 1, 2 * size + 1)
    return wide.as_strided((batch, size + 1, size), strides).sum(dim=-1)
