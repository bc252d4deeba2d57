"""What the checker says: findings for people, and how much was looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that must not be.

    Attributes:
        subject: What it is about, for example ``S3-12``.
        what: What is wrong, without a full stop.
        advice: What to do, without a full stop.
    """

    subject: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}; {self.advice}."


@dataclass
class Report:
    """Everything that one look at the database found.

    Attributes:
        counted: How many of each kind were looked at, by plural noun.
        findings: What must not be, in the order in which it was found.
    """

    counted: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def examined(self) -> str:
        """Say how much was looked at."""
        return ", ".join(f"{number:,} {noun}" for noun, number in self.counted.items())


@dataclass(frozen=True)
class Try:
    """One attempt as recorded."""

    number: int
    fence: int
    worker_id: str
    resumed_from: int
    outcome: str
    lives: bool


@dataclass(frozen=True)
class Life:
    """A run with its events and attempts, both ascending.

    Attributes:
        row: Columns of the run, ``number`` of its study, and ``worker_state`` and ``worker_role``
            of the worker that holds it.
        events: Version, state before and state after of each event.
        tries: Its attempts.
    """

    row: Any
    events: list[tuple[int, str, str]] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)

    @property
    def slug(self) -> str:
        """Short name for people."""
        return f"S{self.row.number}-{self.row.ordinal}"

    def finding(self, what: str, advice: str) -> Finding:
        """Say what is wrong with this run."""
        return Finding(self.slug, what, advice)
