"""Dynamic prompt: a small network decides where the prompt stands, how long it is, of what made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.embed import masked_mean
from core.backbones.facts import require_segments
from core.backbones.load import Backbone
from core.methods._config import Axis, ParameterGroup
from core.methods._layout import insert, slot_places, surround
from core.methods._module import BackboneInputs, Choice, PromptMethod, SelectorNoise, TokenBatch
from core.methods._selector import initial_vectors
from core.methods.dynamic_prompt.choosing import (
    Decision,
    decide,
    drawn_choices,
    every_choice,
    new_selector,
    zero_linear,
)
from core.methods.dynamic_prompt.config import Config


class DynamicPrompt(PromptMethod):
    """One module for all points of the axes (arXiv 2303.02909, section 3).

    The selectors start at zero: all places and lengths equally likely, the pool mixed evenly.

    Args:
        config: Settings.
        backbone: Frozen backbone.
        draw: Generator of the initial vectors.
    """

    def __init__(self, config: Config, backbone: Backbone, draw: torch.Generator) -> None:
        super().__init__()
        self._config = config
        self._backbone = backbone
        hidden, length = backbone.facts.hidden, config.num_virtual_tokens
        has_pool = config.representation == "instance"
        size = config.pool_size if has_pool else 1
        vectors = initial_vectors(size * length, config.init, backbone, draw)
        self.pool = nn.Parameter(vectors.reshape(size, length, hidden))
        self.pool_selector = zero_linear(hidden, size) if has_pool else None
        self.position = new_selector(config.position, hidden, config.num_places)
        self.length = new_selector(config.length, hidden, config.num_lengths)
        self._sees_input = "instance" in (config.position, config.length, config.representation)
        self.needs_feature = self._sees_input and config.feature == "hidden_mean"

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Choose place, length and vectors for each row and put them around the text.

        Where the loss sums over choices, training gives a row for each example and candidate.
        """
        embeddings = self._backbone.embed(batch.token_ids)
        rows = batch.token_ids.shape[0]
        feature = self._feature(embeddings, batch)
        weights = self._pool_weights(feature)
        prompt = self.pool.expand(rows, -1, -1) if weights is None else self._mix(weights)
        scores = {
            name: selector(feature, rows)
            for name, selector in (("position", self.position), ("length", self.length))
            if selector is not None
        }
        choice = Choice(pool_weights=None if weights is None else weights.detach())
        if noise is None or self._config.selection == "st_gumbel":
            chosen = {name: decide(found, noise) for name, found in scores.items()}
            return self._arrange(embeddings, batch, prompt, chosen, choice)
        config = self._config
        if config.selection == "exact":
            taken, candidates = every_choice(scores)
        else:
            taken, candidates = drawn_choices(
                scores, config.samples, noise.generator, config.entropy_bonus
            )
        times = candidates.log_prior.shape[1]
        inputs = self._arrange(
            embeddings.repeat(times, 1, 1),
            batch.repeated(times),
            prompt.repeat(times, 1, 1),
            taken,
            Choice(),
        )
        return replace(inputs, candidates=candidates)

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Pool as ``prompt``; scores and linear maps as ``selector``."""
        selectors = (self.position, self.length, self.pool_selector)
        trained = [
            tensor for module in selectors if module is not None for tensor in module.parameters()
        ]
        groups: dict[ParameterGroup, list[nn.Parameter]] = {"prompt": [self.pool]}
        if trained:
            groups["selector"] = trained
        return groups

    def axes(self) -> Mapping[Axis, list[str]]:
        """Pool, what chooses place and length, and with a pool also what chooses from it."""
        names = [name for name, _ in self.named_parameters()]
        found: dict[Axis, list[str]] = {"vectors": ["pool"]}
        chosen: tuple[Axis, ...] = ("position", "length")
        for axis in chosen:
            if own := [name for name in names if name.startswith(f"{axis}.")]:
                found[axis] = own
        if self.pool_selector is not None:
            found["representation"] = [name for name in names if name.startswith("pool")]
        return found

    def _arrange(
        self,
        embeddings: Float[Tensor, "batch length hidden"],
        batch: TokenBatch,
        prompt: Float[Tensor, "batch prompt hidden"],
        chosen: Mapping[str, Decision],
        choice: Choice,
    ) -> BackboneInputs:
        """Put the prompt where it was decided; a cut beyond the active length stands for it."""
        config, position, length = self._config, chosen.get("position"), chosen.get("length")
        active = None
        if length is not None:
            active = length.index + config.shortest
            prompt = self._shorten(prompt, length)
            choice = replace(
                choice,
                length=active,
                length_probabilities=length.probabilities,
                shortest=config.shortest,
            )
        share = None if position is None else position.share
        if config.place == "slot":
            if position is None:
                index = torch.full_like(batch.token_ids[:, 0], config.slots.index(config.slot))
            else:
                index, shares = position.index, position.probabilities
                choice = replace(choice, slot=index, slot_probabilities=shares)
            slots = slot_places(batch, config.slots)
            return insert(
                embeddings, batch, prompt, slots, index, self._backbone.facts,
                share=share, choice=choice, active=active,
            )  # fmt: skip
        if position is None:
            index = torch.full_like(batch.token_ids[:, 0], config.vectors_before)
        else:
            index, shares = position.index, position.probabilities
            choice = replace(choice, cut=index, cut_probabilities=shares)
        return surround(
            embeddings, batch, prompt, index, self._backbone.facts,
            share=share, choice=choice, active=active,
        )  # fmt: skip

    def _shorten(
        self, prompt: Float[Tensor, "batch prompt hidden"], length: Decision
    ) -> Float[Tensor, "batch prompt hidden"]:
        """Multiply each vector by its gate: 1 while it is used, 0 beyond; the gate has a gradient.

        The gate of a vector is the share of all lengths that use it.
        """
        vector = torch.arange(prompt.shape[1], device=prompt.device)
        lengths = torch.arange(self._config.num_lengths, device=prompt.device)
        if length.share is None:
            gate = (vector < length.index[:, None] + self._config.shortest).to(prompt.dtype)
        else:
            uses = (vector < lengths[:, None] + self._config.shortest).to(prompt.dtype)
            gate = length.share @ uses
        return prompt * gate[:, :, None]

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


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> DynamicPrompt:
    """Build the method with freshly drawn vectors and a selector at zero.

    Raises:
        ConfigError: If it needs the border of two texts and the backbone's tokens do not show it.
    """
    require_segments(backbone.facts, config)
    return DynamicPrompt(config, backbone, generator)
