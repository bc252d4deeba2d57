"""Prompt tuning: a soft prompt at a fixed cut around the input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.methods._fixed_place import FixedPlacePrompt
from core.methods._initial import initial_vectors
from core.methods.prompt_tuning.config import Config


class PromptTuning(FixedPlacePrompt):
    """Trains l vectors that stand around every input at the same cut (arXiv 2104.08691).

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial vectors.
        words: Label words that the first vectors start as, where ``init`` says so.
    """

    def __init__(
        self,
        config: Config,
        backbone: Backbone,
        draw: torch.Generator,
        words: Sequence[str] = (),
    ) -> None:
        super().__init__(config, backbone)
        self.prompt = nn.Parameter(
            initial_vectors(config.prompt_length, config.init, backbone, draw, words)
        )

    def vectors(self) -> Float[Tensor, "virtual hidden"]:
        """Return the trained vectors."""
        return self.prompt


def build(
    config: Config, backbone: Backbone, generator: torch.Generator, words: Sequence[str] = ()
) -> PromptTuning:
    """Build the method with freshly made vectors.

    Raises:
        ConfigError: If the backbone's tokenizer does not know a word that a vector starts as.
    """
    return PromptTuning(config, backbone, generator, words)
