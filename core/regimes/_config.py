"""What every regime's configuration has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from core.methods._config import Part


class RegimeConfig(Part, ABC):
    """Base of all regimes; ``kind`` is the folder's name."""

    TITLE: ClassVar[str] = ""

    kind: str

    @property
    def label(self) -> str:
        """Short name in tables."""
        return self.kind

    @abstractmethod
    def select(
        self, labels: Sequence[int], keys: Sequence[str], num_labels: int, data_seed: int
    ) -> list[int]:
        """Choose training examples.

        The choice depends on the examples and the seed, never on their order in the file.

        Args:
            labels: Class index of each example of the train split.
            keys: Stable, unique key of each example (a digest of its texts and label).
            num_labels: Classes of the task.
            data_seed: Seed of the draw.

        Returns:
            Indices into the train split, ascending.

        Raises:
            DataError: If a class has fewer examples than asked for.
        """
