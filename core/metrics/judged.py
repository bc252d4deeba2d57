"""What a metric judges: right answers beside given ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["classes", "choices"]


@dataclass(frozen=True)
class Judged:
    """Right and given answers of a split, in one order.

    Attributes:
        labels: Right classes (of choices: the first right one), shape (examples,).
        predictions: Given classes or choices, the same shape.
        num_labels: Classes of the task, a count; 0 where choices vary in number.
        right: All right choices of each example; empty where classes are predicted.
        choices: Texts of each example's choices; empty where classes are predicted.
        questions: What belongs together (a question's answers, a pair); empty: nothing does.

    Raises:
        ValueError: If shapes differ or a class is outside 0..num_labels-1.
    """

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    num_labels: int
    right: Sequence[tuple[int, ...]] = ()
    choices: Sequence[tuple[str, ...]] = ()
    questions: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what no metric could judge."""
        self.check()

    @classmethod
    def of(cls, labels: ArrayLike, predictions: ArrayLike, num_labels: int) -> Judged:
        """Judge plain classes.

        Raises:
            ValueError: If the shapes differ or a class is outside 0..num_labels-1.
        """
        return cls(
            np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64), num_labels
        )

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether each example got a right answer, shape (examples,)."""
        if not self.right:
            found: NDArray[np.bool_] = self.labels == self.predictions
            return found
        pairs = zip(self.right, self.predictions.tolist(), strict=True)
        return np.array([given in right for right, given in pairs], dtype=np.bool_)

    def check(self) -> None:
        """Raise ValueError when shapes differ or a class is outside 0..num_labels-1."""
        right, predicted = self.labels, self.predictions
        if right.ndim != 1 or right.shape != predicted.shape:
            raise ValueError(f"labels {right.shape} and predictions {predicted.shape} do not match")
        for name in ("right", "choices", "questions"):
            size = len(getattr(self, name))
            if size and size != len(right):
                raise ValueError(f"{size} {name} and {len(right)} labels do not match")
        both = np.concatenate([right, predicted])
        if self.num_labels and both.size and (both.min() < 0 or both.max() >= self.num_labels):
            raise ValueError(
                f"classes {both.min()}..{both.max()} are outside 0..{self.num_labels - 1}"
            )
