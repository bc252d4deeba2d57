"""BitFit: the bias terms of the backbone are trained, and nothing else in it."""

from __future__ import annotations

import torch
from torch import nn

from core.backbones.load import Backbone
from core.errors import BackboneError
from core.methods._inside import InsideMethod
from core.methods.bitfit.config import Config


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> InsideMethod:
    """Build the method from the backbone's own bias terms; it draws nothing.

    Raises:
        BackboneError: If the backbone has no bias terms.
    """
    copy = backbone.share_module()
    trained: dict[str, nn.Parameter] = {}
    for name, module in copy.named_modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            module.bias = nn.Parameter(bias.detach().float().clone())
            trained[f"{name}.bias"] = module.bias
    if not trained:
        raise BackboneError(
            f"{backbone.name} has no bias terms, so BitFit would train nothing.",
            hint="Choose LoRA or a prompt for this backbone.",
        )
    return InsideMethod(backbone, copy, trained)
