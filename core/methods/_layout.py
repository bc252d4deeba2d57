"""Where prompt vectors and tokens stand: one permutation a row, one gather a batch.

A row of n tokens ``[CLS] x_1 … x_(n-2) [SEP]`` whose first a of l prompt vectors are used, b of
them at the place s and the others at the end, becomes

    [CLS]  x_1 … x_s  P_1 … P_b  x_(s+1) … x_(n-2)  P_(b+1) … P_a  [SEP]  padding  P_(a+1) … P_l

so [CLS] stays at column 0, and vectors that are not used stand behind everything, masked like
padding: the row is exactly that of a prompt of a vectors. A *cut* has s = 0: b = a is a pure prefix
and b = 0 a pure postfix. A *slot* has b = a: the whole prompt stands at s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
class Place:
    """Where the prompt of each row stands.

    Attributes:
        before: Vectors at the place, 0 to ``active``; the other used ones stand at the end.
        insert: The place: content tokens in front of it, 0 to n - 2.
        active: Vectors that are used.
    """

    before: Int[Tensor, " batch"]
    insert: Int[Tensor, " batch"]
    active: Int[Tensor, " batch"]

    @classmethod
    def cut(
        cls, cut: Int[Tensor, " batch"], num_vectors: int, active: Int[Tensor, " batch"] | None
    ) -> Place:
        """Put at most ``cut`` vectors before the input and the others after it."""
        used = torch.full_like(cut, num_vectors) if active is None else active
        return cls(torch.minimum(cut, used), torch.zeros_like(cut), used)


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


def layout_of(
    num_tokens: Int[Tensor, " batch"], place: Place, length: int, num_vectors: int
) -> Layout:
    """Compute the permutations by index arithmetic.

    Args:
        num_tokens: Real tokens of each row, [CLS] and [SEP] included, at least 2.
        place: Where the prompt stands.
        length: Columns of the token batch.
        num_vectors: Vectors of the prompt, used or not.
    """
    device = num_tokens.device
    last, insert = (num_tokens - 1)[:, None], place.insert[:, None]
    before, active = place.before[:, None], place.active[:, None]
    token = torch.arange(length, device=device)[None]
    shift = torch.where(token < last, torch.where(token > insert, before, 0), active)
    token_column = token + shift
    vector = torch.arange(num_vectors, device=device)[None]
    at_end = torch.where(vector < active, last, length)
    prompt_column = vector + torch.where(vector < before, insert + 1, at_end)
    columns = torch.cat([token_column, prompt_column], dim=1)
    source = torch.empty_like(columns)
    source.scatter_(1, columns, torch.arange(columns.shape[1], device=device).expand_as(columns))
    return Layout(source, token_column, prompt_column)


def _take_rows(
    table: Float[Tensor, "batch rows hidden"], index: Int[Tensor, "batch columns"]
) -> Float[Tensor, "batch columns hidden"]:
    batch, rows, hidden = table.shape
    start = torch.arange(batch, device=index.device)[:, None] * rows
    taken = table.reshape(batch * rows, hidden).index_select(0, (index + start).reshape(-1))
    return taken.reshape(batch, index.shape[1], hidden)


class _Arrange(torch.autograd.Function):
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
    ) -> Tensor:
        ctx.layout, ctx.others = layout, others
        ctx.save_for_backward(tokens, prompt, num_tokens, active)
        table = torch.cat([tokens, prompt.to(tokens.dtype)], dim=1)
        return _take_rows(table, layout.source)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None, None]:
        tokens, prompt, num_tokens, active = ctx.saved_tensors
        wants_tokens, wants_prompt, wants_share = ctx.needs_input_grad[:3]
        token_gradient = prompt_gradient = share_gradient = None
        if wants_tokens:
            token_gradient = _take_rows(gradient, ctx.layout.token_column)
        if wants_prompt:
            prompt_gradient = _take_rows(gradient, ctx.layout.prompt_column).to(prompt.dtype)
        if wants_share and ctx.others:
            share_gradient = layout_gradient(
                tokens.float(), prompt.float(), ctx.others, gradient.float()
            )
        elif wants_share:
            share_gradient = cut_gradient(
                tokens.float(), prompt.float(), num_tokens, gradient.float(), active
            )
        return token_gradient, prompt_gradient, share_gradient, None, None, None, None


def layout_gradient(
    tokens: Float[Tensor, "batch length hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
    layouts: Sequence[Layout],
    gradient: Float[Tensor, "batch total hidden"],
) -> Float[Tensor, "batch choices"]:
    """Gradient of the loss for each layout's share in the mixture of a few layouts."""
    table = torch.cat([tokens, prompt], dim=1)
    shares = [(_take_rows(table, layout.source) * gradient).sum(dim=(1, 2)) for layout in layouts]
    return torch.stack(shares, dim=1)


