"""Examples of a task and its three splits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from dataclasses import dataclass


def normalised(text: str) -> str:
    """Fold case, Unicode form and white space, so that equal texts compare equal."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled input.

    Attributes:
        segments: One or two texts, as the template made them.
        label: Class index.
        group: Normalised text whose examples must stay in one split.
    """

    segments: tuple[str, ...]
    label: int
    group: str

    @property
    def text_key(self) -> str:
        """Normalised segments: equal for examples that read the same."""
        return "\x1f".join(normalised(segment) for segment in self.segments)

    @property
    def key(self) -> str:
        """Digest of segments and label, stable under re-ordering of the file."""
        content = "\x1f".join((*self.segments, str(self.label)))
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class TaskData:
    """A task, read and split.

    Attributes:
        name: Task name in tables.
        title: Task name for people.
        labels: Classes in index order.
        train: Examples to train on, before a regime draws from them.
        dev: Examples that choose configurations and checkpoints.
        test: Examples that are reported; scored once.
        metrics: Names in ``core.metrics``; the first selects.
        version: Digest of the files' contents.
        test_source: File that ``test`` was read from.
        dev_source: File that ``dev`` was read or cut from.
        notes: What a reader of the numbers should know.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    metrics: tuple[str, ...]
    version: str
    test_source: str
    dev_source: str
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[Example, ...]:
        """Return ``train``, ``dev`` or ``test``."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]

    def majority_share(self, split: str) -> float:
        """Share of the most frequent class of a split, 0 to 1: accuracy of always guessing it."""
        examples = self.split(split)
        counts = Counter(example.label for example in examples)
        return max(counts.values()) / len(examples)
