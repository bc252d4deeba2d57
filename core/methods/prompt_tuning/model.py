"""Prompt tuning: a soft prompt at a fixed cut around the input."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from core.backbones.load import Backbone
from core.methods._config import Axis, ParameterGroup
from core.methods._layout import surround
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch
from core.methods._selector import initial_vectors
from core.methods.prompt_tuning.config import Config


class PromptTuning(PromptMethod):
    """Trains l vectors that stand around every input at the same cut (arXiv 2104.08691).

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial vectors.
    """

    def __init__(self, config: Config, backbone: Backbone, draw: torch.Generator) -> None:
        super().__init__()
        self._backbone = backbone
        self._cut = config.vectors_before
        self.prompt = nn.Parameter(
            initial_vectors(config.num_virtual_tokens, config.init, backbone, draw)
        )

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Put the prompt around the text."""
        rows = batch.token_ids.shape[0]
        return surround(
            self._backbone.embed(batch.token_ids),
            batch,
            self.prompt.expand(rows, -1, -1),
            torch.full((rows,), self._cut, device=batch.token_ids.device),
            self._backbone.facts,
        )

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """The prompt."""
        return {"prompt": [self.prompt]}

    def axes(self) -> Mapping[Axis, list[str]]:
        """The prompt is all its vectors."""
        return {"vectors": ["prompt"]}


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> PromptTuning:
    """Build the method with freshly drawn vectors."""
    return PromptTuning(config, backbone, generator)
