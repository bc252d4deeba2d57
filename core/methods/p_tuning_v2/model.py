"""P-tuning v2: trainable keys and values in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.methods._config import Axis, ParameterGroup
from core.methods._layout import prompt_free
from core.methods._linear import drawn_linear
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch
from core.methods.p_tuning_v2.config import Config


class PTuningV2(PromptMethod):
    """Puts l trained key/value pairs in front of each layer's own (arXiv 2110.07602).

    The pairs carry no position and shift none. The table starts standard normal and
    linear layers in torch's usual uniform range; the published runs may have started otherwise, as
    loading a backbone may have redrawn them. The published code's dropout on the prefix is left
    out, as everywhere in the frozen part.

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial values.
    """

    def __init__(self, config: Config, backbone: Backbone, draw: torch.Generator) -> None:
        super().__init__()
        self._backbone = backbone
        facts = backbone.facts
        self._shape = (config.num_virtual_tokens, 2 * facts.layers, facts.heads, facts.head_dim)
        width = 2 * facts.layers * facts.heads * facts.head_dim
        table_width = facts.hidden if config.prefix_projection else width
        table = torch.randn(config.num_virtual_tokens, table_width, generator=draw)
        self.table = nn.Parameter(table)
        self.projection: nn.Sequential | None = None
        if config.prefix_projection:
            self.projection = nn.Sequential(
                drawn_linear(facts.hidden, config.projection_size, draw),
                nn.Tanh(),
                drawn_linear(config.projection_size, width, draw),
            )

    def pairs(self) -> Float[Tensor, "sides heads prefix head_dim"]:
        """Keys and values of all layers: side 2i holds layer i's keys, 2i + 1 its values."""
        flat = self.table if self.projection is None else self.projection(self.table)
        return flat.reshape(self._shape).permute(1, 2, 0, 3)

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Pass the text on with the prefix; it is made once and shared by all rows."""
        rows = batch.token_ids.shape[0]
        sides = [side.expand(rows, -1, -1, -1) for side in self.pairs().unbind()]
        prefix = tuple(zip(sides[0::2], sides[1::2], strict=True))
        return replace(prompt_free(self._backbone, batch), prefix=prefix)

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """The table, and the projection when there is one."""
        return {"prompt": list(self.parameters())}

    def axes(self) -> Mapping[Axis, list[str]]:
        """Everything that makes keys and values: the table, and the projection with it."""
        return {"vectors": [name for name, _ in self.named_parameters()]}


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> PTuningV2:
    """Build the method with freshly drawn values."""
    return PTuningV2(config, backbone, generator)
