"""Fields of a dynamic prompt, and which of their values go together."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator
from typing_extensions import override

from core.methods._config import Part
from core.methods._soft_prompt import SoftPromptConfig

Scope = Literal["fixed", "task", "instance"]
Position = Literal["fixed", "random", "task", "instance"]
NamedSlot = Literal["front", "border", "end"]


def _known_place(value: object) -> object:
    """Refuse what is no place, in one sentence for names and shares."""
    is_share = isinstance(value, int | float) and 0 < value < 1
    if not is_share and value not in get_args(NamedSlot):
        raise ValueError(
            "must be front, border or end, or a share of the text above 0 and below 1, such as "
            f"0.5; got {value!r}"
        )
    return value


Slot = Annotated[NamedSlot | Annotated[float, Field(gt=0, lt=1)], BeforeValidator(_known_place)]
TemperatureRule = Literal["linear", "paper_code"]
MOST_CANDIDATES = 128


class Temperature(Part):
    """Gumbel-Softmax temperature; it scales the selector's gradient, never the chosen cut."""

    start: float = Field(
        default=1.0, gt=0, le=100, title="Start", description="At the first update, dimensionless."
    )
    end: float = Field(
        default=0.5,
        gt=0,
        le=100,
        title="End",
        description="At the last update, dimensionless; with paper_code the least.",
    )
    rule: TemperatureRule | None = Field(
        default=None,
        title="Rule",
        description="linear: evenly from start to end. paper_code: after the update g multiplied "
        "by exp(-0.000003 g), never below end. Empty: as the behaviour has it.",
    )


