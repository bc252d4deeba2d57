"""Dynamic prompt: where the soft prompt stands, how long it is and of which vectors, is learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from core.methods._config import (
    Axis,
    BackboneFacts,
    LearningRates,
    ParameterGroup,
    Part,
    Search,
    head_parameters,
)
from core.methods._soft_prompt import SoftPromptConfig

Scope = Literal["fixed", "task", "instance"]
Slot = Literal["front", "border", "end"] | Annotated[float, Field(gt=0, lt=1)]
Axes = tuple[Scope, Scope, Scope]
MOST_CANDIDATES = 128
LONGEST_SLOTS = 32

PAPER_NAMES: Mapping[Axes, str] = {
    ("task", "fixed", "fixed"): "adap_pos",
    ("instance", "fixed", "fixed"): "adap_ins_pos",
    ("fixed", "fixed", "instance"): "adap_ins_vec",
    ("task", "fixed", "instance"): "adap_pos_ins_vec",
    ("instance", "fixed", "instance"): "adap_ins_vec_pos",
    ("fixed", "task", "fixed"): "adap_len",
    ("fixed", "instance", "fixed"): "adap_ins_len",
}
"""The paper's names by the scopes of position, length and representation."""


def slot_name(slot: Slot) -> str:
    """Name a place for people: its word, or the share of the text in front of it."""
    return slot if isinstance(slot, str) else f"{100 * slot:g} %"


class Temperature(Part):
    """Gumbel-Softmax temperature; it scales the selector's gradient, never the chosen cut."""

    start: float = Field(
        default=1.0, gt=0, le=100, title="Start", description="At the first update, dimensionless."
    )
    end: float = Field(
        default=0.5, gt=0, le=100, title="End", description="At the last update, dimensionless."
    )


