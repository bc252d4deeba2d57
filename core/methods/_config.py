"""What every method's configuration has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ParameterGroup = Literal["prompt", "selector", "head", "backbone"]
GROUPS: tuple[ParameterGroup, ...] = ("prompt", "selector", "head", "backbone")
Axis = Literal["vectors", "position", "length", "representation"]
OptimizerName = Literal["adamw", "adafactor"]


class Part(BaseModel):
    """A frozen, strict piece of a recipe: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LearningRates(Part):
    """Learning rate of each parameter group; empty ones take the method's default."""

    prompt: float | None = Field(
        default=None, gt=0, le=10, title="Prompt", description="Prompt, prefix or pool, per update."
    )
    selector: float | None = Field(
        default=None,
        gt=0,
        le=10,
        title="Selector",
        description="Network that chooses position and vectors, per update.",
    )
    head: float | None = Field(
        default=None, gt=0, le=10, title="Head", description="Classification head, per update."
    )
    backbone: float | None = Field(
        default=None,
        gt=0,
        le=10,
        title="Backbone",
        description="Language model's own weights, per update.",
    )

    def over(self, defaults: LearningRates) -> LearningRates:
        """Fill the empty rates from ``defaults``."""
        filled = {name: getattr(self, name) or getattr(defaults, name) for name in GROUPS}
        return LearningRates(**filled)


BackboneKind = Literal["encoder", "decoder", "encoder_decoder"]
AnswerForm = Literal["", "masked", "causal", "sequence"]
"""Where a language model says a word: at a mask, behind the text, or in its decoder."""


@dataclass(frozen=True)
class BackboneFacts:
    """Sizes that parameter formulas need, read from a model's config.json without torch.

    Attributes:
        family: ``model_type`` of the configuration, for example ``bert``.
        hidden: Width of the hidden states.
        layers: Number of transformer layers.
        heads: Attention heads (key/value heads where they differ).
        head_dim: Width of one head.
        vocab: Vocabulary size.
        max_positions: Longest input in tokens, prompt vectors included.
        total_parameters: All weights of the backbone, without heads.
        first_position: Position id of the first token (RoBERTa counts from behind its padding id).
        bias_parameters: Numbers in bias terms, without heads; 0 for a backbone without any.
        embedding: Width of the token embeddings where it is not ``hidden``, else 0.
        kind: What a pass is; of an encoder-decoder the encoder is used.
        has_segments: True when the tokens of a row say which of two texts they belong to.
        is_absolute: True when only a token's number in the row tells its place: attention sees all
            tokens, and no distances.
        lead: Special tokens in front of every text, 0 or 1; behind it always stands one.
        query_heads: Attention heads where they are more than ``heads``, else 0.
        inside: Width of the hidden states between layers where it is not ``hidden``, else 0.
        distinct_layers: Layers with weights of their own where layers share them, else 0.
        language_head: Where its language-model head says a word; empty: its files hold none.
        language_parameters: Weights of that head, and of the decoder of an encoder-decoder, beside
            ``total_parameters``.
        language_biases: Those of them that are in bias terms.
        decoder_layers: Layers of the decoder of an encoder-decoder whose files hold such a head.
        mixed_map: First map that makes queries, keys and values at once, where it is not known
            which of its outputs are which; empty: there is none.
    """

    family: str
    hidden: int
    layers: int
    heads: int
    head_dim: int
    vocab: int
    max_positions: int
    total_parameters: int
    first_position: int = 0
    bias_parameters: int = 0
    embedding: int = 0
    kind: BackboneKind = "encoder"
    has_segments: bool = True
    is_absolute: bool = True
    lead: int = 1
    query_heads: int = 0
    inside: int = 0
    distinct_layers: int = 0
    language_head: AnswerForm = ""
    language_parameters: int = 0
    language_biases: int = 0
    decoder_layers: int = 0
    mixed_map: str = ""

    @property
    def width(self) -> int:
        """Width of the token embeddings, and so of prompt vectors."""
        return self.embedding or self.hidden


@dataclass(frozen=True)
class Search:
    """Values that tuning may try for one field.

    Attributes:
        field: Dotted field of the method's configuration.
        values: Candidates, the default among them.
        source: Where the candidates come from.
        is_first: True when all values are tried before anything else is varied.
    """

    field: str
    values: tuple[float | int | str, ...]
    source: str
    is_first: bool = False


@dataclass(frozen=True)
class Control:
    """What one of a method's names is a control for.

    Attributes:
        title: What it trains, in a few words.
        shows: What a comparison with it shows, a sentence.
    """

    title: str
    shows: str


