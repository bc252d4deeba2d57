"""The contract between a method, the backbone and the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from core.methods._config import Axis, ParameterGroup

if TYPE_CHECKING:
    from core.backbones.verbalizer import LanguageHead


@dataclass(frozen=True)
class TokenBatch:
    """Rows of one run, padded on the right to one length class.

    Attributes:
        token_ids: Token ids; padding holds the tokenizer's padding id.
        token_types: Segment ids (0 or 1).
        mask: True at real tokens.
        feature: Cached mean of the last hidden states of one prompt-free pass, over the real
            tokens or as ``PromptMethod.averages_padding`` says; None when no method asks for it.
    """

    token_ids: Int[Tensor, "batch length"]
    token_types: Int[Tensor, "batch length"]
    mask: Bool[Tensor, "batch length"]
    feature: Float[Tensor, "batch hidden"] | None = None

    def repeated(self, times: int) -> TokenBatch:
        """Return all rows several times, one whole batch after the other."""
        feature = None if self.feature is None else self.feature.repeat(times, 1)
        return TokenBatch(
            self.token_ids.repeat(times, 1),
            self.token_types.repeat(times, 1),
            self.mask.repeat(times, 1),
            feature,
        )


@dataclass(frozen=True)
class Choice:
    """What a dynamic prompt chose for each row; None for axes that are fixed.

    Attributes:
        cut: Vectors before the input; where fewer are used, all of those.
        cut_probabilities: Softmax of the scores without noise, over the cuts 0..l.
        slot: Index of the place that the prompt was inserted at.
        slot_probabilities: Softmax of the scores without noise, over the slots.
        length: Vectors that are used.
        length_probabilities: Softmax of the scores without noise, over shortest..l vectors.
        shortest: First of the lengths, a count.
        pool_weights: Mixture weights over the pool.
    """

    cut: Int[Tensor, " batch"] | None = None
    cut_probabilities: Float[Tensor, "batch cuts"] | None = None
    slot: Int[Tensor, " batch"] | None = None
    slot_probabilities: Float[Tensor, "batch slots"] | None = None
    length: Int[Tensor, " batch"] | None = None
    length_probabilities: Float[Tensor, "batch lengths"] | None = None
    shortest: int = 0
    pool_weights: Float[Tensor, "batch pool"] | None = None

    def by_axis(self) -> dict[str, tuple[Int[Tensor, " batch"], Float[Tensor, "batch choices"]]]:
        """Return which choice each row took of ``cut``, ``slot`` and ``length``, and their shares.

        Indices and columns count as ``MethodConfig.choice_names`` of the same name does; an axis
        of which nothing is chosen is missing.
        """
        length = None if self.length is None else self.length - self.shortest
        found = {
            "cut": (self.cut, self.cut_probabilities),
            "slot": (self.slot, self.slot_probabilities),
            "length": (length, self.length_probabilities),
        }
        return {
            name: (index, shares)
            for name, (index, shares) in found.items()
            if index is not None and shares is not None
        }


@dataclass(frozen=True)
class Candidates:
    """Choices that a loss sums over, each in a row of its own: first all rows of the first one.

    Attributes:
        log_prior: Log-probability of each row's candidates by the selector.
        is_exact: True when they are all choices there are, False when they were drawn.
        bonus: What is taken off each row's loss in its gradient, in nats: keeps the selector
            undecided.
    """

    log_prior: Float[Tensor, "batch candidates"]
    is_exact: bool
    bonus: Float[Tensor, " batch"]


@dataclass(frozen=True)
class DeepSlots:
    """What virtual tokens get in front of each layer, in the final layout.

    Attributes:
        added: For each layer what is added to the hidden states; zero at real tokens.
        kept: 1 where hidden states stay, 0 where they are replaced; None: all stay.
    """

    added: tuple[Float[Tensor, "batch total inside"], ...]
    kept: Float[Tensor, "batch total 1"] | None = None


@dataclass(frozen=True)
class BackboneInputs:
    """Everything that one pass of the backbone needs; rows of several runs can be concatenated.

    Attributes:
        embeddings: Word embeddings and prompt vectors; the backbone adds positions, types, norm.
        mask: True where attention may look (real tokens and prompt vectors).
        content_mask: True at real tokens only: what mean pooling averages.
        position_ids: Positions that follow the final layout.
        token_types: Segment ids in the final layout.
        prefix: Keys and values of each layer, ``[layers][2]`` tensors of shape
            ``[batch, heads, prefix, head_dim]``; empty when the method has none.
        read_out: Index of the row's first real token ([CLS]) in the final layout.
        last: Index of the row's last attended position, prompt included.
        choice: What the method chose, for traces and histograms.
        candidates: Choices that the loss sums over; the rows are then one for each example and
            candidate. None: one row an example.
        deep: What virtual tokens get inside the backbone; None: nothing.
    """

    embeddings: Float[Tensor, "batch total hidden"]
    mask: Bool[Tensor, "batch total"]
    content_mask: Bool[Tensor, "batch total"]
    position_ids: Int[Tensor, "batch total"]
    token_types: Int[Tensor, "batch total"]
    prefix: tuple[tuple[Float[Tensor, "batch heads prefix head_dim"], ...], ...]
    read_out: Int[Tensor, " batch"]
    last: Int[Tensor, " batch"]
    choice: Choice = field(default_factory=Choice)
    candidates: Candidates | None = None
    deep: DeepSlots | None = None

    @property
    def launch_shape(self) -> tuple[int, int, torch.dtype, str]:
        """Total length, prefix length, precision and injection: rows that may share one pass."""
        prefix = self.prefix[0][0].shape[2] if self.prefix else 0
        injection = "input"
        if self.deep is not None:
            injection = "deep_add" if self.deep.kept is None else "deep_overwrite"
        return (self.embeddings.shape[1], prefix, self.embeddings.dtype, injection)


def concatenate(inputs: Sequence[BackboneInputs]) -> BackboneInputs:
    """Put the rows of several runs one after the other, for one pass of the backbone.

    Choices and candidates stay with each run's own inputs; the result holds none.

    Args:
        inputs: At least one; all of one launch shape.

    Raises:
        ValueError: If the launch shapes differ.
    """
    first = inputs[0]
    if len(inputs) == 1:
        return first
    shapes = {item.launch_shape for item in inputs}
    if len(shapes) > 1:
        raise ValueError(f"rows of different launch shapes cannot share a pass: {shapes}")
    prefix = tuple(
        tuple(
            torch.cat([item.prefix[layer][side] for item in inputs])
            for side in range(len(first.prefix[layer]))
        )
        for layer in range(len(first.prefix))
    )
    return BackboneInputs(
        embeddings=torch.cat([item.embeddings for item in inputs]),
        mask=torch.cat([item.mask for item in inputs]),
        content_mask=torch.cat([item.content_mask for item in inputs]),
        position_ids=torch.cat([item.position_ids for item in inputs]),
        token_types=torch.cat([item.token_types for item in inputs]),
        prefix=prefix,
        read_out=torch.cat([item.read_out for item in inputs]),
        last=torch.cat([item.last for item in inputs]),
        deep=_concatenate_deep([item.deep for item in inputs if item.deep is not None]),
    )


def _concatenate_deep(parts: Sequence[DeepSlots]) -> DeepSlots | None:
    """Put what several runs' virtual tokens get one after the other, layer by layer."""
    if not parts:
        return None
    added = tuple(torch.cat(layer) for layer in zip(*(part.added for part in parts), strict=True))
    kept = [part.kept for part in parts if part.kept is not None]
    return DeepSlots(added, torch.cat(kept) if kept else None)


