"""Guessing what the columns of a file are; only a clear case is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.data.own.model import Column, Role

SPLIT_VALUES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "development": "dev",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Usual names of splits, in lower case."""

LABELS = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "gold_label",
    "sentiment",
    "intent",
    "topic",
    "y",
    "stars",
    "rating",
)
SPLITS = ("split", "subset", "partition", "set", "fold")
GROUPS = ("group", "group_id", "document", "doc_id", "document_id", "passage_id", "author", "user")
TEXTS = (
    "text",
    "sentence",
    "review",
    "content",
    "message",
    "comment",
    "body",
    "utterance",
    "tweet",
    "document",
    "description",
    "question",
    "query",
)
PAIRS = (
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "passage"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("title", "text"),
    ("query", "document"),
)
MOST_LABELS = 256
FEW_LABELS = 50
TEXT_CHARACTERS = 12.0


def split_of(value: str) -> str:
    """Return the split that a value usually names, or nothing."""
    return SPLIT_VALUES.get(value.strip().lower(), "")


def guess_roles(columns: Sequence[Column], num_rows: int) -> list[Column]:
    """Set the role of every column that clearly has one."""
    free = {column.name: column for column in columns if not column.refused and column.distinct}
    roles: dict[str, Role] = {}

    def take(name: str, role: Role) -> None:
        if name:
            roles[name] = role
            free.pop(name)

    take(_split(free), "split")
    take(_label(free, num_rows), "label")
    for name in _texts(free):
        take(name, "text")
    take(_named(free, GROUPS), "group")
    return [replace(column, role=roles.get(column.name, "")) for column in columns]


def _named(free: dict[str, Column], names: Sequence[str]) -> str:
    lowered = {name.lower(): name for name in free}
    return next((lowered[name] for name in names if name in lowered), "")


def _split(free: dict[str, Column]) -> str:
    fitting = {
        name: column
        for name, column in free.items()
        if column.values and not column.missing and all(map(split_of, column.values))
    }
    named = _named(fitting, SPLITS)
    several = [name for name, column in fitting.items() if len(column.values) > 1]
    return named or (several[0] if len(several) == 1 else "")


def _label(free: dict[str, Column], num_rows: int) -> str:
    fitting = {
        name: column
        for name, column in free.items()
        if 2 <= column.distinct <= MOST_LABELS and column.values
    }
    named = _named(fitting, LABELS)
    few = [
        name
        for name, column in fitting.items()
        if column.distinct <= FEW_LABELS
        and 2 * column.distinct <= num_rows
        and name.lower() not in (*TEXTS, *GROUPS)
    ]
    return named or (few[0] if len(few) == 1 else "")


def _texts(free: dict[str, Column]) -> tuple[str, ...]:
    lowered = {name.lower(): name for name in free}
    for pair in PAIRS:
        if all(name in lowered for name in pair):
            return tuple(lowered[name] for name in pair)
    named = _named(free, TEXTS)
    if named:
        return (named,)
    long = [name for name, column in free.items() if column.mean_characters >= TEXT_CHARACTERS]
    if len(long) == 1:
        return (long[0],)
    return (next(iter(free)),) if len(free) == 1 else ()
