"""Dynamic prompt: a small network decides where the prompt stands, how long it is, of what made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.backbones.embed import masked_mean
from core.backbones.load import Backbone
from core.methods._config import Axis, BackboneFacts, ParameterGroup
from core.methods._initial import UNIFORM_BOUND, first_vectors, initial_vectors
from core.methods._layout import DeepPrompt, insert, slot_places, surround
from core.methods._module import BackboneInputs, Choice, ChoosingMethod, SelectorNoise, TokenBatch
from core.methods._selector import row_gumbel
from core.methods.dynamic_prompt.choosing import (
    Decision,
    decide,
    drawn_choices,
    every_choice,
    linear_map,
    new_selector,
)
from core.methods.dynamic_prompt.config import Config

SECOND_STAGE = 0.5


class DynamicPrompt(ChoosingMethod):
    """One module for all points of the axes (arXiv 2303.02909, section 3).

    The selectors start at zero: all places and lengths equally likely, the pool mixed evenly.

    With ``behaviour: paper_code`` it does what the authors' program does instead, all at once:

    - a cut is counted by the j vectors behind the text, and these are the *first* j; here it is
      still told as the vectors in front, l - j;
    - the scores of an input's cuts pass a ReLU; those of a pool alone, without a learnt position,
      a tanh before the softmax;
    - the selector sees the mean of the last hidden states over all columns, padding included, so
      what it sees depends on how far a text is padded;
    - choices are drawn in evaluation too. Here each input has a stream of its own, named by the
      run and the input's tokens, so that an evaluation can be repeated;
    - a task's position is drawn once for the whole batch of an update;
    - scores start uniform in -0.5..0.5, linear maps as the library draws them, prompts as the
      first rows of the vocabulary, and pools beside a learnt position always uniform.

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
        super().__init__()
        self._config = config
        self._backbone = backbone
        facts, length = backbone.facts, config.num_virtual_tokens
        hidden = facts.hidden if config.feature == "hidden_mean" else facts.width
        has_pool = config.representation == "instance"
        size = config.pool_size if has_pool else 1
        self.pool: nn.Parameter | None = None
        if config.injection != "deep_overwrite":
            vectors = _input_vectors(config, size * length, backbone, draw, words)
            self.pool = nn.Parameter(vectors.reshape(size, length, facts.width))
        self.deep = _deep_vectors(config, facts, size, draw)
        self._is_theirs = config.behaviour == "paper_code"
        theirs = draw if self._is_theirs else None
        self.pool_selector = linear_map(hidden, size, theirs) if has_pool else None
        self.position = new_selector(config.position, hidden, config.num_places, theirs)
        self.length = new_selector(config.length, hidden, config.num_lengths)
        self._sees_input = "instance" in (config.position, config.length, config.representation)
        self.needs_feature = self._sees_input and config.feature == "hidden_mean"
        self.averages_padding = self._is_theirs
        self.clips_scores = self._is_theirs and config.position == "instance"
        if config.stages == "two_stage":
            self.stages = (0.0, SECOND_STAGE)
        self._seed: int | None = None
        if config.draws_where_scored:
            self._seed = int(torch.randint(2**62, (1,), generator=draw))

    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Choose place, length and vectors for each row and put them around the text.

        Where the loss sums over choices, training gives a row for each example and candidate.
        """
        return self._adapt(batch, noise, Choice())

    def adapt_with(self, batch: TokenBatch, choice: Choice) -> BackboneInputs:
        """Put the prompt as in evaluation, but where, how long and of what the choice says."""
        return self._adapt(batch, None, choice)

    def _adapt(
        self, batch: TokenBatch, noise: SelectorNoise | None, forced: Choice
    ) -> BackboneInputs:
        embeddings = self._backbone.embed(batch.token_ids)
        rows = batch.token_ids.shape[0]
        feature = self._feature(embeddings, batch)
        weights = self._pool_weights(feature, noise)
        if forced.pool_weights is not None:
            if weights is None:
                raise ValueError("there is no pool to mix")
            weights = forced.pool_weights
        prompt, deep = self._prompt(embeddings, weights), None
        if self.deep is not None:
            deep = self._mixed(self.deep, weights, rows)
        scores = {
            name: selector(feature, rows)
            for name, selector in (("position", self.position), ("length", self.length))
            if selector is not None
        }
        choice = Choice(pool_weights=None if weights is None else weights.detach())
        config, known = self._config, self._unlearnt(scores, batch, noise)
        scores = {name: found for name, found in scores.items() if name not in known}
        if noise is None or config.selection == "st_gumbel" or not scores:
            chosen = self._obeying(known | self._decided(scores, batch, noise), forced)
            return self._arrange(embeddings, batch, prompt, deep, chosen, choice)
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
            None if deep is None else deep.repeat(times, 1, 1, 1),
            taken | {name: decision.repeated(times) for name, decision in known.items()},
            Choice(),
        )
        return replace(inputs, candidates=candidates)

    def _unlearnt(
        self, scores: Mapping[str, Tensor], batch: TokenBatch, noise: SelectorNoise | None
    ) -> dict[str, Decision]:
        """Decide what is not learnt now."""
        rows, places = len(batch.token_ids), self._config.num_places
        if self._config.position == "random":
            equal = torch.zeros(rows, places, device=batch.token_ids.device)
            if noise is None:
                return {"position": decide(equal, None, gumbel=self._noise_of(batch, places))}
            index = torch.randint(places, (rows,), generator=noise.generator).to(equal.device)
            return {"position": Decision(index, None, equal.softmax(dim=1))}
        if noise is not None and len(self.stages) > 1 and noise.share_done >= SECOND_STAGE:
            return {"position": decide(scores["position"], None)}
        return {}

    def _decided(
        self, scores: Mapping[str, Tensor], batch: TokenBatch, noise: SelectorNoise | None
    ) -> dict[str, Decision]:
        """Take one choice of each axis for each row."""
        if not self._is_theirs:
            return {name: decide(found, noise) for name, found in scores.items()}
        # Their index counts the vectors behind the text, and only places are chosen.
        return {
            name: decide(
                found,
                noise,
                gumbel=self._noise_of(batch, found.shape[1]) if noise is None else None,
                one_for_all=self._config.position == "task",
            ).backwards(found.shape[1])
            for name, found in scores.items()
        }

    def _obeying(self, chosen: Mapping[str, Decision], forced: Choice) -> dict[str, Decision]:
        """Put the indices that are given in the place of those that were decided."""
        length = forced.length
        given = {
            "position": forced.slot if self._config.place == "slot" else forced.cut,
            "length": None if length is None else length - self._config.shortest,
        }
        told = {name: index for name, index in given.items() if index is not None}
        foreign = forced.cut if self._config.place == "slot" else forced.slot
        if foreign is not None or not told.keys() <= chosen.keys():
            raise ValueError("nothing is chosen of an axis that a choice is given for")
        return {**chosen, **{name: replace(chosen[name], index=told[name]) for name in told}}

    def _noise_of(self, batch: TokenBatch, choices: int) -> Tensor | None:
        return None if self._seed is None else row_gumbel(batch, self._seed, choices)

    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Pool and deep vectors as ``prompt``; scores and linear maps as ``selector``."""
        selectors = (self.position, self.length, self.pool_selector)
        trained = [
            tensor for module in selectors if module is not None for tensor in module.parameters()
        ]
        vectors = [tensor for tensor in (self.pool, self.deep) if tensor is not None]
        groups: dict[ParameterGroup, list[nn.Parameter]] = {"prompt": vectors}
        if trained:
            groups["selector"] = trained
        return groups

    def axes(self) -> Mapping[Axis, list[str]]:
        """Pool, what chooses place and length, and with a pool also what chooses from it."""
        names = [name for name, _ in self.named_parameters()]
        vectors = [name for name in names if name in ("pool", "deep")]
        found: dict[Axis, list[str]] = {"vectors": vectors}
        chosen: tuple[Axis, ...] = ("position", "length")
        for axis in chosen:
            if own := [name for name in names if name.startswith(f"{axis}.")]:
                found[axis] = own
        if self.pool_selector is not None:
            found["representation"] = [*vectors, *(n for n in names if n.startswith("pool_"))]
        return found

    def _arrange(
        self,
        embeddings: Float[Tensor, "batch length hidden"],
        batch: TokenBatch,
        prompt: Float[Tensor, "batch prompt hidden"],
        deep: Float[Tensor, "batch prompt layers inside"] | None,
        chosen: Mapping[str, Decision],
        choice: Choice,
    ) -> BackboneInputs:
        """Put the prompt where it was decided; a cut beyond the active length stands for it."""
        config, position, length = self._config, chosen.get("position"), chosen.get("length")
        active = None
        if length is not None:
            active = length.index + config.shortest
            gate = self._gate(length)
            prompt = prompt * gate[:, :, None]
            deep = None if deep is None else deep * gate[:, :, None, None]
            choice = replace(
                choice,
                length=active,
                length_probabilities=length.probabilities,
                shortest=config.shortest,
            )
        share = None if position is None else position.share
        overwrites = config.injection == "deep_overwrite"
        inside = None if deep is None else DeepPrompt(deep, overwrites)
        if config.place == "slot":
            if position is None:
                index = torch.full_like(batch.token_ids[:, 0], config.slots.index(config.slot))
            else:
                index, shares = position.index, position.probabilities
                choice = replace(choice, slot=index, slot_probabilities=shares)
            slots = slot_places(batch, config.slots, self._backbone.facts.lead)
            return insert(
                embeddings, batch, prompt, slots, index, self._backbone.facts,
                share=share, choice=choice, active=active, deep=inside,
            )  # fmt: skip
        if position is None:
            index = torch.full_like(batch.token_ids[:, 0], config.vectors_before)
        else:
            index, shares = position.index, position.probabilities
            choice = replace(choice, cut=index, cut_probabilities=shares)
        return surround(
            embeddings, batch, prompt, index, self._backbone.facts,
            share=share, choice=choice, active=active, deep=inside, is_rotated=self._is_theirs,
        )  # fmt: skip

    def _gate(self, length: Decision) -> Float[Tensor, "batch prompt"]:
        """Make what each vector is multiplied by: 1 while it is used, 0 beyond, with a gradient.

        The gate of a vector is the share of all lengths that use it. Attention does not see vectors
        beyond the length that was taken, so their gates get no gradient: all greater lengths get
        the same, and nothing tells how much one more vector would be worth.
        """
        config, device = self._config, length.index.device
        vector = torch.arange(config.num_virtual_tokens, device=device)
        if length.share is None:
            return (vector < length.index[:, None] + config.shortest).float()
        lengths = torch.arange(config.num_lengths, device=device)
        uses = (vector < lengths[:, None] + config.shortest).float()
        return length.share @ uses

    def _feature(
        self, embeddings: Float[Tensor, "batch length width"], batch: TokenBatch
    ) -> Float[Tensor, "batch seen"] | None:
        if not self._sees_input:
            return None
        if not self.needs_feature:
            return masked_mean(embeddings, batch.mask)
        if batch.feature is None:
            raise ValueError("this method needs TokenBatch.feature")
        return batch.feature.float()

    def _pool_weights(
        self, feature: Float[Tensor, "batch seen"] | None, noise: SelectorNoise | None
    ) -> Float[Tensor, "batch pool"] | None:
        if self.pool_selector is None or feature is None:
            return None
        size = self._config.pool_size
        if noise is not None and len(self.stages) > 1 and noise.share_done < SECOND_STAGE:
            return feature.new_full((len(feature), size), 1 / size)
        scores = self.pool_selector(feature)
        if self._is_theirs and self.position is None:
            scores = scores.tanh()
        return torch.softmax(scores, dim=1)

    def _prompt(
        self, embeddings: Float[Tensor, "batch length width"], weights: Tensor | None
    ) -> Float[Tensor, "batch prompt width"]:
        """Make the vectors in the input; where layers replace them, they are zeros."""
        rows, _, width = embeddings.shape
        if self.pool is None:
            return embeddings.new_zeros(rows, self._config.num_virtual_tokens, width)
        return self._mixed(self.pool, weights, rows)

    def _mixed(self, pool: Tensor, weights: Tensor | None, rows: int) -> Tensor:
        """Mix the prompts of a pool, its first dimension, for each row; one prompt is shared."""
        if weights is None:
            return pool.expand(rows, *pool.shape[1:])
        mixed = weights @ pool.flatten(start_dim=1)
        return mixed.reshape(rows, *pool.shape[1:])


