"""A prefix for attention modules that compute everything themselves (DeBERTa v2 and v3).

Their maps of keys and values are tapped: while a prefix is attached, what they make for the
sequence gets the prefix in front, and mask and position scores are widened by columns that are
open and score nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from core.backbones.prefix import record_site, take_prefix

CLASS = "DisentangledSelfAttention"
BIAS = "disentangled_attention_bias"


class _Tap:
    """One tapped attention module; does nothing while no prefix is attached to it.

    Args:
        attention: The module.
    """

    def __init__(self, attention: nn.Module) -> None:
        self._pair: tuple[Tensor, Tensor] | None = None
        attention.register_forward_pre_hook(self._begin, with_kwargs=True)
        attention.register_forward_hook(self._end, always_call=True)
        attention.get_submodule("key_proj").register_forward_hook(self._joined(0))
        attention.get_submodule("value_proj").register_forward_hook(self._joined(1))
        setattr(attention, BIAS, self._beside(getattr(attention, BIAS)))

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

    def _joined(self, side: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def join(_module: nn.Module, _args: tuple[Any, ...], made: Tensor) -> Tensor | None:
            if self._pair is None:
                return None
            return torch.cat([self._pair[side].to(made.dtype), made], dim=1)

        return join

    def _beside(self, inner: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def bias(query: Tensor, key: Tensor, *args: Any, **options: Any) -> Tensor:
            """Score positions of the sequence alone; its maps may serve positions as well."""
            if self._pair is None:
                return inner(query, key, *args, **options)
            pair, self._pair = self._pair, None
            length = pair[0].shape[1]
            scores = inner(query, key[:, length:], *args, **options)
            self._pair = pair
            return pad(scores, (length, 0))

        return bias


def tap(module: nn.Module) -> bool:
    """Tap every attention of DeBERTa in a model; tell whether there is one."""
    found = [item for item in module.modules() if type(item).__name__ == CLASS]
    for attention in found:
        _Tap(attention)
    return bool(found)
