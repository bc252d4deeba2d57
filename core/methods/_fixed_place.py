"""Soft prompts of the same vectors at the same cut for every input."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.methods._config import Axis, ParameterGroup
from core.methods._layout import surround
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch
from core.methods._soft_prompt import SoftPromptConfig


class FixedPlacePrompt(PromptMethod):
    """Puts vectors around every input at one cut; subclasses say how the vectors are made.

    Args:
        config: Settings.
        backbone: Frozen backbone.
    """

    def __init__(self, config: SoftPromptConfig, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = backbone
        self._cut = config.vectors_before

    @abstractmethod
    def vectors(self) -> Float[Tensor, "virtual hidden"]:
        """Make the prompt, the same for all inputs."""

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Put the prompt around the text."""
        rows = batch.token_ids.shape[0]
        return surround(
            self._backbone.embed(batch.token_ids),
            batch,
            self.vectors().expand(rows, -1, -1),
            torch.full((rows,), self._cut, device=batch.token_ids.device),
            self._backbone.facts,
        )

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Everything that makes the vectors."""
        return {"prompt": list(self.parameters())}

    def axes(self) -> Mapping[Axis, list[str]]:
        """Everything that makes the vectors."""
        return {"vectors": [name for name, _ in self.named_parameters()]}