def _input_vectors(
    config: Config, count: int, backbone: Backbone, draw: torch.Generator, words: Sequence[str]
) -> Float[Tensor, "count width"]:
    """Make the first values of all vectors in the input."""
    if config.behaviour == "paper":
        return initial_vectors(count, config.init, backbone, draw, words)
    is_combined = config.representation == "instance" and config.position != "fixed"
    if config.init == "uniform" or is_combined:
        return initial_vectors(count, "uniform", backbone, draw)
    return first_vectors(count, backbone)


def _deep_vectors(
    config: Config, facts: BackboneFacts, size: int, draw: torch.Generator
) -> nn.Parameter | None:
    """Make what virtual tokens get in the layers: zeros where added, else uniform vectors."""
    if config.injection == "input":
        return None
    inside = facts.inside or facts.hidden
    shape = (size, config.num_virtual_tokens, facts.layers, inside)
    if config.injection == "deep_add":
        return nn.Parameter(torch.zeros(shape))
    return nn.Parameter((torch.rand(shape, generator=draw) * 2 - 1) * UNIFORM_BOUND)


def build(
    config: Config, backbone: Backbone, generator: torch.Generator, words: Sequence[str] = ()
) -> DynamicPrompt:
    """Build the method with freshly drawn vectors and a selector at zero.

    Raises:
        ConfigError: If these settings mean nothing on this backbone, or its tokenizer does not
            know a word that a vector starts as.
    """
    config.require_fit(backbone.facts)
    return DynamicPrompt(config, backbone, generator, words)
