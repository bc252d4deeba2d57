"""Linear probe: the text as it is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from core.backbones.load import Backbone
from core.methods._config import ParameterGroup
from core.methods._layout import prompt_free
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch
from core.methods.linear_probe.config import Config


class LinearProbe(PromptMethod):
    """Adds nothing; only the head is trained.

    Args:
        backbone: Frozen backbone.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = backbone

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Pass the text on."""
        return prompt_free(self._backbone, batch)

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Nothing is trained before the head."""
        return {}


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> LinearProbe:
    """Build the method; it draws nothing."""
    return LinearProbe(backbone)
