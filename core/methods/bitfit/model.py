"""BitFit: the bias terms of the backbone are trained, and nothing else in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from core.backbones.load import Backbone
from core.methods._inside import InsideMethod
from core.methods.bitfit.config import Config


class InPrecision(nn.Module):
    """Hands a trained tensor, float32, to a module that computes in another precision.

    Args:
        dtype: The module's precision.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def forward(self, trained: Tensor) -> Tensor:
        """Return the tensor in the module's precision, with its gradient."""
        return trained.to(self._dtype)


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> InsideMethod:
    """Build the method from the backbone's own bias terms; it draws nothing.

    Raises:
        ConfigError: If the backbone has no bias terms.
    """
    config.require_fit(backbone.facts)
    copy = backbone.sharing_copy()
    trained: dict[str, nn.Parameter] = {}
    owned: dict[int, nn.Parameter] = {}
    for name, module in list(copy.named_modules()):
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            # A language-model head may hold its bias twice.
            own = owned.get(id(bias))
            if own is None:
                own = owned[id(bias)] = nn.Parameter(bias.detach().float().clone())
                trained[f"{name}.bias"] = own
            module.bias = own
            if bias.dtype != own.dtype:
                cast = InPrecision(bias.dtype)
                parametrize.register_parametrization(module, "bias", cast, unsafe=True)
    return InsideMethod(backbone, copy, trained)
