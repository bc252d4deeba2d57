"""Prompt tuning: a soft prompt at a fixed cut around the input."""

from __future__ import annotations

from typing import ClassVar, Literal

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
    """l trainable vectors, ``cut`` of them before the input and the others after it."""

    TITLE: ClassVar[str] = "Prompt tuning"
    SOURCE: ClassVar[str] = "Lester et al. 2021, arXiv 2104.08691, section 2"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(prompt=3e-2, head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.prompt", (3e-3, 1e-2, 3e-2, 1e-1), "a decade around the default"),
        Search("learning_rates.head", (3e-3, 1e-2), "as for the linear probe"),
    )
    AXES: ClassVar[frozenset[Axis]] = frozenset({"vectors"})

    kind: Literal["prompt_tuning"] = "prompt_tuning"

    @property
    @override
    def label(self) -> str:
        if self.cut is None or self.cut == self.num_virtual_tokens:
            return "prompt_tuning"
        return f"prompt_tuning (cut {self.cut})"

    @override
    def describe(self) -> str:
        return (
            f"Trains {self.num_virtual_tokens} prompt vectors, {self.fixed_place}, and a linear "
            "head; the backbone stays frozen."
        )

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        return {
            "prompt": self.num_virtual_tokens * facts.hidden,
            "head": head_parameters(facts, num_outputs),
        }
