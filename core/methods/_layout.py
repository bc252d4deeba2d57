"""Where prompt vectors and tokens stand: one permutation a row, one gather a batch.

A row of n tokens ``[CLS] x_1 … x_m [SEP]`` whose first a of l prompt vectors are used, b of
them at the place s and the others at the end, becomes

    [CLS]  x_1 … x_s  P_1 … P_b  x_(s+1) … x_m  P_(b+1) … P_a  [SEP]  padding  P_(a+1) … P_l

so [CLS] stays at column 0, the last token stays behind all that is used, and vectors that are not
used stand behind everything, masked like padding: the row is exactly that of a prompt of a vectors.
Backbones without a token in front of the text (T5, GPT-2) have no [CLS], and m = n - 1; behind the
text there always is one token, where decoders are read out. A *cut* has s = 0: b = a is a pure
prefix and b = 0 a pure postfix. A *slot* has b = a: the whole prompt stands at s.

*Rotated*, as the authors' code has cuts, the first a - b vectors stand behind the text and the
last b in front of it, each part in its own order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.backbones.embed import plain_inputs, positions
from core.backbones.load import Backbone
from core.methods._arrange import Arrange, Layout
from core.methods._config import BackboneFacts
from core.methods._module import BackboneInputs, Choice, DeepSlots, TokenBatch


@dataclass(frozen=True)
class DeepPrompt:
    """What the prompt vectors of each row get in front of each layer.

    Attributes:
        vectors: Those beyond the active ones are zero.
        overwrites: True: they replace the hidden states; False: they are added to them.
    """

    vectors: Float[Tensor, "batch prompt layers inside"]
    overwrites: bool


@dataclass(frozen=True)
class Place:
    """Where the prompt of each row stands.

    Attributes:
        before: Vectors at the place, 0 to ``active``; the other used ones stand at the end.
        insert: The place: content tokens in front of it, 0 to m.
        active: Vectors that are used.
        is_rotated: True: the last ones stand at the place and the first ones at the end; all
            vectors must then be used.
    """

    before: Int[Tensor, " batch"]
    insert: Int[Tensor, " batch"]
    active: Int[Tensor, " batch"]
    is_rotated: bool = False

    @classmethod
    def cut(
        cls,
        cut: Int[Tensor, " batch"],
        num_vectors: int,
        active: Int[Tensor, " batch"] | None,
        is_rotated: bool = False,
    ) -> Place:
        """Put at most ``cut`` vectors before the input and the others after it."""
        used = torch.full_like(cut, num_vectors) if active is None else active
        return cls(torch.minimum(cut, used), torch.zeros_like(cut), used, is_rotated)

    def ranks(self, num_vectors: int) -> Int[Tensor, "batch vectors"]:
        """Number the vectors of each row in the order in which they stand there."""
        vector = torch.arange(num_vectors, device=self.before.device).expand(len(self.before), -1)
        if not self.is_rotated:
            return vector
        return (vector - (self.active - self.before)[:, None]) % num_vectors


def layout_of(
    num_tokens: Int[Tensor, " batch"], place: Place, length: int, num_vectors: int, lead: int = 1
) -> Layout:
    """Compute the permutations by index arithmetic.

    Args:
        num_tokens: Real tokens of each row, special ones included, at least ``lead`` + 1.
        place: Where the prompt stands.
        length: Columns of the token batch.
        num_vectors: Vectors of the prompt, used or not.
        lead: Special tokens in front of the text, 0 or 1.
    """
    device = num_tokens.device
    last, start = (num_tokens - 1)[:, None], place.insert[:, None] + lead
    before, active = place.before[:, None], place.active[:, None]
    token = torch.arange(length, device=device)[None]
    shift = torch.where(token < last, torch.where(token >= start, before, 0), active)
    token_column = token + shift
    rank = place.ranks(num_vectors)
    at_end = torch.where(rank < active, last, length)
    prompt_column = rank + torch.where(rank < before, start, at_end)
    columns = torch.cat([token_column, prompt_column], dim=1)
    source = torch.empty_like(columns)
    source.scatter_(1, columns, torch.arange(columns.shape[1], device=device).expand_as(columns))
    return Layout(source, token_column, prompt_column)


def prompt_free(backbone: Backbone, batch: TokenBatch) -> BackboneInputs:
    """Inputs of a pass of the frozen backbone that adds nothing to the text."""
    return plain_inputs(backbone.embed(batch.token_ids), batch, backbone.facts)


def slot_places(
    batch: TokenBatch, slots: Sequence[str | float], lead: int = 1
) -> Int[Tensor, "batch slots"]:
    """Find the places of named slots in each row, as content tokens in front of them.

    Args:
        batch: Tokens, with one special token behind the text in each row.
        slots: ``front``, ``border`` (behind the first segment and its separator; the end where
            there is one segment), ``end``, or a share of the content, 0 to 1.
        lead: Special tokens in front of the text, 0 or 1.
    """
    content = batch.mask.sum(dim=1) - 1 - lead
    first_segment = (batch.mask & (batch.token_types == 0)).sum(dim=1) - lead
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
    deep: DeepPrompt | None = None,
    is_rotated: bool = False,
) -> BackboneInputs:
    """Put ``cut`` prompt vectors before each input and the others after it.

    Args:
        embeddings: Word embeddings of the batch.
        batch: Tokens, with one special token behind the text in each row.
        prompt: Prompt vectors of each row; those beyond ``active`` are zero.
        cut: Vectors before the input, of each row.
        facts: Sizes of the backbone.
        share: One-hot straight-through sample of the cut that carries the selector's gradient;
            None when the cut is not trained.
        choice: What was chosen, for traces.
        active: Vectors that are used, of each row; None: all.
        deep: What the vectors get inside the backbone; None: nothing.
        is_rotated: True: the last ``cut`` vectors stand before the input and the first ones after
            it; then ``active`` is None.
    """
    place = Place.cut(cut, prompt.shape[1], active, is_rotated)
    inputs = _place(embeddings, batch, prompt, place, facts, share, (), deep)
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
    deep: DeepPrompt | None = None,
) -> BackboneInputs:
    """Put the whole prompt at one of a few places inside each input.

    Args:
        embeddings: Word embeddings of the batch.
        batch: Tokens, with one special token behind the text in each row.
        prompt: Prompt vectors of each row; those beyond ``active`` are zero.
        slots: Places of each row: content tokens in front of each.
        slot: Index of the place that is taken, of each row.
        facts: Sizes of the backbone.
        share: One-hot straight-through sample of the slot that carries the selector's gradient;
            None when the slot is not trained.
        choice: What was chosen, for traces.
        active: Vectors that are used, of each row; None: all.
        deep: What the vectors get inside the backbone; None: nothing.
    """
    num_vectors, length = prompt.shape[1], batch.token_ids.shape[1]
    used = torch.full_like(slot, num_vectors) if active is None else active
    others: list[Layout] = []
    if share is not None:
        count = slots.shape[1]
        places = Place(used.repeat(count), slots.T.reshape(-1), used.repeat(count))
        num_tokens = batch.mask.sum(dim=1).repeat(count)
        every = layout_of(num_tokens, places, length, num_vectors, facts.lead)
        parts = (every.source, every.token_column, every.prompt_column)
        others = [Layout(*one) for one in zip(*(part.chunk(count) for part in parts), strict=True)]
    place = Place(used, slots.gather(1, slot[:, None])[:, 0], used)
    inputs = _place(embeddings, batch, prompt, place, facts, share, others, deep)
    return replace(inputs, choice=choice or Choice())


def _place(
    embeddings: Float[Tensor, "batch length hidden"],
    batch: TokenBatch,
    prompt: Float[Tensor, "batch prompt hidden"],
    place: Place,
    facts: BackboneFacts,
    share: Float[Tensor, "batch choices"] | None,
    others: Sequence[Layout],
    deep: DeepPrompt | None,
) -> BackboneInputs:
    """Arrange tokens and prompt; positions count the final columns.

    A prompt vector has the segment of the token in front of its place, and so segment 0 before
    the input and the last segment after it; in front of everything that of the first token.
    """
    rows, length = batch.token_ids.shape
    num_vectors = prompt.shape[1]
    num_tokens = batch.mask.sum(dim=1)
    layout = layout_of(num_tokens, place, length, num_vectors, facts.lead)
    total = length + num_vectors
    column = torch.arange(total, device=embeddings.device)[None]
    is_token = layout.source < length
    in_front = torch.where(
        place.ranks(num_vectors) < place.before[:, None],
        (place.insert[:, None] + facts.lead - 1).clamp(min=0),
        (num_tokens - 1)[:, None],
    )
    types = torch.cat([batch.token_types, batch.token_types.gather(1, in_front)], dim=1)

    def arrange(tokens: Tensor, vectors: Tensor) -> Tensor:
        arranged: Tensor = Arrange.apply(  # type: ignore[no-untyped-call]
            tokens, vectors, share, num_tokens, place.active, layout, others, facts.lead,
            place.is_rotated,
        )  # fmt: skip
        return arranged

    used = num_tokens + place.active
    return BackboneInputs(
        embeddings=arrange(embeddings, prompt),
        mask=column < used[:, None],
        content_mask=is_token & (layout.source < num_tokens[:, None]),
        position_ids=positions(rows, total, facts, embeddings.device),
        token_types=types.gather(1, layout.source),
        prefix=(),
        read_out=layout.token_column[:, 0],
        last=used - 1,
        deep=None if deep is None else _arrange_deep(deep, length, place.active, arrange),
    )


def _arrange_deep(
    deep: DeepPrompt,
    length: int,
    active: Int[Tensor, " batch"],
    arrange: Callable[[Tensor, Tensor], Tensor],
) -> DeepSlots:
    """Put what the vectors get in all layers where the vectors stand, with one gather."""
    vectors = deep.vectors
    rows, count, layers, inside = vectors.shape
    nothing = vectors.new_zeros(1, 1, 1)
    flat = arrange(nothing.expand(rows, length, layers * inside), vectors.flatten(start_dim=2))
    added = flat.reshape(rows, -1, layers, inside).unbind(dim=2)
    if not deep.overwrites:
        return DeepSlots(added)
    # What is not used replaces nothing, which the gradient of a cut relies on.
    used = torch.arange(count, device=active.device) < active[:, None]
    ones = used.to(vectors.dtype)[:, :, None]
    return DeepSlots(added, 1 - arrange(nothing.expand(rows, length, 1), ones))
