"""Linear layers whose first values come out of a given generator."""

from __future__ import annotations

import torch
from torch import nn


def empty_linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Make a linear layer with undefined values, without touching the global random state."""
    return nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")


def drawn_linear(inputs: int, outputs: int, draw: torch.Generator) -> nn.Linear:
    """Make a linear layer with the library's usual uniform range, out of the given generator."""
    layer = empty_linear(inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=draw)
    return layer
