"""SMoP: a router sends each input to one of several short prompts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.embed import masked_mean
from core.backbones.load import Backbone
from core.methods._config import Axis, ParameterGroup
from core.methods._initial import initial_vectors
from core.methods._layout import surround
from core.methods._module import BackboneInputs, Choice, PromptMethod, SelectorNoise, TokenBatch
from core.methods.smop.config import Config


class SparsePrompts(PromptMethod):
    """Routes each input by the masked mean of its embeddings to one prompt of a pool.

    The router has no bias and starts orthogonal; in training its scores are multiplied by
    1 + noise, noise standard normal. The chosen prompt is scaled by its probability, which is how
    the router gets a gradient.

    The published code differs in two ways: it adds a load-balancing loss (weight 0.01, on by
    default), which is left out here, and detaches the scale of the noise, which here is not.

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial values.
    """

    def __init__(self, config: Config, backbone: Backbone, draw: torch.Generator) -> None:
        super().__init__()
        self._backbone = backbone
        self._cut = config.vectors_before
        size, length = config.pool_size, config.num_virtual_tokens
        vectors = initial_vectors(size * length, config.init, backbone, draw)
        self.pool = nn.Parameter(vectors.reshape(size, length, backbone.facts.width))
        router = torch.empty(size, backbone.facts.width)
        self.router = nn.Parameter(nn.init.orthogonal_(router, generator=draw))

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Put each row's prompt around its text."""
        embeddings = self._backbone.embed(batch.token_ids)
        weights = self._weights(masked_mean(embeddings, batch.mask), noise)
        chosen = weights.detach().argmax(dim=1)
        scale = weights.gather(1, chosen[:, None])[:, :, None]
        return surround(
            embeddings,
            batch,
            self.pool[chosen] * scale,
            torch.full_like(chosen, self._cut),
            self._backbone.facts,
            choice=Choice(pool_weights=weights.detach()),
        )

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Pool as ``prompt``, router as ``selector``."""
        return {"prompt": [self.pool], "selector": [self.router]}

    def axes(self) -> Mapping[Axis, list[str]]:
        """The pool, and the router with it."""
        return {"vectors": ["pool"], "representation": ["pool", "router"]}

    def _weights(
        self, feature: Float[Tensor, "batch hidden"], noise: SelectorNoise | None
    ) -> Float[Tensor, "batch pool"]:
        scores = feature @ self.router.T
        if noise is not None:
            drawn = torch.randn(scores.shape, generator=noise.generator)
            scores = scores * (1 + drawn.to(scores.device))
        return torch.softmax(scores, dim=1)


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> SparsePrompts:
    """Build the method with freshly drawn vectors and an orthogonal router."""
    return SparsePrompts(config, backbone, generator)
