"""Fine-tuning: every weight of the backbone and of the head that reads it are trained."""

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
    """All weights trainable; the usual upper reference."""

    TITLE: ClassVar[str] = "Fine-tuning"
    SOURCE: ClassVar[str] = "Devlin et al. 2019, arXiv 1810.04805, section 4.1"
    DEFAULT_RATES: ClassVar[LearningRates] = LearningRates(head=1e-3, backbone=5e-5)
    SEARCH: ClassVar[tuple[Search, ...]] = (
        Search(
            "learning_rates.backbone", (2e-5, 3e-5, 5e-5, 1e-4), "arXiv 1810.04805, A.3, and 1e-4"
        ),
    )
    SEPARATE: ClassVar[bool] = True

    kind: Literal["fine_tuning"] = "fine_tuning"

    @override
    def describe(self) -> str:
        return "Trains every weight of the backbone and of the head that reads it out."

    @override
    def num_trainable(self, facts: BackboneFacts, num_outputs: int) -> dict[ParameterGroup, int]:
        language = 0 if num_outputs else facts.language_parameters
        return {
            "backbone": facts.total_parameters + language,
            "head": head_parameters(facts, num_outputs),
        }
