"""P-tuning: a small network makes the vectors of a soft prompt."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.load import Backbone
from core.methods._fixed_place import FixedPlacePrompt
from core.methods._initial import initial_vectors
from core.methods._linear import drawn_linear
from core.methods.p_tuning.config import LSTM_LAYERS, Config


class PTuning(FixedPlacePrompt):
    """Makes the prompt from trained embeddings, which lets its vectors depend on one another.

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial values.
    """

    def __init__(self, config: Config, backbone: Backbone, draw: torch.Generator) -> None:
        super().__init__(config, backbone)
        hidden = backbone.facts.width
        self.table = nn.Parameter(
            initial_vectors(config.num_virtual_tokens, config.init, backbone, draw)
        )
        self.lstm = _drawn_lstm(hidden, draw) if config.encoder == "lstm" else None
        self.mlp = nn.Sequential(
            drawn_linear(hidden, hidden, draw), nn.ReLU(), drawn_linear(hidden, hidden, draw)
        )

    def vectors(self) -> Float[Tensor, "virtual hidden"]:
        """Send the trained embeddings through the network."""
        made = self.table if self.lstm is None else self.lstm(self.table)[0]
        vectors: Tensor = self.mlp(made)
        return vectors


def _drawn_lstm(hidden: int, draw: torch.Generator) -> nn.LSTM:
    """Make a BiLSTM from hidden to hidden, drawn as the library draws it."""
    lstm = nn.LSTM(
        hidden, hidden // 2, num_layers=LSTM_LAYERS, bidirectional=True, device="meta"
    ).to_empty(device="cpu")
    bound = (hidden // 2) ** -0.5
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.uniform_(-bound, bound, generator=draw)
    return lstm


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> PTuning:
    """Build the method with freshly drawn values."""
    return PTuning(config, backbone, generator)
