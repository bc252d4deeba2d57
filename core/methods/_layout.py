"""Where prompt vectors and tokens stand: one permutation a row, one gather a batch.

A row of n tokens ``[CLS] x_1 … x_(n-2) [SEP]`` with a prompt of l vectors and the cut c becomes

    [CLS]  P_1 … P_c  x_1 … x_(n-2)  P_(c+1) … P_l  [SEP]  padding

so [CLS] stays at column 0, c = l is a pure prefix and c = 0 a pure postfix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.backbones.embed import plain_inputs, positions
from core.backbones.load import Backbone
from core.methods._config import BackboneFacts
from core.methods._module import BackboneInputs, Choice, TokenBatch


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


def cut_layout(
    num_tokens: Int[Tensor, " batch"], cut: Int[Tensor, " batch"], length: int, num_vectors: int
) -> Layout:
    """Compute the permutations by index arithmetic.

    Args:
        num_tokens: Real tokens of each row, [CLS] and [SEP] included, at least 2.
        cut: Vectors before the input of each row, 0 to ``num_vectors``.
        length: Columns of the token batch.
        num_vectors: Vectors of the prompt.
    """
    device = num_tokens.device
    last = (num_tokens - 1)[:, None]
    before = cut[:, None]
    token = torch.arange(length, device=device)[None]
    shift = torch.where(token < last, before, num_vectors)
    token_column = token + torch.where(token == 0, 0, shift)
    vector = torch.arange(num_vectors, device=device)[None]
    prompt_column = vector + torch.where(vector < before, 1, last)
    column = torch.arange(length + num_vectors, device=device)[None]
    is_before = (column >= 1) & (column <= before)
    is_content = (column > before) & (column < before + last)
    is_after = (column >= before + last) & (column < last + num_vectors)
    source = torch.where(is_before, length + column - 1, column - num_vectors)
    source = torch.where(is_content, column - before, source)
    source = torch.where(is_after, length + column - last, source)
    source = torch.where(column == 0, 0, source)
    return Layout(source, token_column, prompt_column)


def _take_rows(
    table: Float[Tensor, "batch rows hidden"], index: Int[Tensor, "batch columns"]
) -> Float[Tensor, "batch columns hidden"]:
    batch, rows, hidden = table.shape
    start = torch.arange(batch, device=index.device)[:, None] * rows
    taken = table.reshape(batch * rows, hidden).index_select(0, (index + start).reshape(-1))
    return taken.reshape(batch, index.shape[1], hidden)


class _Arrange(torch.autograd.Function):
    """Put tokens and prompt vectors at their columns; the gradient of the cut by correlation.

    ``choice`` is a one-hot row over the cuts whose value is only implied by ``source``: its
    gradient is that of the mixture of all l + 1 layouts, up to a constant a row that cancels in
    the softmax behind it (arXiv 2303.02909, straight-through; no mixture is ever built).
    """

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        prompt: Tensor,
        choice: Tensor | None,
        num_tokens: Tensor,
        layout: Layout,
    ) -> Tensor:
        ctx.layout = layout
        ctx.save_for_backward(tokens, prompt, num_tokens)
        table = torch.cat([tokens, prompt.to(tokens.dtype)], dim=1)
        return _take_rows(table, layout.source)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        tokens, prompt, num_tokens = ctx.saved_tensors
        wants_tokens, wants_prompt, wants_choice = ctx.needs_input_grad[:3]
        token_gradient = prompt_gradient = choice_gradient = None
        if wants_tokens:
            token_gradient = _take_rows(gradient, ctx.layout.token_column)
        if wants_prompt:
            prompt_gradient = _take_rows(gradient, ctx.layout.prompt_column).to(prompt.dtype)
        if wants_choice:
            choice_gradient = cut_gradient(
                tokens.float(), prompt.float(), num_tokens, gradient.float()
            )
        return token_gradient, prompt_gradient, choice_gradient, None, None


def cut_gradient(
    tokens: Float[Tensor, "batch length hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
    num_tokens: Int[Tensor, " batch"],
    gradient: Float[Tensor, "batch total hidden"],
) -> Float[Tensor, "batch cuts"]:
    """Gradient of the loss for each cut's share in the mixture of layouts.

    For cut b: dot products of the first b vectors with the columns before the input, of the
    content with the columns shifted by b, and of the other vectors with the columns after it.

    Args:
        tokens: Word embeddings.
        prompt: Prompt vectors.
        num_tokens: Real tokens of each row.
        gradient: Gradient at the arranged embeddings.
    """
    batch, length, _ = tokens.shape
    num_vectors = prompt.shape[1]
    inner = gradient[:, 1:]
    token = torch.arange(length, device=tokens.device)[None]
    is_content = (token >= 1) & (token < (num_tokens - 1)[:, None])
    content = torch.where(is_content[..., None], tokens, 0.0)[:, 1:]

    # Every product of a column with a content token, summed along the diagonals 0..l.
    products = torch.bmm(inner, content.transpose(1, 2))
    columns, width = products.shape[1:]
    diagonals = products.as_strided(
        (batch, num_vectors + 1, width), (columns * width, width, width + 1)
    ).sum(dim=-1)

    zero = gradient.new_zeros(batch, 1)
    before = (inner[:, :num_vectors] * prompt).sum(dim=-1)
    vector = torch.arange(num_vectors, device=tokens.device)[None]
    after_columns = vector + (num_tokens - 2)[:, None]
    after = (_take_rows(inner, after_columns) * prompt).sum(dim=-1)
    up_to = torch.cat([zero, before.cumsum(dim=1)], dim=1)
    from_on = torch.cat([after.flip(1).cumsum(dim=1).flip(1), zero], dim=1)
    return up_to + diagonals + from_on


def prompt_free(backbone: Backbone, batch: TokenBatch) -> BackboneInputs:
    """Inputs of a pass of the frozen backbone that adds nothing to the text."""
    return plain_inputs(backbone.embed(batch.token_ids), batch, backbone.facts)


def surround(
    embeddings: Float[Tensor, "batch length hidden"],
    batch: TokenBatch,
    prompt: Float[Tensor, "batch prompt hidden"],
    cut: Int[Tensor, " batch"],
    facts: BackboneFacts,
    *,
    share: Float[Tensor, "batch cuts"] | None = None,
    choice: Choice | None = None,
) -> BackboneInputs:
    """Put ``cut`` prompt vectors before each input and the others after it.

    Vectors before the input get segment 0, those after it the last segment's id; positions count
    the final columns.

    Args:
        embeddings: Word embeddings of the batch.
        batch: Tokens, with [CLS] first and [SEP] last in each row.
        prompt: Prompt vectors of each row.
        cut: Vectors before the input, of each row.
        facts: Sizes of the backbone.
        share: One-hot straight-through sample of the cut that carries the selector's gradient;
            None when the cut is not trained.
        choice: What was chosen, for traces.
    """
    rows, length = batch.token_ids.shape
    num_vectors = prompt.shape[1]
    num_tokens = batch.mask.sum(dim=1)
    layout = cut_layout(num_tokens, cut, length, num_vectors)
    total = length + num_vectors
    column = torch.arange(total, device=embeddings.device)[None]
    is_token = layout.source < length
    last_type = batch.token_types.gather(1, (num_tokens - 1)[:, None])
    prompt_type = torch.where(column <= cut[:, None], 0, last_type)
    token_type = batch.token_types.gather(1, layout.source.clamp(max=length - 1))
    arranged: Tensor = _Arrange.apply(  # type: ignore[no-untyped-call]
        embeddings, prompt, share, num_tokens, layout
    )
    return BackboneInputs(
        embeddings=arranged,
        mask=column < (num_tokens + num_vectors)[:, None],
        content_mask=is_token & (layout.source < num_tokens[:, None]),
        position_ids=positions(rows, total, facts, embeddings.device),
        token_types=torch.where(is_token, token_type, prompt_type),
        prefix=(),
        read_out=torch.zeros_like(num_tokens),
        last=num_tokens + num_vectors - 1,
        choice=choice or Choice(),
    )
