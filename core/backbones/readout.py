"""From hidden states to one vector a row: what a head is applied to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from core.backbones.embed import masked_mean
from core.backbones.facts import read_out_of
from core.backbones.spec import BackboneChoice, Pooling
from core.backbones.verbalizer import LanguageHead
from core.methods._module import BackboneInputs, PromptMethod

if TYPE_CHECKING:
    from core.backbones.load import Backbone

ReadOut = Pooling | LanguageHead
"""How a run reads out: by pooling for a head of its own, or by the language-model head."""


def run_read_out(choice: BackboneChoice, backbone: Backbone, method: PromptMethod) -> ReadOut:
    """Return the read-out of a run.

    Args:
        choice: Its backbone.
        backbone: The same, loaded.
        method: Its method, which may have a language-model head of its own.
    """
    return method.own_language() or backbone.language or read_out_of(choice, backbone.facts)


def pool(
    hidden: Float[Tensor, "batch total hidden"], inputs: BackboneInputs, read_out: ReadOut
) -> Float[Tensor, "batch width"]:
    """Read one vector a row out of the last hidden states, in float32.

    Args:
        hidden: Last hidden states in the final layout.
        inputs: What the backbone was given; tells which columns are real tokens.
        read_out: ``mean`` over the real tokens (prompt vectors left out), the ``first`` real token,
            the ``last`` attended position, or a language-model head at the answer's place.
    """
    if isinstance(read_out, LanguageHead):
        return read_out.vectors(hidden, inputs)
    if read_out == "mean":
        return masked_mean(hidden, inputs.content_mask)
    column = inputs.read_out if read_out == "first" else inputs.last
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows, column].float()
