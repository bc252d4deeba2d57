"""SMoP: a router sends each input to one of several short prompts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from core.methods._config import (
    Axis,
    BackboneFacts,
    LearningRates,
    ParameterGroup,
    Search,
    head_parameters,
)
from core.methods._soft_prompt import SoftPromptConfig


class Config(SoftPromptConfig):
    """k short prompts of l vectors and a linear router; each input gets one prompt, weighted."""

    TITLE: ClassVar[str] = "SMoP"
    SOURCE: ClassVar[str] = "Choi et al. 2023, EMNLP, Sparse Mixture of Prompts, section 2"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, selector=1e-2, head=1e-2)
    ADAFACTOR_RATES: ClassVar[LearningRates] = LearningRates(prompt=0.5, selector=0.5)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "as for prompt tuning"),
        Search("learning_rates.selector", (1e-3, 1e-2), "as for dynamic prompts"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors", "representation"})

    kind: Literal["smop"] = "smop"
    num_virtual_tokens: int = Field(
        default=5,
        ge=1,
        le=256,
        title="Virtual tokens",
        description="Vectors of each prompt, a count.",
    )
    pool_size: int = Field(
        default=4, ge=1, le=64, title="Pool size", description="Prompts to choose from, a count."
    )

    @property
    @override
    def refuses_words(self) -> str:
        return "the prompts of a pool would start alike"

    @property
    @override
    def notes(self) -> tuple[str, ...]:
        if self.pool_size > 1:
            return ()
        return (f"{self.label}: with pool_size: 1 the router has nothing to choose.",)

    @override
    def describe(self) -> str:
        return (
            f"SMoP: a router gives each input one of {self.pool_size} prompts of "
            f"{self.num_virtual_tokens} vectors, weighted by its probability, and a linear head "
            "is trained; the backbone stays frozen."
        )

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        return {
            "prompt": self.pool_size * self.num_virtual_tokens * facts.width,
            "selector": sum(self.selector_sizes(facts).values()),
            "head": head_parameters(facts, num_outputs),
        }

    @override
    def selector_sizes(self, facts: BackboneFacts) -> dict[Axis, int]:
        return {"representation": self.pool_size * facts.width}
