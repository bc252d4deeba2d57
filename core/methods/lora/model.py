"""LoRA: low-rank updates of each layer's query and value maps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from core.backbones.load import Backbone
from core.errors import BackboneError
from core.methods._inside import InsideMethod
from core.methods.lora.config import ADAPTED_MAPS, Config

TARGETS = ("query", "value")
"""Last names of the adapted maps."""


class LoraLinear(nn.Module):
    """A frozen linear map with a trained update of low rank (arXiv 2106.09685, equation 3).

    Args:
        base: The frozen map.
        down: A, drawn; shape (rank, inputs).
        up: B, zero at the start; shape (outputs, rank).
        scale: alpha / rank.
    """

    def __init__(self, base: nn.Linear, down: nn.Parameter, up: nn.Parameter, scale: float) -> None:
        super().__init__()
        self.base = base
        self.down = down
        self.up = up
        self.scale = scale

    def forward(
        self, hidden: Float[Tensor, "batch total inputs"]
    ) -> Float[Tensor, "batch total outputs"]:
        """Map hidden states; the update is made in float32."""
        update = linear(linear(hidden.float(), self.down), self.up) * self.scale
        frozen: Tensor = self.base(hidden)
        return frozen + update.to(frozen.dtype)


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> InsideMethod:
    """Build the method: A drawn as linear layers are, B zero, so that nothing changes at first.

    Raises:
        BackboneError: If the query and value maps are not found.
    """
    copy = backbone.share_module()
    found = [
        (name, module)
        for name, module in copy.named_modules()
        if isinstance(module, nn.Linear) and name.rsplit(".", 1)[-1] in TARGETS
    ]
    if len(found) != ADAPTED_MAPS * backbone.facts.layers:
        raise BackboneError(
            f"{backbone.name}: {len(found)} query and value maps were found, "
            f"{ADAPTED_MAPS * backbone.facts.layers} expected.",
            hint="Choose another method for this backbone.",
        )
    trained: dict[str, nn.Parameter] = {}
    for name, base in found:
        bound = base.in_features**-0.5
        down = torch.empty(config.rank, base.in_features).uniform_(
            -bound, bound, generator=generator
        )
        pair = nn.Parameter(down), nn.Parameter(torch.zeros(base.out_features, config.rank))
        trained[f"{name}.down"], trained[f"{name}.up"] = pair
        parent, last = name.rsplit(".", 1)
        setattr(
            copy.get_submodule(parent), last, LoraLinear(base, *pair, config.alpha / config.rank)
        )
    return InsideMethod(backbone, copy, trained)