def cut_gradient(
    tokens: Float[Tensor, "batch length hidden"],
    prompt: Float[Tensor, "batch prompt hidden"],
    num_tokens: Int[Tensor, " batch"],
    gradient: Float[Tensor, "batch total hidden"],
    active: Int[Tensor, " batch"],
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
    cut = torch.arange(num_vectors + 1, device=tokens.device)[None]
    diagonals = diagonals.gather(1, torch.minimum(cut, active[:, None]))
    after_columns = vector + (num_tokens - 2)[:, None]
    after = (_take_rows(inner, after_columns) * prompt).sum(dim=-1)
    up_to = torch.cat([zero, before.cumsum(dim=1)], dim=1)
    from_on = torch.cat([after.flip(1).cumsum(dim=1).flip(1), zero], dim=1)
    return up_to + diagonals + from_on


def prompt_free(backbone: Backbone, batch: TokenBatch) -> BackboneInputs:
    """Inputs of a pass of the frozen backbone that adds nothing to the text."""
    return plain_inputs(backbone.embed(batch.token_ids), batch, backbone.facts)


def slot_places(batch: TokenBatch, slots: Sequence[str | float]) -> Int[Tensor, "batch slots"]:
    """Find the places of named slots in each row, as content tokens in front of them.

    Args:
        batch: Tokens, with [CLS] first and [SEP] last in each row.
        slots: ``front``, ``border`` (behind the first segment and its separator; the end where
            there is one segment), ``end``, or a share of the content, 0 to 1.
    """
    content = batch.mask.sum(dim=1) - 2
    first_segment = (batch.mask & (batch.token_types == 0)).sum(dim=1) - 1
    known = {
        "front": torch.zeros_like(content),
        "border": torch.minimum(first_segment, content),
        "end": content,
    }
    return torch.stack(
        [
            known[slot] if isinstance(slot, str) else (content * slot).round().long()
            for slot in slots
        ],
        dim=1,
    )


def surround(
    embeddings: Float[Tensor, "batch length hidden"],
    batch: TokenBatch,
    prompt: Float[Tensor, "batch prompt hidden"],
    cut: Int[Tensor, " batch"],
    facts: BackboneFacts,
    *,
    share: Float[Tensor, "batch cuts"] | None = None,
    choice: Choice | None = None,
    active: Int[Tensor, " batch"] | None = None,
) -> BackboneInputs:
    """Put ``cut`` prompt vectors before each input and the others after it.

    Args:
        embeddings: Word embeddings of the batch.
        batch: Tokens, with [CLS] first and [SEP] last in each row.
        prompt: Prompt vectors of each row; those beyond ``active`` are zero.
        cut: Vectors before the input, of each row.
        facts: Sizes of the backbone.
        share: One-hot straight-through sample of the cut that carries the selector's gradient;
            None when the cut is not trained.
        choice: What was chosen, for traces.
        active: Vectors that are used, of each row; None: all.
    """
    place = Place.cut(cut, prompt.shape[1], active)
    inputs = _place(embeddings, batch, prompt, place, facts, share, ())
    return replace(inputs, choice=choice or Choice())


def insert(
    embeddings: Float[Tensor, "batch length hidden"],
    batch: TokenBatch,
    prompt: Float[Tensor, "batch prompt hidden"],
    slots: Int[Tensor, "batch slots"],
    slot: Int[Tensor, " batch"],
    facts: BackboneFacts,
    *,
    share: Float[Tensor, "batch slots"] | None = None,
    choice: Choice | None = None,
    active: Int[Tensor, " batch"] | None = None,
) -> BackboneInputs:
    """Put the whole prompt at one of a few places inside each input.

    Args:
        embeddings: Word embeddings of the batch.
        batch: Tokens, with [CLS] first and [SEP] last in each row.
        prompt: Prompt vectors of each row; those beyond ``active`` are zero.
        slots: Places of each row: content tokens in front of each.
        slot: Index of the place that is taken, of each row.
        facts: Sizes of the backbone.
        share: One-hot straight-through sample of the slot that carries the selector's gradient;
            None when the slot is not trained.
        choice: What was chosen, for traces.
        active: Vectors that are used, of each row; None: all.
    """
    num_vectors, length = prompt.shape[1], batch.token_ids.shape[1]
    used = torch.full_like(slot, num_vectors) if active is None else active
    others: list[Layout] = []
    if share is not None:
        num_tokens = batch.mask.sum(dim=1)
        others = [
            layout_of(num_tokens, Place(used, index, used), length, num_vectors)
            for index in slots.unbind(dim=1)
        ]
    place = Place(used, slots.gather(1, slot[:, None])[:, 0], used)
    inputs = _place(embeddings, batch, prompt, place, facts, share, others)
    return replace(inputs, choice=choice or Choice())


def _place(
    embeddings: Float[Tensor, "batch length hidden"],
    batch: TokenBatch,
    prompt: Float[Tensor, "batch prompt hidden"],
    place: Place,
    facts: BackboneFacts,
    share: Float[Tensor, "batch choices"] | None,
    others: Sequence[Layout],
) -> BackboneInputs:
    """Arrange tokens and prompt; positions count the final columns.

    A prompt vector has the segment of the token in front of its place, and so segment 0 before
    the input and the last segment after it.
    """
    rows, length = batch.token_ids.shape
    num_vectors = prompt.shape[1]
    num_tokens = batch.mask.sum(dim=1)
    layout = layout_of(num_tokens, place, length, num_vectors)
    total = length + num_vectors
    column = torch.arange(total, device=embeddings.device)[None]
    vector = torch.arange(num_vectors, device=embeddings.device)[None]
    is_token = layout.source < length
    in_front = torch.where(
        vector < place.before[:, None], place.insert[:, None], (num_tokens - 1)[:, None]
    )
    types = torch.cat([batch.token_types, batch.token_types.gather(1, in_front)], dim=1)
    arranged: Tensor = _Arrange.apply(  # type: ignore[no-untyped-call]
        embeddings, prompt, share, num_tokens, place.active, layout, others
    )
    used = num_tokens + place.active
    return BackboneInputs(
        embeddings=arranged,
        mask=column < used[:, None],
        content_mask=is_token & (layout.source < num_tokens[:, None]),
        position_ids=positions(rows, total, facts, embeddings.device),
        token_types=types.gather(1, layout.source),
        prefix=(),
        read_out=torch.zeros_like(num_tokens),
        last=used - 1,
    )
