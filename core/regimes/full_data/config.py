"""Full data: all training examples, or a stratified cut of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from core.regimes._config import Candidates, Draw, RegimeConfig
from core.regimes._draw import ranked


class Config(RegimeConfig):
    """Every training example, or ``max_train`` of them with the labels' shares kept."""

    TITLE: ClassVar[str] = "Full data"

    kind: Literal["full_data"] = "full_data"
    max_train: int | None = Field(
        default=None,
        ge=2,
        title="At most",
        description="Training examples at most, a count; empty: all. Drawn by the data seed.",
    )

    @property
    @override
    def label(self) -> str:
        return "full_data" if self.max_train is None else f"full_data (≤ {self.max_train})"

    @override
    def select(self, candidates: Candidates, data_seed: int) -> Draw:
        labels, keys = candidates.labels, candidates.keys
        everything = range(len(labels))
        if self.max_train is None or len(labels) <= self.max_train:
            return Draw(list(everything))
        by_label = [
            ranked([i for i in everything if labels[i] == label], keys, data_seed, "full_data")
            for label in sorted(set(labels))
        ]
        # Fractional position within its class orders the classes' heads evenly, so that any
        # prefix keeps the shares of the labels.
        merged = sorted(
            (position / len(members), label, index)
            for label, members in enumerate(by_label)
            for position, index in enumerate(members)
        )
        return Draw(sorted(index for _, _, index in merged[: self.max_train]))