class Config(SoftPromptConfig):
    """One module with independent axes: position, length, representation, and the feature."""

    TITLE: ClassVar[str] = "Dynamic prompt"
    SOURCE: ClassVar[str] = "Yang et al. 2023, arXiv 2303.02909, section 3"
    ALIASES: ClassVar[Mapping[str, Mapping[str, object]]] = {
        name: {"position": position, "length": length, "representation": representation}
        for (position, length, representation), name in PAPER_NAMES.items()
    }
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, selector=1e-2, head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "as for prompt tuning"),
        Search("learning_rates.selector", (1e-3, 1e-2), "below the prompt's rate"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors", "position", "length", "representation"})

    kind: Literal["dynamic_prompt"] = "dynamic_prompt"
    position: Scope = Field(
        default="instance",
        title="Position",
        description="Who chooses it: nobody (fixed), one choice for the task, or each input.",
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
        description="Gumbel-Softmax temperature, dimensionless; linear from start to end.",
    )

    @model_validator(mode="after")
    def _axes_agree(self) -> Config:
        if self.cut is not None and self.position != "fixed":
            raise ValueError("cut is only for position: fixed; leave it out or fix the position")
        if self.cut is not None and self.place == "slot":
            raise ValueError("cut is only for place: cut; name a slot instead")
        if self.place == "slot" and self.position == "fixed" and self.slot not in self.slots:
            raise ValueError(f"slot {self.slot} is none of the slots {list(self.slots)}")
        if self.selection != "st_gumbel" and self.position == self.length == "fixed":
            raise ValueError(f"selection {self.selection} needs a position or a length to choose")
        if self.selection == "exact" and self.num_candidates > MOST_CANDIDATES:
            raise ValueError(
                f"selection exact would take {self.num_candidates} passes an update, at most "
                f"{MOST_CANDIDATES} are allowed; choose sampled"
            )
        if len(set(self.slots)) < len(self.slots):
            raise ValueError("slots: the same place stands twice")
        return self

    @property
    @override
    def choice_names(self) -> Mapping[str, tuple[str, ...]]:
        lengths = tuple(str(count) for count in range(self.num_virtual_tokens + 1))
        found: dict[str, tuple[str, ...]] = {}
        if self.position != "fixed" and self.place == "slot":
            found["slot"] = tuple(map(slot_name, self.slots))
        elif self.position != "fixed":
            found["cut"] = lengths
        if self.length != "fixed":
            found["length"] = lengths[self.shortest :]
        return found

    @property
    def num_places(self) -> int:
        """Places that a selector chooses among, a count."""
        return len(self.slots) if self.place == "slot" else self.num_virtual_tokens + 1

    @property
    def num_lengths(self) -> int:
        """Lengths that a selector chooses among, a count."""
        return self.num_virtual_tokens + 1 - self.shortest

    @property
    @override
    def sums_choices(self) -> bool:
        return self.selection != "st_gumbel"

    @property
    @override
    def needs_segments(self) -> bool:
        used = (self.slot,) if self.position == "fixed" else self.slots
        return self.place == "slot" and "border" in used

    @property
    def num_candidates(self) -> int:
        """All pairs of a place and a length that can be chosen, a count."""
        places = 1 if self.position == "fixed" else self.num_places
        return places * (1 if self.length == "fixed" else self.num_lengths)

    @property
    @override
    def label(self) -> str:
        axes = (self.position, self.length, self.representation)
        parts = []
        name = PAPER_NAMES.get(axes)
        if name is None:
            name = "dynamic_prompt"
            named = zip(("position", "length", "vectors"), axes, strict=True)
            parts = [f"{axis} {scope}" for axis, scope in named if scope != "fixed"] or ["fixed"]
        if self.place == "slot":
            parts.append(
                f"slot {slot_name(self.slot)}" if self.position == "fixed" else self._slots
            )
        if self.selection != "st_gumbel":
            count = f" {self.samples}" if self.selection == "sampled" else ""
            parts.append(f"{self.selection}{count}")
        return f"{name} ({', '.join(parts)})" if parts else name

    @property
    def _slots(self) -> str:
        """All slots, or where they are many their number and a digest of them."""
        named = f"slots {', '.join(map(slot_name, self.slots))}"
        if len(named) <= LONGEST_SLOTS:
            return named
        digest = hashlib.sha256(repr(self.slots).encode()).hexdigest()[:8]
        return f"{len(self.slots)} slots {digest}"

    @property
    @override
    def axes(self) -> frozenset[Axis]:
        fixed: set[Axis] = set()
        if self.position == "fixed":
            fixed.add("position")
        if self.length == "fixed":
            fixed.add("length")
        if self.representation == "fixed":
            fixed.add("representation")
        return self.AXES - fixed

    @override
    def describe(self) -> str:
        how = {
            "st_gumbel": "",
            "exact": f"; learnt from all {self.num_candidates} choices of each input",
            "sampled": f"; learnt from {self.samples} drawn choices of each input",
        }[self.selection]
        return f"Dynamic prompt: {self._how_many()}, {self._which()}, {self._where()}{how}."

    def _how_many(self) -> str:
        return {
            "fixed": f"{self.num_virtual_tokens} vectors",
            "task": f"{self.shortest} to {self.num_virtual_tokens} vectors, as many as were learnt "
            "for the task",
            "instance": f"{self.shortest} to {self.num_virtual_tokens} vectors, as many as each "
            "input chooses",
        }[self.length]

    def _which(self) -> str:
        if self.representation == "instance":
            return f"mixed for each input from a pool of {self.pool_size}"
        return "the same for all inputs"

    def _where(self) -> str:
        if self.place == "slot":
            return {
                "fixed": f"inserted at one place ({self.slot})",
                "task": f"inserted at one of {len(self.slots)} places learnt for the task",
                "instance": f"inserted at one of {len(self.slots)} places chosen for each input",
            }[self.position]
        return {
            "fixed": f"{self.vectors_before} of them before the input",
            "task": "split around the input at one cut learnt for the task",
            "instance": "split around the input at a cut chosen for each input",
        }[self.position]

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        pool = self.pool_size if self.representation == "instance" else 1
        counts: dict[ParameterGroup, int] = {
            "prompt": pool * self.num_virtual_tokens * facts.hidden
        }
        if selector := sum(self.selector_sizes(facts).values()):
            counts["selector"] = selector
        counts["head"] = head_parameters(facts, num_outputs)
        return counts

    @override
    def selector_sizes(self, facts: BackboneFacts) -> dict[Axis, int]:
        chosen: tuple[tuple[Axis, str, int], ...] = (
            ("position", self.position, self.num_places),
            ("length", self.length, self.num_lengths),
            ("representation", self.representation, self.pool_size),
        )
        one = {"fixed": 0, "task": 1, "instance": facts.hidden + 1}
        return {axis: one[scope] * choices for axis, scope, choices in chosen}
