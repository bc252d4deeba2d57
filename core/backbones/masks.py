"""Attention masks of one pass, always given in full, so that a row never depends on its partners.

A library that is told which tokens are padding leaves the mask out where nothing is padded, and
another kernel then gives other last digits. Where an attention takes no ready mask (DeBERTa,
MPNet), which tokens are real is given as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.methods._config import BackboneKind

Mask = Tensor | dict[str, Tensor]
"""A mask for all layers, or one for each type of layer."""


class MaskMaker:
    """Makes the masks of a model.

    Args:
        config: Configuration of the model.
        kind: Decoders look backwards only.
        is_ready: True when the model takes additive masks of shape (batch, 1, total, total).
    """

    def __init__(self, config: Any, kind: BackboneKind, *, is_ready: bool) -> None:
        types = set(getattr(config, "layer_types", None) or ())
        self._window: int | None = getattr(config, "sliding_window", None)
        self._types = sorted(types) if "sliding_attention" in types else []
        self._is_causal = kind == "decoder"
        self._is_ready = is_ready

    def __call__(self, mask: Bool[Tensor, "batch total"], dtype: torch.dtype) -> Mask:
        """Make the masks of rows whose real columns are True."""
        if not self._is_ready:
            return mask.long()
        total = mask.shape[1]
        column = torch.arange(total, device=mask.device)
        distance = column[:, None] - column
        seen = mask[:, None, None, :].expand(-1, 1, total, total)
        if self._is_causal:
            seen = seen & (distance >= 0)
        if self._window is None:
            return additive(seen, dtype)
        # Decoders count the token itself, encoders the tokens on each side.
        near = distance < self._window if self._is_causal else distance.abs() <= self._window
        # Padding far from every token sees itself: a row that sees nothing would be no number.
        windowed = (seen & near) | (distance == 0)
        if not self._types:
            return additive(windowed, dtype)
        return {
            kind: additive(windowed if kind == "sliding_attention" else seen, dtype)
            for kind in self._types
        }


def additive(
    seen: Bool[Tensor, "batch 1 queries total"], dtype: torch.dtype
) -> Float[Tensor, "batch 1 queries total"]:
    """Zero where attention may look, minus infinity elsewhere."""
    closed = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return closed.masked_fill(~seen, float("-inf"))