class Fields(SoftPromptConfig, ABC):
    """Settings of all axes."""

    position: Position = Field(
        default="instance",
        title="Position",
        description="Who chooses it: nobody (fixed), chance (random: a control), one choice for "
        "the task, or each input.",
    )
    place: Literal["cut", "slot"] = Field(
        default="cut",
        title="Place",
        description="cut: the vectors are split around the input. slot: all of them are inserted "
        "at one of a few places.",
    )
    slots: tuple[Slot, ...] = Field(
        default=("front", 0.5, "border", "end"),
        min_length=1,
        max_length=32,
        title="Slots",
        description="Places: front, border (between two texts), end, or a share of the text.",
    )
    slot: Slot = Field(
        default="front",
        title="Slot",
        description="Place when the position is fixed; one of the slots.",
    )
    length: Scope = Field(
        default="fixed",
        title="Length",
        description="Who chooses how many of the vectors are used: nobody (all), the task, or "
        "each input.",
    )
    shortest: Literal[0, 1] = Field(
        default=1,
        title="Shortest",
        description="Vectors that are used at least when the length is chosen, a count.",
    )
    representation: Literal["fixed", "instance"] = Field(
        default="fixed",
        title="Vectors",
        description="One prompt for all, or a mixture of a pool chosen by each input.",
    )
    pool_size: int = Field(
        default=4,
        ge=1,
        le=64,
        title="Pool size",
        description="Prompts in the pool, a count; used when vectors are chosen by each input.",
    )
    injection: Literal["input", "deep_add", "deep_overwrite"] = Field(
        default="input",
        title="Injection",
        description="input: vectors in the input alone. deep_add: besides, every layer adds a "
        "vector of its own to each one's hidden state. deep_overwrite: every layer replaces it.",
    )
    feature: Literal["embedding_mean", "hidden_mean"] = Field(
        default="hidden_mean",
        title="Selector sees",
        description=(
            "Masked mean of the input's embeddings (free), or of the last hidden states of one "
            "pass without prompt (made once and kept)."
        ),
    )
    selection: Literal["st_gumbel", "exact", "sampled"] = Field(
        default="st_gumbel",
        title="Selection",
        description="How places and lengths are learnt. st_gumbel: straight-through "
        "Gumbel-Softmax (the paper). exact: the likelihood summed over all choices, one pass "
        "each. sampled: a bound of it from a few drawn ones.",
    )
    samples: int = Field(
        default=4,
        ge=2,
        le=64,
        title="Samples",
        description="Choices drawn an update for each input, a count; only for sampled.",
    )
    entropy_bonus: float = Field(
        default=0.02,
        ge=0,
        le=10,
        title="Entropy bonus",
        description="Weight of the choices' entropy, in nats; keeps the selector undecided at "
        "first; only for sampled.",
    )
    temperature: Temperature = Field(
        default_factory=Temperature,
        title="Temperature",
        description="Gumbel-Softmax temperature, dimensionless.",
    )
    stages: Literal["joint", "two_stage"] = Field(
        default="joint",
        title="Stages",
        description="joint: everything is learnt at once. two_stage: in the first half of the "
        "updates the task's position, with the mean of the pool; then the mixture of the pool, at "
        "the position that was found. Only for adap_pos_ins_vec.",
    )
    behaviour: Literal["paper", "paper_code"] = Field(
        default="paper",
        title="Behaviour",
        description="paper: as the paper defines the method, with the best choice where nothing "
        "is trained. paper_code: as its authors programmed it, which differs in a dozen places: "
        "for example choices are drawn in evaluation too, and the selector also sees padding.",
    )

    @field_validator("samples", mode="before")
    @classmethod
    def _samples_are_several(cls, value: object) -> object:
        if isinstance(value, int) and value < 2:
            raise ValueError(
                "must be at least 2, for what a choice is worth is estimated by comparing the "
                f"samples with each other; got {value}"
            )
        return value

    @model_validator(mode="after")
    def _axes_agree(self) -> Fields:
        if self.cut is not None and self.position != "fixed":
            raise ValueError("cut is only for position: fixed; leave it out or fix the position")
        if self.cut is not None and self.place == "slot":
            raise ValueError("cut is only for place: cut; name a slot instead")
        if self.place == "slot" and self.position == "fixed" and self.slot not in self.slots:
            raise ValueError(f"slot {self.slot} is none of the slots {list(self.slots)}")
        if self.selection != "st_gumbel" and not self.learns_a_choice:
            raise ValueError(f"selection {self.selection} needs a position or a length to choose")
        if self.selection == "exact" and self.num_candidates > MOST_CANDIDATES:
            raise ValueError(
                f"selection exact would take {self.num_candidates} passes an update, at most "
                f"{MOST_CANDIDATES} are allowed; choose sampled"
            )
        if len(set(self.slots)) < len(self.slots):
            raise ValueError("slots: the same place stands twice")
        return self

    @model_validator(mode="after")
    def _stages_have_something_to_learn(self) -> Fields:
        axes = (self.position, self.length, self.representation)
        if self.stages == "two_stage" and axes != ("task", "fixed", "instance"):
            raise ValueError(
                "stages: two_stage first learns a position for the task and then the mixture of a "
                "pool; it needs position: task, length: fixed and representation: instance"
            )
        return self

    @model_validator(mode="after")
    def _code_has_it(self) -> Fields:
        """Refuse what the authors' code lacks, so that its name stands for nothing else."""
        if self.behaviour == "paper":
            return self
        if self.length != "fixed":
            raise ValueError(
                "behaviour: paper_code has no chosen length: the authors' code fills unused "
                "vectors with -1e20, whose gradient drowns that of everything else; use "
                "behaviour: paper, which masks them"
            )
        foreign = {
            "position": self.position == "random",
            "place": self.place != "cut",
            "injection": self.injection != "input",
            "selection": self.selection != "st_gumbel",
            "feature": self.feature != "hidden_mean",
            "stages": self.stages != "joint",
        }
        if found := [f"{name}: {getattr(self, name)}" for name, is_so in foreign.items() if is_so]:
            raise ValueError(
                f"behaviour: paper_code stands for the authors' code alone, which has no "
                f"{' and no '.join(found)}; use behaviour: paper"
            )
        return self

    @property
    @override
    def refuses_words(self) -> str:
        if self.representation == "instance":
            return "the prompts of a pool would start alike"
        if self.injection == "deep_overwrite":
            return "every layer replaces the vectors, and none stands in the input"
        if self.behaviour == "paper_code":
            return "the authors' program has prompts start otherwise"
        return ""

    @property
    def learns_position(self) -> bool:
        """True when a selector chooses the place."""
        return self.position in ("task", "instance")

    @property
    def learns_a_choice(self) -> bool:
        """True when a selector chooses a place or a length."""
        return self.learns_position or self.length != "fixed"

    @property
    def num_places(self) -> int:
        """Places that are chosen among, a count."""
        return len(self.slots) if self.place == "slot" else self.num_virtual_tokens + 1

    @property
    def num_lengths(self) -> int:
        """Lengths that a selector chooses among, a count."""
        return self.num_virtual_tokens + 1 - self.shortest

    @property
    def num_candidates(self) -> int:
        """All pairs of a place and a length that can be learnt, a count."""
        places = self.num_places if self.learns_position else 1
        return places * (1 if self.length == "fixed" else self.num_lengths)

    @property
    def temperature_rule(self) -> TemperatureRule:
        """How the temperature moves."""
        is_theirs = self.behaviour == "paper_code"
        return self.temperature.rule or ("paper_code" if is_theirs else "linear")

    @property
    def draws_where_scored(self) -> bool:
        """True when choices are drawn in evaluation too, out of each input's own stream."""
        is_theirs = self.behaviour == "paper_code" and self.position != "fixed"
        return is_theirs or self.position == "random"
