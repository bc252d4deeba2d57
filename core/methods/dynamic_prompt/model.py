"""Dynamic prompt: a small network decides where the prompt stands and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.embed import masked_mean
from core.backbones.load import Backbone
from core.methods._config import Axis, ParameterGroup
from core.methods._layout import surround
from core.methods._module import BackboneInputs, Choice, PromptMethod, SelectorNoise, TokenBatch
from core.methods._selector import best, empty_linear, gumbel_choice, initial_vectors
from core.methods.dynamic_prompt.config import Config


class DynamicPrompt(PromptMethod):
    """One module for all points of the axes (arXiv 2303.02909, section 3).

    The selector starts at zero: all cuts equally likely, the pool mixed evenly.

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial vectors.
    """

    def __init__(self, config: Config, backbone: Backbone, draw: torch.Generator) -> None:
        super().__init__()
        self._backbone = backbone
        self._fixed_cut = config.vectors_before
        self._length = config.num_virtual_tokens
        hidden, cuts = backbone.facts.hidden, config.num_virtual_tokens + 1
        size = config.pool_size if config.representation == "instance" else 1
        vectors = initial_vectors(size * self._length, config.init, backbone, draw)
        self.pool = nn.Parameter(vectors.reshape(size, self._length, hidden))
        self.pool_selector = (
            _zero_linear(hidden, size) if config.representation == "instance" else None
        )
        self.cut_scores = nn.Parameter(torch.zeros(cuts)) if config.position == "task" else None
        self.cut_selector = _zero_linear(hidden, cuts) if config.position == "instance" else None
        self._sees_input = self.pool_selector is not None or self.cut_selector is not None
        self.needs_feature = self._sees_input and config.feature == "hidden_mean"

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Choose cut and vectors for each row and put them around the text."""
        embeddings = self._backbone.embed(batch.token_ids)
        rows = batch.token_ids.shape[0]
        feature = self._feature(embeddings, batch)
        weights = self._pool_weights(feature)
        prompt = self.pool.expand(rows, -1, -1) if weights is None else self._mix(weights)
        scores = self._scores(feature, rows)
        share = None
        if scores is None:
            cut = torch.full((rows,), self._fixed_cut, device=batch.token_ids.device)
        elif noise is None:
            cut = best(scores.detach())
        else:
            cut, share = gumbel_choice(scores, noise)
        choice = Choice(
            cut=None if scores is None else cut,
            cut_probabilities=None if scores is None else torch.softmax(scores.detach(), dim=1),
            pool_weights=None if weights is None else weights.detach(),
        )
        return surround(
            embeddings, batch, prompt, cut, self._backbone.facts, share=share, choice=choice
        )

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Pool as ``prompt``; scores and linear maps as ``selector``."""
        selector = [
            *([] if self.cut_scores is None else [self.cut_scores]),
            *([] if self.cut_selector is None else self.cut_selector.parameters()),
            *([] if self.pool_selector is None else self.pool_selector.parameters()),
        ]
        groups: dict[ParameterGroup, list[nn.Parameter]] = {"prompt": [self.pool]}
        if selector:
            groups["selector"] = selector
        return groups

    def axes(self) -> Mapping[Axis, list[str]]:
        """Pool, cut scores or selector, and with a pool also what chooses from it."""
        names = [name for name, _ in self.named_parameters()]
        found: dict[Axis, list[str]] = {"vectors": ["pool"]}
        if position := [name for name in names if name.startswith("cut_")]:
            found["position"] = position
        if self.pool_selector is not None:
            found["representation"] = [name for name in names if name.startswith("pool")]
        return found

    def _feature(
        self, embeddings: Float[Tensor, "batch length hidden"], batch: TokenBatch
    ) -> Float[Tensor, "batch hidden"] | None:
        if not self._sees_input:
            return None
        if not self.needs_feature:
            return masked_mean(embeddings, batch.mask)
        if batch.feature is None:
            raise ValueError("this method needs TokenBatch.feature")
        return batch.feature.float()

    def _pool_weights(
        self, feature: Float[Tensor, "batch hidden"] | None
    ) -> Float[Tensor, "batch pool"] | None:
        if self.pool_selector is None or feature is None:
            return None
        return torch.softmax(self.pool_selector(feature), dim=1)

    def _mix(self, weights: Float[Tensor, "batch pool"]) -> Float[Tensor, "batch prompt hidden"]:
        mixed = weights @ self.pool.flatten(start_dim=1)
        return mixed.reshape(len(weights), *self.pool.shape[1:])

    def _scores(
        self, feature: Float[Tensor, "batch hidden"] | None, rows: int
    ) -> Float[Tensor, "batch cuts"] | None:
        if self.cut_scores is not None:
            return self.cut_scores.expand(rows, -1)
        if self.cut_selector is None or feature is None:
            return None
        scores: Tensor = self.cut_selector(feature)
        return scores


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = empty_linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> DynamicPrompt:
    """Build the method with freshly drawn vectors and a selector at zero."""
    return DynamicPrompt(config, backbone, generator)
