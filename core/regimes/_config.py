"""What every regime's configuration has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from core.methods._config import Axis, Part

Source = Literal["official", "fewglue"]


@dataclass(frozen=True)
class Candidates:
    """Training examples that a regime draws from, one entry an example.

    Attributes:
        labels: Class index, or index of the right choice.
        keys: Stable key (a digest of texts and label).
        groups: Normalised group; examples of one group are never torn between train and dev.
        num_labels: Classes of the task; 0 where choices vary in number.
        names: Names of the classes, for messages; empty: they are told by number.
    """

    labels: Sequence[int]
    keys: Sequence[str]
    groups: Sequence[str]
    num_labels: int
    names: Sequence[str] = ()

    def name(self, label: int) -> str:
        """Name of a class for a message."""
        return f"class '{self.names[label]}'" if self.names else f"class number {label + 1}"


@dataclass(frozen=True)
class Draw:
    """What a regime chose, as indices into the candidates, ascending.

    Attributes:
        train: Examples to train on.
        dev: Examples of a small dev of its own; None: the task's dev as it is.
    """

    train: list[int]
    dev: list[int] | None = None


class RegimeConfig(Part, ABC):
    """Base of all regimes; ``kind`` is the folder's name."""

    TITLE: ClassVar[str] = ""

    kind: str

    @property
    def label(self) -> str:
        """Short name in tables, at most 80 characters; equal labels mean equal settings."""
        return self.kind

    @property
    def source(self) -> Source:
        """Which files train is read from: the task's own, or FewGLUE's fixed 32."""
        return "official"

    @property
    def is_joint(self) -> bool:
        """True when one run is trained on several tasks."""
        return False

    @property
    def has_own_dev(self) -> bool:
        """True when dev is drawn with train, or comes with it, and is not the task's."""
        return False

    @property
    def own_axes(self) -> tuple[Axis, ...]:
        """What each task of a joint training has for itself; everything but heads is shared."""
        return ()

    def updates_of(self, sizes: Sequence[int], total: int) -> list[int]:
        """Split a run's updates among the tasks that it reads; one task gets all of them.

        Args:
            sizes: Training examples of each task.
            total: Updates of all of them together, a count.

        Returns:
            Updates of each task.
        """
        return [total] * len(sizes)

    @abstractmethod
    def select(self, candidates: Candidates, data_seed: int) -> Draw:
        """Choose training examples.

        The choice depends on the examples and the seed, never on their order in the file.

        Raises:
            DataError: If there are fewer examples than asked for, or only one class.
        """
