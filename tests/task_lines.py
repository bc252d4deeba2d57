"""Lines as each task's files have them, written for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.data.examples import Example
from core.data.readers import Row, to_examples
from core.tasks import TASKS

PAIRS: list[dict[str, Any]] = [
    {"premise": "The film was great.", "hypothesis": "The film was not bad."},
    {"premise": "He read {the} book at work.", "hypothesis": "She was at work!"},
]
QUESTION = {"question": "is the book good", "passage": "The book is good. It was a film."}

LINES: dict[str, list[dict[str, Any]]] = {
    "rte": [
        PAIRS[0] | {"label": "entailment", "idx": 0},
        PAIRS[1] | {"label": "not_entailment", "idx": 1},
    ],
    "cb": [
        PAIRS[0] | {"label": "entailment", "idx": 0},
        PAIRS[1] | {"label": "neutral", "idx": 1},
    ],
    "boolq": [QUESTION | {"label": True, "idx": 0}],
    "boolq-devsplit": [QUESTION | {"label": False, "idx": 0}],
    "ax-g": [
        PAIRS[0] | {"label": "entailment", "idx": 0},
        {**PAIRS[1], "hypothesis": PAIRS[0]["hypothesis"], "label": "not_entailment", "idx": 1},
    ],
    "ax-b": [
        {
            "sentence1": "We were at work.",
            "sentence2": "We were not at the film.",
            "label": "not_entailment",
            "idx": 0,
            "logic": "",
        }
    ],
    "copa": [
        {
            "premise": "The book was wrong.",
            "choice1": "He was at work.",
            "choice2": "She wrote it.",
            "question": question,
            "label": label,
            "idx": label,
        }
        for label, question in enumerate(("cause", "effect"))
    ],
    "multirc": [
        {
            "idx": 0,
            "passage": {
                "text": "They were at the film. The film was good.",
                "questions": [
                    {
                        "idx": 0,
                        "question": "Where were they?",
                        "answers": [
                            {"idx": 0, "text": "At the film", "label": 1},
                            {"idx": 1, "text": "At work", "label": 0},
                        ],
                    }
                ],
            },
        }
    ],
    "wic": [
        {
            "word": "book",
            "sentence1": "My book is good.",
            "sentence2": "The books are bad.",
            "start1": 3,
            "end1": 7,
            "start2": 4,
            "end2": 9,
            "label": True,
            "idx": 0,
            "version": 1.1,
        }
    ],
    "wsc": [
        {
            "text": "The film was great when she, at work, was with it.",
            "target": {
                "span1_text": "The film",
                "span1_index": 0,
                "span2_text": "it",
                "span2_index": 10,
            },
            "label": True,
            "idx": 0,
        }
    ],
}


def examples_of(name: str, template: str = "") -> tuple[Example, ...]:
    """Read a task's lines with a template."""
    spec = TASKS[name]
    rows = [Row(number, line) for number, line in enumerate(LINES[name], start=1)]
    found = to_examples(rows, spec, spec.labels, Path("made.jsonl"), template=template)
    assert found
    return found
