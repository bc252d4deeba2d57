"""BitFit: the bias terms of the backbone are trained, and nothing else in it."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from core.errors import ConfigError
from core.methods._config import (
    BackboneFacts,
    LearningRates,
    MethodConfig,
    ParameterGroup,
    Search,
    head_parameters,
)


class Config(MethodConfig):
    """All bias terms trainable; a backbone without any is refused."""

    TITLE: ClassVar[str] = "BitFit"
    SOURCE: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199, section 3"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(head=1e-2, backbone=1e-3)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search(
            "learning_rates.backbone", (1e-4, 4e-4, 1e-3, 3e-3), "arXiv 2106.10199's code, widened"
        ),
        Search("learning_rates.head", (1e-3, 1e-2), "as for fine-tuning and the linear probe"),
    )
    SEPARATE: ClassVar[bool] = True

    kind: Literal["bitfit"] = "bitfit"

    @override
    def describe(self) -> str:
        return (
            "Trains every bias term of the backbone and a linear head; all other weights stay "
            "frozen."
        )

    @override
    def require_fit(self, facts: BackboneFacts) -> None:
        if not facts.bias_parameters:
            raise ConfigError(
                f"This {facts.family} backbone has no bias terms, so BitFit would train nothing.",
                field="kind",
                hint="Choose LoRA or a prompt for it, or another backbone for BitFit.",
            )

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        language = 0 if num_outputs else facts.language_biases
        return {
            "backbone": facts.bias_parameters + language,
            "head": head_parameters(facts, num_outputs),
        }
