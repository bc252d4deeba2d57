"""Examples of a task and its splits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.metrics.judged import Kind

Segments = tuple[str, ...]


def normalised(text: str) -> str:
    """Fold case, Unicode form and white space, so that equal texts compare equal."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _digest(texts: Iterable[Iterable[str]], label: int) -> str:
    content = "\x1e".join("\x1f".join(row) for row in texts)
    return hashlib.sha256(f"{content}\x1f{label}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled input.

    Attributes:
        rows: What the backbone reads: one row of one or two segments, or, where choices are
            scored together, one row a choice.
        label: Class index; of choices the index of the first right one; -1 where nobody knows.
        group: Normalised text whose examples must stay in one split.
        right: Indices of all right choices; empty where classes are predicted.
        choices: Texts of the choices; empty where classes are predicted.
        question: What belongs together in a metric (a question's answers, a pair); may be empty.
        id: Official identifier as canonical JSON; empty when the file has none.
        typed: What a person would type to get these rows, in the order of ``TaskData.inputs``;
            empty where an input cannot be typed.
    """

    rows: tuple[Segments, ...]
    label: int
    group: str
    right: tuple[int, ...] = ()
    choices: tuple[str, ...] = ()
    question: str = ""
    id: str = ""
    typed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Digest of rows and label, stable under re-ordering of the file."""
        return _digest(self.rows, self.label)

    @property
    def draw_key(self) -> str:
        """Digest of what the example is under any template, and of its label.

        That is what a person would type, and the rows where an input cannot be typed.
        """
        return _digest((self.typed, self.choices), self.label) if self.typed else self.key


@dataclass(frozen=True)
class ExtraSet:
    """Examples that a run is scored on once, at its end, and never trained or chosen on.

    Attributes:
        name: Name in results: ``ax-b``, ``ax-g``, or ``leaderboard`` for the official test file,
            whose labels are hidden.
        title: Name for people.
        examples: What is scored; labels are -1 where nobody knows them.
        metrics: Names in ``core.metrics``; empty where labels are hidden.
        version: Digest of the file's content.
    """

    name: str
    title: str
    examples: tuple[Example, ...]
    metrics: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class TaskData:
    """A task, read and split.

    Attributes:
        name: Task name in tables.
        title: Task name for people.
        labels: Classes in index order; of choices their names, empty where their number varies.
        train: Examples to train on, before a regime draws from them.
        dev: Examples that choose configurations and checkpoints; empty for a refit on all of train.
        test: Examples that are reported; scored once.
        metrics: Names in ``core.metrics``; the first selects.
        version: Digest of the files' contents.
        test_source: File that ``test`` was read from.
        dev_source: File that ``dev`` was read or cut from.
        notes: What a reader of the numbers should know.
        kind: ``classes``, or ``choices`` that are scored together by one output.
        template: Name of the template that made the rows.
        inputs: Names of the texts that a person would type, in order; empty: cannot be typed.
        extra: Sets that are scored once at the end.
        words: Word of each class that a verbalizer scores; empty where choices are scored.
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
    kind: Kind = "classes"
    template: str = "plain"
    inputs: tuple[str, ...] = ()
    extra: Mapping[str, ExtraSet] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Outputs of a classification head: one a class, or one score a choice."""
        return len(self.labels) if self.kind == "classes" else 1

    def split(self, name: str) -> tuple[Example, ...]:
        """Return ``train``, ``dev`` or ``test``."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]

    def majority_share(self, split: str) -> float:
        """Accuracy of the best constant guess, 0 to 1; NaN without examples.

        Where the number of choices varies no position is a guess that means anything; there it is
        the accuracy of choosing evenly.
        """
        examples = self.split(split)
        if not examples:
            return float("nan")
        if self.kind == "choices" and not self.labels:
            return float(np.mean([len(e.right) / len(e.choices) for e in examples]))
        counts = Counter(example.label for example in examples)
        return max(counts.values()) / len(examples)