class MethodConfig(Part, ABC):
    """Base of all methods; ``kind`` is the folder's name."""

    TITLE: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    ALIASES: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    CONTROLS: ClassVar[Mapping[str, Control]] = {}
    """Those of the ``ALIASES`` that are controls of other methods."""
    DEFAULT_RATES: ClassVar[LearningRates]
    ADAFACTOR_RATES: ClassVar[LearningRates] = LearningRates()
    """Published rates with Adafactor. Its updates are about as large as those of AdamW at the same
    rate, so that a group without one takes the default."""
    SEARCH: ClassVar[tuple[Search, ...]] = ()
    AXES: ClassVar[frozenset[Axis]] = frozenset()
    """What tasks that are trained jointly may each have for themselves, where it is trained."""
    SEPARATE: ClassVar[bool] = False
    """True when the method changes weights inside the backbone and so always trains alone."""

    kind: str
    learning_rates: LearningRates = Field(
        default_factory=LearningRates,
        title="Learning rates",
        description="Per parameter group; empty: the method's default.",
    )

    @property
    def label(self) -> str:
        """Short name in tables and legends: the method and its axes, without sizes and rates."""
        return self.kind

    @property
    def tried_label(self) -> str:
        """Name of a trial in lists, which may say what is tried."""
        return self.label

    @property
    def search(self) -> tuple[Search, ...]:
        """Values that tuning may try with these settings."""
        return self.SEARCH

    @property
    def least_trials(self) -> int:
        """Trials that it takes to try all that is tried first, a count; 1: nothing is."""
        return max([1, *(len(search.values) for search in self.search if search.is_first)])

    @property
    def trains_head_alone(self) -> bool:
        """True when nothing before the head is trained."""
        return set(self.DEFAULT_RATES.model_dump(exclude_none=True)) == {"head"}

    @property
    def lacks_trials(self) -> str:
        """What only trials can fill in, as a sentence; empty: it can be trained as it is."""
        return ""

    @property
    def default_rates(self) -> LearningRates:
        """Learning rates where the recipe gives none, for these settings."""
        return self.DEFAULT_RATES

    @property
    def notes(self) -> tuple[str, ...]:
        """Settings without effect and choices of one thing, a sentence each."""
        return ()

    @property
    def axes(self) -> frozenset[Axis]:
        """The ``AXES`` that are trained with these settings."""
        return self.AXES

    @property
    def sums_choices(self) -> bool:
        """True when the loss sums over what a selector may choose, one pass a choice."""
        return False

    @property
    def passes(self) -> int:
        """Rows that an update makes of each row of its batch, a count."""
        return 1

    @property
    def choice_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names of what can be chosen, by axis: ``cut``, ``slot``, ``length``; none where fixed."""
        return {}

    @property
    def starts_from_words(self) -> bool:
        """True when its first values depend on the tasks' label words; ``build`` then gets them."""
        return False

    @property
    def prompt_length(self) -> int:
        """Vectors that the method puts into the input sequence, a count."""
        return 0

    @model_validator(mode="after")
    def _rates_have_tensors(self) -> MethodConfig:
        given = self.learning_rates.model_dump(exclude_none=True)
        useless = [name for name in given if getattr(self.DEFAULT_RATES, name) is None]
        if useless:
            raise ValueError(f"learning_rates: {self.kind} trains no {' and no '.join(useless)}")
        return self

    def require_fit(self, facts: BackboneFacts) -> None:
        """Check that these settings mean something on a backbone.

        Args:
            facts: Sizes of the backbone.

        Raises:
            ConfigError: If they do not; ``field`` is a field of the method.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say in one sentence what the method does with these settings."""

    @abstractmethod
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        """Count the trainable parameters by formula, per parameter group.

        Args:
            facts: Sizes of the backbone.
            num_outputs: Outputs of the head: one a class, or 1 that scores each choice; 0 where a
                verbalizer reads out and no head is trained.
        """

    def selector_sizes(self, facts: BackboneFacts) -> Mapping[Axis, int]:
        """Count the parameters of what chooses, by the axis that a task may have for itself."""
        del facts
        return {}

    def num_trainable_jointly(
        self, facts: BackboneFacts, outputs: Sequence[int], own: Collection[Axis]
    ) -> dict[ParameterGroup, int]:
        """Count the trainable parameters of a joint training by formula, per parameter group.

        What tasks share counts once, the axes in ``own`` and a head for each task.

        Args:
            facts: Sizes of the backbone.
            outputs: Outputs of each task's head, as in ``num_trainable``.
            own: What each task has for itself; only axes that are trained make a difference.
        """
        found, further = self.num_trainable(facts, outputs[0]), len(outputs) - 1
        taken = self.axes.intersection(own)
        selectors = self.selector_sizes(facts)
        if taken & {"vectors", "representation"}:
            found["prompt"] *= len(outputs)
        if "selector" in found:
            found["selector"] += further * sum(selectors.get(axis, 0) for axis in taken)
        found["head"] += sum(head_parameters(facts, count) for count in outputs[1:])
        return found

    def rates_with(self, optimizer: OptimizerName) -> LearningRates:
        """Learning rates with an optimiser where the recipe gives none, for these settings."""
        if optimizer == "adamw":
            return self.default_rates
        return self.ADAFACTOR_RATES.over(self.default_rates)

    def search_with(self, optimizer: OptimizerName) -> tuple[Search, ...]:
        """Values that tuning may try: rates as far from the optimiser's as from the defaults."""
        own, usual = self.rates_with(optimizer), self.default_rates
        found = []
        for search in self.search:
            place, _, group = search.field.rpartition(".")
            if place == "learning_rates" and getattr(own, group) != getattr(usual, group):
                times = getattr(own, group) / getattr(usual, group)
                values = tuple(float(f"{float(value) * times:.3g}") for value in search.values)
                search = replace(search, values=values)
            found.append(search)
        return tuple(found)

    def resolved(self, optimizer: OptimizerName = "adamw") -> MethodConfig:
        """Return the same method with every learning rate filled in."""
        rates = self.learning_rates.over(self.rates_with(optimizer))
        return self.model_copy(update={"learning_rates": rates})


def head_parameters(facts: BackboneFacts, num_outputs: int) -> int:
    """Weights and biases of the linear head.

    A head of one output scores choices against each other and has no bias: the same number added
    to every score changes no answer.
    """
    return facts.hidden * num_outputs + (num_outputs if num_outputs > 1 else 0)
