"""Linear probe: a linear head on the frozen backbone's pooled output."""

from __future__ import annotations

from typing import ClassVar, Literal

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
    """No prompt; what the frozen features alone give. Every method should beat it."""

    TITLE: ClassVar[str] = "Linear probe"
    SOURCE: ClassVar[str] = "Alain and Bengio 2016, arXiv 1610.01644"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(head=1e-2)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search("learning_rates.head", (1e-3, 3e-3, 1e-2, 3e-2), "a decade around the default"),
    )

    kind: Literal["linear_probe"] = "linear_probe"

    @override
    def describe(self) -> str:
        return "Trains a linear head on the frozen backbone; nothing is added to the input."

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        return {"head": head_parameters(facts, num_outputs)}
