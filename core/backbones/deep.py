"""Vectors for the hidden states of virtual tokens inside a model, in front of each layer.

Which modules are the layers is found by a probing pass: the first list of modules whose members
are called as often as there are layers. They get a hook that does nothing unless a pass attached
vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.methods._module import DeepSlots


@dataclass
class _Pass:
    """Vectors of one pass, and how many layers it has come through."""

    slots: DeepSlots
    layer: int = 0


_attached: ContextVar[_Pass | None] = ContextVar("attached deep slots", default=None)


def hook_layers(module: nn.Module, width: int, layers: int) -> bool:
    """Prepare a model's layers; False when none were found that take hidden states row by row.

    Args:
        module: Model of transformers.
        width: Width of its embeddings.
        layers: Calls of layers in one pass, a count.
    """
    lists = [item for item in module.modules() if isinstance(item, nn.ModuleList)]
    found = next((item for item in lists if _calls(module, item, width) == layers), None)
    if found is None:
        return False
    for layer in found:
        layer.register_forward_pre_hook(_change, with_kwargs=True)
    return True


@contextmanager
def attach(slots: DeepSlots | None) -> Iterator[None]:
    """Give the layers their vectors for the pass inside the context."""
    token = _attached.set(None if slots is None else _Pass(slots))
    try:
        yield
    finally:
        _attached.reset(token)


def _calls(module: nn.Module, layers: nn.ModuleList, width: int) -> int:
    calls = 0

    def count(_layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        nonlocal calls
        state = args[0] if args else options.get("hidden_states")
        # Rows must come first: some models turn them to the second axis.
        calls += isinstance(state, Tensor) and state.shape[:2] == (1, 2)

    hooks = [layer.register_forward_pre_hook(count, with_kwargs=True) for layer in layers]
    weight = next(module.parameters())
    try:
        with torch.no_grad():
            module(inputs_embeds=torch.zeros(1, 2, width, dtype=weight.dtype, device=weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _change(
    _layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    state = _attached.get()
    if state is None:
        return None
    place = state.layer
    state.layer += 1
    if args:
        return (_joined(args[0], state.slots, place), *args[1:]), options
    return args, {**options, "hidden_states": _joined(options["hidden_states"], state.slots, place)}


def _joined(hidden: Tensor, slots: DeepSlots, place: int) -> Tensor:
    given = hidden.shape[1]
    kept = hidden if slots.kept is None else hidden * slots.kept[:, :given].to(hidden.dtype)
    return kept + slots.added[place][:, :given].to(hidden.dtype)
