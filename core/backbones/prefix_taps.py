"""A prefix for attention modules that compute everything themselves (DeBERTa v2 and v3).

Their maps of keys and values are tapped: while a prefix is attached, what they make for the
sequence gets the prefix in front, and mask and position scores are widened by columns that are
open and score nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention

from core.backbones.prefix import record_site, take_prefix

BIAS = "disentangled_attention_bias"


class _Tap:
    """One tapped attention module; does nothing while no prefix is attached to it.

    All that it hangs on the modules are its own methods: a deep copy of a model copies them with
    the tap, so that a copy scores positions with its own weights. A closure would be shared.

    Args:
        attention: The module.
    """

    def __init__(self, attention: DisentangledSelfAttention) -> None:
        self._attention = attention
        self._pair: tuple[Tensor, Tensor] | None = None
        attention.register_forward_pre_hook(self._begin, with_kwargs=True)
        attention.register_forward_hook(self._end, always_call=True)
        attention.key_proj.register_forward_hook(self._join_keys)
        attention.value_proj.register_forward_hook(self._join_values)
        setattr(attention, BIAS, self._bias)

    def _begin(
        self, attention: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Take this call's prefix and widen the mask."""
        heads = attention.num_attention_heads
        record_site(attention, heads, attention.attention_head_size)
        found = take_prefix(attention)
        if found is None:
            return None
        # (batch, heads, prefix, head_dim) as the maps make it: (batch, prefix, heads x head_dim).
        key, value = (side.transpose(1, 2).flatten(start_dim=2) for side in found)
        self._pair = key, value
        states, mask, *others = args
        return (states, pad(mask, (key.shape[1], 0), value=1), *others), options

    def _end(self, *_: object) -> None:
        self._pair = None

    def _join_keys(self, _module: nn.Module, _args: object, made: Tensor) -> Tensor | None:
        return None if self._pair is None else _behind(self._pair[0], made)

    def _join_values(self, _module: nn.Module, _args: object, made: Tensor) -> Tensor | None:
        return None if self._pair is None else _behind(self._pair[1], made)

    def _bias(self, query: Tensor, key: Tensor, *args: Any, **options: Any) -> Tensor:
        """Score positions of the sequence alone; its maps may serve positions as well."""
        inner = partial(getattr(type(self._attention), BIAS), self._attention)
        if self._pair is None:
            plain: Tensor = inner(query, key, *args, **options)
            return plain
        pair, self._pair = self._pair, None
        length = pair[0].shape[1]
        scores = inner(query, key[:, length:], *args, **options)
        self._pair = pair
        return pad(scores, (length, 0))


def _behind(
    prefix: Float[Tensor, "batch prefix width"], made: Float[Tensor, "batch length width"]
) -> Float[Tensor, "batch total width"]:
    return torch.cat([prefix.to(made.dtype), made], dim=1)


def tap(module: nn.Module) -> bool:
    """Tap every attention of DeBERTa v2 and v3 in a model; tell whether there is one."""
    found = [item for item in module.modules() if isinstance(item, DisentangledSelfAttention)]
    for attention in found:
        _Tap(attention)
    return bool(found)
