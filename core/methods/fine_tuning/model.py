"""Fine-tuning: the text as it is, through the run's own copy of the backbone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from core.backbones.embed import plain_inputs, word_embeddings
from core.backbones.load import Backbone
from core.backbones.verbalizer import LanguageHead
from core.methods._config import ParameterGroup
from core.methods._inside import kept
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch
from core.methods.fine_tuning.config import Config


class FineTuning(PromptMethod):
    """Holds a copy of the backbone with every weight trainable, that of a verbalizer's head, too.

    Args:
        backbone: Frozen backbone that the copy starts from.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._own = backbone.trainable_copy()
        self.backbone = self._own.module
        self.language = kept(self._own.language_tensors())
        self._facts = backbone.facts

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Embed the text with the run's own word embeddings."""
        embeddings = word_embeddings(self.backbone, batch.token_ids)
        return plain_inputs(embeddings, batch, self._facts)

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """All weights of the copy."""
        return {"backbone": [*self.backbone.parameters(), *self.language.values()]}

    def own_backbone(self) -> nn.Module:
        """Return the copy."""
        return self.backbone

    def own_language(self) -> LanguageHead | None:
        """Return the copy's language-model head."""
        return self._own.language


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> FineTuning:
    """Build the method; it draws nothing."""
    return FineTuning(backbone)
