"""From hidden states to one vector a row."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from core.backbones.embed import masked_mean
from core.backbones.spec import Pooling
from core.methods._module import BackboneInputs


def pool(
    hidden: Float[Tensor, "batch total hidden"], inputs: BackboneInputs, pooling: Pooling
) -> Float[Tensor, "batch hidden"]:
    """Read one vector a row out of the last hidden states, in float32.

    Args:
        hidden: Last hidden states in the final layout.
        inputs: What the backbone was given; tells which columns are real tokens.
        pooling: ``mean`` over the real tokens (prompt vectors left out), the ``first`` real token,
            or the ``last`` attended position.
    """
    if pooling == "mean":
        return masked_mean(hidden, inputs.content_mask)
    column = inputs.read_out if pooling == "first" else inputs.last
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, column].float()