@dataclass(frozen=True)
class SelectorNoise:
    """Randomness of one training step for one run, drawn outside the method.

    Attributes:
        generator: CPU generator seeded from (run seed, step, "selector").
        temperature: Gumbel-Softmax temperature of this step, dimensionless.
        share_done: Share of the run's updates that were made before this one, 0 to 1.
    """

    generator: torch.Generator
    temperature: float
    share_done: float = 0.0


class PromptMethod(nn.Module, ABC):
    """A way to adapt a backbone. Final classes implement ``adapt``; nothing overrides them.

    A method holds only its own trainable tensors (fine-tuning: its own copy of the backbone).
    ``adapt`` stores nothing on the object, and draws no random number but from ``noise``.
    """

    needs_feature: bool = False
    """True when ``TokenBatch.feature`` must be filled."""
    averages_padding: bool = False
    """True when that feature is the mean over all columns, padding included."""
    clips_scores: bool = False
    """True when an input's scores are clipped at 0: those of some inputs, or of all, may be 0."""
    stages: tuple[float, ...] = (0.0,)
    """Shares of the updates at which it begins to train other tensors; each is trained in one."""

    @abstractmethod
    def adapt(self, batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        """Turn tokens into backbone inputs.

        Args:
            batch: Tokens of this run.
            noise: Randomness of a training step; None in evaluation, where choices are by argmax
                or, for methods that say so, drawn out of each row's own stream.
        """

    @abstractmethod
    def parameter_groups(self) -> Mapping[ParameterGroup, list[nn.Parameter]]:
        """Trainable tensors by learning-rate group, without the head."""

    def axes(self) -> Mapping[Axis, list[str]]:
        """Name the tensors that a task of a joint training may have for itself, by axis.

        The keys are the ``axes`` of the method's configuration; a tensor may belong to two axes,
        and one that belongs to none is shared by all tasks.
        """
        return {}

    def own_backbone(self) -> nn.Module | None:
        """Return the method's own backbone module when it trains one, else None."""
        return None

    def own_language(self) -> LanguageHead | None:
        """Return the language-model head that belongs to its own backbone, else None."""
        return None


class ChoosingMethod(PromptMethod, ABC):
    """A method that chooses something for each row, and can be told what to choose instead."""

    @abstractmethod
    def adapt_with(self, batch: TokenBatch, choice: Choice) -> BackboneInputs:
        """Adapt as in evaluation, but with the choices that are given.

        Given the choice that ``adapt`` shows for a batch, it gives the same inputs.

        Args:
            batch: Tokens of this run.
            choice: ``cut``, ``slot``, ``length`` or ``pool_weights`` of each row; what is None is
                chosen as usual. Probabilities are not read.

        Raises:
            ValueError: If it names an axis of which nothing is chosen.
        """
