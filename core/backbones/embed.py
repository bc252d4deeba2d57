"""Word embeddings, and inputs for a pass without any prompt."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from core.methods._config import BackboneFacts
from core.methods._module import BackboneInputs, TokenBatch


def word_embeddings(
    module: nn.Module, token_ids: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length hidden"]:
    """Look up word embeddings; the backbone adds positions, types and norm itself.

    Args:
        module: Model of transformers.
        token_ids: Token ids.
    """
    table = module.get_input_embeddings()  # type: ignore[operator]
    embedded: Tensor = table(token_ids)
    return embedded


def positions(
    batch: int, total: int, facts: BackboneFacts, device: torch.device
) -> Int[Tensor, "batch total"]:
    """Number the columns of a final layout in the backbone's way.

    Columns behind the last position are padding by the check of lengths, so they may share the
    last one.

    Args:
        batch: Rows.
        total: Columns.
        facts: Sizes of the backbone.
        device: Where the result shall live.
    """
    last = facts.first_position + facts.max_positions - 1
    column = torch.arange(total, device=device) + facts.first_position
    return column.clamp(max=last).expand(batch, total)


def plain_inputs(
    embeddings: Float[Tensor, "batch length hidden"], batch: TokenBatch, facts: BackboneFacts
) -> BackboneInputs:
    """Inputs of a pass that adds nothing to the text.

    Args:
        embeddings: Word embeddings of the batch.
        batch: Tokens.
        facts: Sizes of the backbone.
    """
    rows, length = batch.token_ids.shape
    return BackboneInputs(
        embeddings=embeddings,
        mask=batch.mask,
        content_mask=batch.mask,
        position_ids=positions(rows, length, facts, embeddings.device),
        token_types=batch.token_types,
        prefix=(),
        read_out=torch.zeros(rows, dtype=torch.long, device=embeddings.device),
        last=batch.mask.sum(dim=1) - 1,
    )


def masked_mean(
    vectors: Float[Tensor, "batch length hidden"], mask: Bool[Tensor, "batch length"]
) -> Float[Tensor, "batch hidden"]:
    """Average the vectors at True positions, in float32; every row must have one.

    Args:
        vectors: One vector a column.
        mask: Columns that count.
    """
    weights = mask.unsqueeze(-1)
    total = torch.where(weights, vectors.float(), 0.0).sum(dim=1)
    return total / weights.sum(dim=1)
