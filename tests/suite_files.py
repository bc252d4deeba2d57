"""Small folders in the layout of SuperGLUE, written for the tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]


def write_lines(folder: Path, stem: str, lines: Iterable[Line]) -> Path:
    """Write one JSON object a line."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.jsonl"
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def pair_lines(count: int, labels: tuple[str, ...], start: int = 0) -> list[dict[str, Any]]:
    """Lines as CB, RTE and AX-g have them; two consecutive ones share their hypothesis."""
    return [
        {
            "premise": f"Premise number {i}.",
            "hypothesis": f"Hypothesis number {i // 2}.",
            "label": labels[i % len(labels)],
            "idx": i,
        }
        for i in range(start, start + count)
    ]


RTE_LABELS = ("entailment", "not_entailment")
CB_LABELS = ("contradiction", "entailment", "neutral")


def passage_line(number: int, sizes: tuple[int, ...] = (3, 2)) -> dict[str, Any]:
    """A line as MultiRC has them, with so many answers for each of its questions."""
    answers = iter(range(sum(sizes)))
    return {
        "idx": number,
        "passage": {
            "text": f"Passage number {number}.",
            "questions": [
                {
                    "idx": place,
                    "question": f"Question {place}?",
                    "answers": [
                        {"idx": k, "text": f"Answer {k}", "label": k % 2}
                        for _, k in zip(range(size), answers, strict=False)
                    ],
                }
                for place, size in enumerate(sizes)
            ],
        },
    }


def news_line(number: int = 0) -> dict[str, Any]:
    """A line as ReCoRD has them: two queries on one passage, in which Ada occurs twice."""
    text = f"Ada met Bob in Rome.\n@highlight\nAda left on day {number}"
    places = [("Ada", 0), ("Bob", 8), ("Rome", 15), ("Ada", 32)]
    return {
        "idx": number,
        "passage": {
            "text": text,
            "entities": [{"start": at, "end": at + len(name) - 1} for name, at in places],
        },
        "qas": [
            {
                "idx": 2 * number,
                "query": "On the last day @placeholder left; @placeholder was glad.",
                "answers": [{"start": 0, "end": 2, "text": "Ada"}],
            },
            {
                "idx": 2 * number + 1,
                "query": "The meeting was in @placeholder.",
                "answers": [
                    {"start": 15, "end": 18, "text": "Rome"},
                    {"start": 8, "end": 10, "text": "Bob"},
                ],
            },
        ],
    }
