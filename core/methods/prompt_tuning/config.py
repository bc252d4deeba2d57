"""Prompt tuning: a soft prompt at a fixed cut around the input."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from core.methods._config import (
    BackboneFacts,
    LearningRates,
    MethodConfig,
    ParameterGroup,
    Search,
    head_parameters,
)


class Config(MethodConfig):
    """l trainable vectors, ``cut`` of them before the input and the others after it."""

    TITLE: ClassVar[str] = "Prompt tuning"
    SOURCE: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691, section 2"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "a decade around the default"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )

    kind: Literal["prompt_tuning"] = "prompt_tuning"
    num_virtual_tokens: int = Field(
        default=10, ge=1, le=256, title="Virtual tokens", description="Prompt vectors, a count."
    )
    cut: int | None = Field(
        default=None,
        ge=0,
        title="Cut",
        description="Vectors before the input, a count; empty: all (prefix), 0: none (postfix).",
    )
    init: Literal["vocabulary", "uniform"] = Field(
        default="vocabulary",
        title="Initial vectors",
        description="Embeddings of random vocabulary entries, or uniform in -0.5..0.5.",
    )

    @model_validator(mode="after")
    def _cut_within_prompt(self) -> Config:
        if self.cut is not None and self.cut > self.num_virtual_tokens:
            raise ValueError(
                f"cut {self.cut} is larger than num_virtual_tokens {self.num_virtual_tokens}"
            )
        return self

    @property
    def vectors_before(self) -> int:
        """Vectors that stand before the input, a count."""
        return self.num_virtual_tokens if self.cut is None else self.cut

    @property
    @override
    def label(self) -> str:
        if self.cut is None or self.cut == self.num_virtual_tokens:
            return "prompt_tuning"
        return f"prompt_tuning (cut {self.cut})"

    @property
    @override
    def prompt_length(self) -> int:
        return self.num_virtual_tokens

    @override
    def describe(self) -> str:
        after = self.num_virtual_tokens - self.vectors_before
        return (
            f"Trains {self.num_virtual_tokens} prompt vectors, {self.vectors_before} before and "
            f"{after} after the input, and a linear head; the backbone stays frozen."
        )

    @override
    def num_trainable(self, facts: BackboneFacts, num_labels: int) -> dict[ParameterGroup, int]:
        return {
            "prompt": self.num_virtual_tokens * facts.hidden,
            "head": head_parameters(facts, num_labels),
        }
