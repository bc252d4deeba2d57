"""Settings that every soft prompt around the input has in common."""

from __future__ import annotations

from abc import ABC
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from core.methods._config import MethodConfig


class SoftPromptConfig(MethodConfig, ABC):
    """l prompt vectors in the input sequence; when the cut is fixed, it is ``cut``."""

    num_virtual_tokens: int = Field(
        default=10, ge=1, le=256, title="Virtual tokens", description="Prompt vectors, a count."
    )
    cut: int | None = Field(
        default=None,
        ge=0,
        title="Cut",
        description="Vectors before the input when the position is fixed, a count; empty: all "
        "(prefix), 0: none (postfix).",
    )
    init: Literal["vocabulary", "uniform"] = Field(
        default="vocabulary",
        title="Initial vectors",
        description="Embeddings of random vocabulary entries, or uniform in -0.5..0.5.",
    )

    @model_validator(mode="after")
    def _cut_within_prompt(self) -> SoftPromptConfig:
        if self.cut is not None and self.cut > self.num_virtual_tokens:
            raise ValueError(
                f"cut {self.cut} is larger than num_virtual_tokens {self.num_virtual_tokens}"
            )
        return self

    @property
    def vectors_before(self) -> int:
        """Vectors before the input when the position is fixed, a count."""
        return self.num_virtual_tokens if self.cut is None else self.cut

    @property
    @override
    def prompt_length(self) -> int:
        return self.num_virtual_tokens

    @property
    def fixed_place(self) -> str:
        """How many vectors stand before and after the input when the position is fixed."""
        after = self.prompt_length - self.vectors_before
        return f"{self.vectors_before} before and {after} after the input"
