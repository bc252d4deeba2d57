"""Few-shot: k training examples of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from core.errors import DataError
from core.regimes._config import RegimeConfig
from core.regimes._draw import ranked


class Config(RegimeConfig):
    """k examples of each label, drawn by the data seed, whatever the initial weights' seed."""

    TITLE: ClassVar[str] = "Few-shot"

    kind: Literal["few_shot"] = "few_shot"
    k: int = Field(
        default=16, ge=1, le=10_000, title="k", description="Examples of each label, a count."
    )

    @property
    @override
    def label(self) -> str:
        return f"few_shot (k = {self.k})"

    @override
    def select(
        self, labels: Sequence[int], keys: Sequence[str], num_labels: int, data_seed: int
    ) -> list[int]:
        chosen: list[int] = []
        for label in range(num_labels):
            members = [i for i in range(len(labels)) if labels[i] == label]
            if len(members) < self.k:
                raise DataError(
                    f"few_shot needs k = {self.k} examples of each label, but class number "
                    f"{label + 1} has only {len(members)} in train.",
                    hint="Choose a smaller k.",
                )
            chosen += ranked(members, keys, data_seed, "few_shot")[: self.k]
        return sorted(chosen)
