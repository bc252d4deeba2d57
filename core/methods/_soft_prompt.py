"""Settings that every soft prompt around the input has in common."""

from __future__ import annotations

from abc import ABC
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from core.methods._config import MethodConfig

Init = Literal["vocabulary", "label_words", "uniform"]


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
    init: Init = Field(
        default="vocabulary",
        title="Initial vectors",
        description="vocabulary: embeddings of random entries. label_words: the first ones those "
        "of the tasks' label words, the others random entries. uniform: in -0.5..0.5.",
    )

    @model_validator(mode="after")
    def _cut_within_prompt(self) -> SoftPromptConfig:
        if self.cut is not None and self.cut > self.num_virtual_tokens:
            raise ValueError(
                f"cut {self.cut} is larger than num_virtual_tokens {self.num_virtual_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _words_can_be_vectors(self) -> SoftPromptConfig:
        if self.starts_from_words and self.refuses_words:
            raise ValueError(f"init: label_words: {self.refuses_words}; use init: vocabulary")
        return self

    @property
    @override
    def starts_from_words(self) -> bool:
        return self.init == "label_words"

    @property
    def refuses_words(self) -> str:
        """Why no vector of the prompt can start as a label word, as a clause; empty: it can.

        A method whose ``build`` takes the words says so here.
        """
        return f"{self.kind} has no use for words"

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
