"""Trained keys and values in front of every layer's own, for any model of transformers.

Attention functions are registered with the library. They put the prefix that a pass attached to
an attention module in front of that module's keys and values, and then call the library's SDPA
function, or the eager one of a family that has no SDPA. The prefix joins after position embeddings,
so it has no position of its own; without a prefix the function is the library's. Which modules
take a prefix, and of which shape, is found by a probing pass, so there is no table of model
families; ``prefix_taps`` serves families whose attention is reached in no such way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "prefix_sdpa"
EAGER_ATTENTION = "prefix_eager"

Prefix = Sequence[Sequence[Float[Tensor, "batch heads prefix head_dim"]]]


@dataclass(frozen=True)
class AttentionSite:
    """One call of self-attention in a pass, in the order of calls.

    Attributes:
        module: Module that calls the attention function.
        heads: Key/value heads.
        head_dim: Width of a head.
    """

    module: nn.Module
    heads: int
    head_dim: int


_attached: ContextVar[dict[nn.Module, Iterator[Sequence[Tensor]]] | None] = ContextVar(
    "attached prefix", default=None
)
_record: ContextVar[list[AttentionSite] | None] = ContextVar("attention sites", default=None)


def prefix_attention(
    module: nn.Module,
    query: Float[Tensor, "batch query_heads queries head_dim"],
    key: Float[Tensor, "batch heads keys head_dim"],
    value: Float[Tensor, "batch heads keys head_dim"],
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attend to the attached prefix and the module's own keys and values.

    Args:
        module: Attention module that calls.
        query: Queries.
        key: Keys of the sequence.
        value: Values of the sequence.
        attention_mask: Additive (float) or boolean mask over the sequence's keys, with shape
            (batch or 1, 1, queries or 1, keys).
        options: Passed on to the library's function.

    Raises:
        ValueError: If a prefix is attached and there is no mask.
    """
    record_site(module, key.shape[1], key.shape[3])
    pair = take_prefix(module)
    if pair is not None:
        if attention_mask is None:
            # A missing mask may stand for a causal one, which SDPA aligns wrongly with a prefix.
            raise ValueError("a prefix needs an explicit attention mask")
        prefix_key, prefix_value = pair
        key = torch.cat([prefix_key.to(key.dtype), key], dim=2)
        value = torch.cat([prefix_value.to(value.dtype), value], dim=2)
        open_value = 1.0 if attention_mask.dtype == torch.bool else 0.0
        attention_mask = pad(attention_mask, (prefix_key.shape[2], 0), value=open_value)
        if options.get("position_bias") is not None:
            # A prefix has no distance to anything: no bias.
            options["position_bias"] = pad(options["position_bias"], (prefix_key.shape[2], 0))
    inner = ALL_ATTENTION_FUNCTIONS["sdpa"]
    config: Any = module.config
    if config._attn_implementation == EAGER_ATTENTION:
        inner = sys.modules[type(module).__module__].eager_attention_forward
    output: tuple[Tensor, Tensor | None] = inner(
        module, query, key, value, attention_mask, **options
    )
    return output


def take_prefix(module: nn.Module) -> Sequence[Tensor] | None:
    """Return keys and values for this call of an attention module; None without a prefix."""
    attached = _attached.get()
    return None if attached is None or module not in attached else next(attached[module])


def record_site(module: nn.Module, heads: int, head_dim: int) -> None:
    """Note a call of self-attention while ``find_sites`` looks for them."""
    record = _record.get()
    if record is not None:
        record.append(AttentionSite(module, heads, head_dim))


@contextmanager
def attach(sites: Sequence[AttentionSite], prefix: Prefix) -> Iterator[None]:
    """Give each call of self-attention its keys and values for the passes inside the context.

    Args:
        sites: Calls found by ``find_sites``, in order; a module that layers share occurs often.
        prefix: Keys and values for each site.
    """
    by_module: dict[nn.Module, list[Sequence[Tensor]]] = {}
    for site, tensors in zip(sites, prefix, strict=True):
        by_module.setdefault(site.module, []).append(tensors)
    token = _attached.set({module: iter(calls) for module, calls in by_module.items()})
    try:
        yield
    finally:
        _attached.reset(token)


def find_sites(module: nn.Module, hidden: int) -> tuple[AttentionSite, ...]:
    """Run one small pass and return the calls of self-attention that it made, in order.

    Args:
        module: Model that was set to the attention function of this file.
        hidden: Width of its embeddings.
    """
    weight = next(module.parameters())
    probe = torch.zeros(1, 2, hidden, dtype=weight.dtype, device=weight.device)
    record: list[AttentionSite] = []
    token = _record.set(record)
    try:
        with torch.no_grad():
            module(inputs_embeds=probe)
    finally:
        _record.reset(token)
    return tuple(record)


def register() -> None:
    """Make the attention function known to transformers; doing it twice changes nothing."""
    for name, like in ((ATTENTION, "sdpa"), (EAGER_ATTENTION, "eager")):
        ALL_ATTENTION_FUNCTIONS.register(name, prefix_attention)
        ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS[like])
