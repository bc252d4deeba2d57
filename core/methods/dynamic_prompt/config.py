"""Dynamic prompt: where the soft prompt stands, how long it is and of which vectors, is learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from typing_extensions import override

from core.errors import ConfigError
from core.methods._config import (
    Axis,
    BackboneFacts,
    Control,
    LearningRates,
    ParameterGroup,
    Search,
    head_parameters,
)
from core.methods.dynamic_prompt.fields import Fields, Position, Scope, Slot
from core.wording import counted

Axes = tuple[Position, Scope, Scope]
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
CONTROL_NAMES: Mapping[Axes, str] = {("random", "fixed", "fixed"): "random_cut"}
"""What shows whether a choice is worth learning, by the same scopes."""


def slot_name(slot: Slot) -> str:
    """Name a place for people: its word, or the share of the text in front of it."""
    return slot if isinstance(slot, str) else f"{100 * slot:g} %"


class Config(Fields):
    """One module with independent axes: position, length, representation, and the feature."""

    TITLE: ClassVar[str] = "Dynamic prompt"
    SOURCE: ClassVar[str] = "Yang et al. 2023, arXiv 2303.02909, section 3"
    ALIASES: ClassVar[Mapping[str, Mapping[str, object]]] = {
        name: {"position": position, "length": length, "representation": representation}
        for (position, length, representation), name in {**PAPER_NAMES, **CONTROL_NAMES}.items()
    }
    CONTROLS: ClassVar[Mapping[str, Control]] = {
        "random_cut": Control(
            "Position at random",
            "A cut drawn anew for each input: whether a position is worth learning at all.",
        ),
    }
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, selector=1e-2, head=1e-2)
    ADAFACTOR_RATES: ClassVar[LearningRates] = LearningRates(prompt=0.3, selector=0.3)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "as for prompt tuning"),
        Search("learning_rates.selector", (1e-3, 1e-2), "below the prompt's rate"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors", "position", "length", "representation"})

    kind: Literal["dynamic_prompt"] = "dynamic_prompt"

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
    @override
    def sums_choices(self) -> bool:
        return self.selection != "st_gumbel"

    @property
    @override
    def passes(self) -> int:
        if not self.sums_choices:
            return 1
        return self.num_candidates if self.selection == "exact" else self.samples

    @property
    @override
    def notes(self) -> tuple[str, ...]:
        drawn = self.selection == "sampled", "selection: sampled"
        needed = {
            "samples": drawn,
            "entropy_bonus": drawn,
            "temperature": (
                self.learns_a_choice and not self.sums_choices,
                "a place or length that is chosen with selection: st_gumbel",
            ),
            "slots": (self.place == "slot", "place: slot"),
            "slot": (
                self.place == "slot" and self.position == "fixed",
                "place: slot with position: fixed",
            ),
            "feature": (
                "instance" in (self.position, self.length, self.representation),
                "what each input chooses",
            ),
            "init": (self.injection != "deep_overwrite", "injection: input or deep_add"),
            "pool_size": (self.representation == "instance", "representation: instance"),
            "shortest": (self.length != "fixed", "length: task or instance"),
        }
        plain = type(self)(kind=self.kind)
        idle = [
            f"{self.label}: {name} is only for {what}, and changes nothing here."
            for name, (is_met, what) in needed.items()
            if not is_met and getattr(self, name) != getattr(plain, name)
        ]
        return (*idle, *self._single_choices)

    @property
    def _single_choices(self) -> Iterator[str]:
        """Say what is chosen among one thing, and what draws more than there is."""
        if self.learns_position and self.num_places == 1:
            yield f"{self.label}: there is one place, so no position is chosen."
        if self.length != "fixed" and self.num_lengths == 1:
            yield f"{self.label}: there is one length, so none is chosen."
        if self.representation == "instance" and self.pool_size == 1:
            yield f"{self.label}: with pool_size: 1 there is nothing to mix."
        if self.selection == "sampled" and self.samples > self.num_candidates:
            yield (
                f"{self.label}: draws {self.samples} times among {self.num_candidates} choices; "
                "selection: exact takes no more passes."
            )

    @override
    def require_fit(self, facts: BackboneFacts) -> None:
        used = (self.slot,) if self.position == "fixed" else self.slots
        if self.place == "slot" and "border" in used and not facts.has_segments:
            raise ConfigError(
                f"{self.label} may put the prompt at the border of two texts, but the tokens of a "
                f"{facts.family} backbone do not say which text they belong to.",
                field="slots",
                hint="Leave border out of its slots, or choose another backbone.",
            )
        if self.injection == "deep_overwrite" and self.position != "fixed" and facts.is_absolute:
            raise ConfigError(
                f"Attention of this {facts.family} backbone is not known to see distances, so a "
                "replaced hidden state would not know its place, and choosing one would only shift "
                "the numbers of the tokens behind it.",
                field="injection",
                hint="Use injection: deep_add, which keeps it, or fix the position.",
            )

    @property
    @override
    def label(self) -> str:
        axes = (self.position, self.length, self.representation)
        parts = []
        name = PAPER_NAMES.get(axes)
        if name is None:
            is_random = self.position == "random"
            name = f"random_{self.place}" if is_random else "dynamic_prompt"
            named = list(zip(("position", "length", "vectors"), axes, strict=True))[is_random:]
            parts = [f"{axis} {scope}" for axis, scope in named if scope != "fixed"]
            if not parts and not is_random:
                parts = ["fixed"]
        if self.place == "slot":
            parts.append(
                f"slot {slot_name(self.slot)}" if self.position == "fixed" else self._slots
            )
        if self.injection != "input":
            parts.append(self.injection)
        if self.selection != "st_gumbel":
            count = f" {self.samples}" if self.selection == "sampled" else ""
            parts.append(f"{self.selection}{count}")
        if self.stages != "joint":
            parts.append(self.stages)
        if self.behaviour != "paper":
            parts.append(self.behaviour)
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
        if self.position in ("fixed", "random"):
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
        inside = {
            "input": "",
            "deep_add": "; every layer adds vectors of its own to their hidden states",
            "deep_overwrite": "; every layer replaces their hidden states by vectors of its own",
        }[self.injection]
        what = f"{self._how_many()}, {self._which()}, {self._where()}"
        return f"Dynamic prompt: {what}{inside}{how}{self._otherwise()}."

    def _otherwise(self) -> str:
        if self.stages == "two_stage":
            return "; first the cut is learnt with the mean of the pool, then the mixture"
        if self.behaviour == "paper_code":
            drawn = ", choices drawn where it is scored too" if self.draws_where_scored else ""
            return f"; as the authors programmed it{drawn}"
        return ""

    def _how_many(self) -> str:
        most = counted(self.num_virtual_tokens, "vector")
        least = f"{self.shortest} to " if self.shortest < self.num_virtual_tokens else ""
        return {
            "fixed": most,
            "task": f"{least}{most}, as many as were learnt for the task",
            "instance": f"{least}{most}, as many as each input chooses",
        }[self.length]

    def _which(self) -> str:
        if self.representation == "instance":
            return f"mixed for each input from a pool of {self.pool_size}"
        return "the same for all inputs"

    def _where(self) -> str:
        if self.place == "slot":
            places = f"inserted at one of {len(self.slots)} places"
            return {
                "fixed": f"inserted at one place ({slot_name(self.slot)})",
                "random": f"{places} drawn at random for each input",
                "task": f"{places} learnt for the task",
                "instance": f"{places} chosen for each input",
            }[self.position]
        return {
            "fixed": f"{self.vectors_before} of them before the input",
            "random": "split around the input at a cut drawn at random for each input",
            "task": "split around the input at one cut learnt for the task",
            "instance": "split around the input at a cut chosen for each input",
        }[self.position]

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        pool = self.pool_size if self.representation == "instance" else 1
        width = 0 if self.injection == "deep_overwrite" else facts.width
        if self.injection != "input":
            width += facts.layers * (facts.inside or facts.hidden)
        counts: dict[ParameterGroup, int] = {"prompt": pool * self.num_virtual_tokens * width}
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
        seen = facts.hidden if self.feature == "hidden_mean" else facts.width
        one = {"fixed": 0, "random": 0, "task": 1, "instance": seen + 1}
        return {axis: one[scope] * choices for axis, scope, choices in chosen}
