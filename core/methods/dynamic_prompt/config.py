"""Dynamic prompt: where the soft prompt stands and which vectors it is made of are learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

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

PAPER_NAMES: Mapping[tuple[str, str], str] = {
    ("task", "fixed"): "adap_pos",
    ("instance", "fixed"): "adap_ins_pos",
    ("fixed", "instance"): "adap_ins_vec",
    ("task", "instance"): "adap_pos_ins_vec",
    ("instance", "instance"): "adap_ins_vec_pos",
}


class Temperature(Part):
    """Gumbel-Softmax temperature; it scales the selector's gradient, never the chosen cut."""

    start: float = Field(
        default=1.0, gt=0, le=100, title="Start", description="At the first update, dimensionless."
    )
    end: float = Field(
        default=0.5, gt=0, le=100, title="End", description="At the last update, dimensionless."
    )


class Config(SoftPromptConfig):
    """One module with independent axes: position, representation, and what the selector sees."""

    TITLE: ClassVar[str] = "Dynamic prompt"
    SOURCE: ClassVar[str] = "Yang et al. 2023, arXiv 2303.02909, section 3"
    ALIASES: ClassVar[Mapping[str, Mapping[str, object]]] = {
        name: {"position": position, "representation": representation}
        for (position, representation), name in PAPER_NAMES.items()
    }
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, selector=1e-2, head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "as for prompt tuning"),
        Search("learning_rates.selector", (1e-3, 1e-2), "below the prompt's rate"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors", "position", "representation"})

    kind: Literal["dynamic_prompt"] = "dynamic_prompt"
    position: Scope = Field(
        default="instance",
        title="Position",
        description="Who chooses the cut: nobody (fixed), one choice for the task, or each input.",
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
    selection: Literal["st_gumbel"] = Field(
        default="st_gumbel",
        title="Selection",
        description="How the choice is trained: straight-through Gumbel-Softmax.",
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
        return self

    @property
    @override
    def label(self) -> str:
        return PAPER_NAMES.get((self.position, self.representation), "dynamic_prompt (fixed)")

    @property
    @override
    def axes(self) -> frozenset[Axis]:
        fixed: set[Axis] = set()
        if self.position == "fixed":
            fixed.add("position")
        if self.representation == "fixed":
            fixed.add("representation")
        return self.AXES - fixed

    @override
    def describe(self) -> str:
        where = {
            "fixed": f"{self.vectors_before} of them before the input",
            "task": "split around the input at one cut learnt for the task",
            "instance": "split around the input at a cut chosen for each input",
        }[self.position]
        which = (
            f"mixed for each input from a pool of {self.pool_size}"
            if self.representation == "instance"
            else "the same for all inputs"
        )
        return f"Dynamic prompt: {self.num_virtual_tokens} vectors, {which}, {where}."

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        length, hidden = self.num_virtual_tokens, facts.hidden
        pool = self.pool_size if self.representation == "instance" else 1
        selector = 0
        if self.representation == "instance":
            selector += hidden * pool + pool
        if self.position == "task":
            selector += length + 1
        elif self.position == "instance":
            selector += (hidden + 1) * (length + 1)
        counts: dict[ParameterGroup, int] = {"prompt": pool * length * hidden}
        if selector:
            counts["selector"] = selector
        counts["head"] = head_parameters(facts, num_outputs)
        return counts
