"""Small data sets in official layouts, for tests of the training engine, and runs on them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.recipe import RunConfig
from tests.training_tools import BAD, FILLERS, GOOD, write_task


def _write(folder: Path, stem: str, rows: Iterable[Mapping[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{stem}.jsonl").write_text(text, encoding="utf-8")


def _text(draw: random.Random, *lengths: int) -> str:
    return " ".join(draw.choices(FILLERS, k=draw.choice(lengths)))


def write_copa(folder: Path, *, train: int = 60, val: int = 24, test: int = 0) -> Path:
    """Write premises with two choices; the right one holds a good word, the other a bad one."""
    draw = random.Random(11)
    for stem, count in (("train", train), ("val", val), ("test", test)):
        rows = []
        for index in range(count):
            label = draw.randrange(2)
            choices = [
                f"{_text(draw, 2, 6, 11)} {draw.choice(GOOD if place == label else BAD)}"
                for place in range(2)
            ]
            row = {
                "premise": f"{_text(draw, 3, 8)} {stem} {index}",
                "question": draw.choice(("cause", "effect")),
                "choice1": choices[0],
                "choice2": choices[1],
                "idx": index,
            }
            rows.append(row if stem == "test" else {**row, "label": label})
        if rows:
            _write(folder, stem, rows)
    return folder


def write_record(folder: Path, *, train: int = 24, val: int = 10) -> Path:
    """Write passages with 2 to 6 entities of which one or two fill the gap."""
    draw = random.Random(5)
    for stem, count in (("train", train), ("val", val)):
        rows = []
        for index in range(count):
            names = [f"x{index}{letter}" for letter in "abcdef"[: draw.randrange(2, 7)]]
            words = f"{stem} {index} {_text(draw, 3, 12)} {' '.join(names)}"
            places = [(words.index(name), words.index(name) + len(name) - 1) for name in names]
            right = draw.sample(names, k=draw.choice((1, 2)))
            query = {
                "query": f"{_text(draw, 2, 4)} @placeholder",
                "answers": [{"text": name, "start": 0, "end": 0} for name in right],
                "idx": 0,
            }
            entities = [{"start": start, "end": end} for start, end in places]
            passage = {"text": words, "entities": entities}
            rows.append({"passage": passage, "qas": [query], "idx": index})
        _write(folder, stem, rows)
    return folder


def _pair(draw: random.Random, place: str, index: int) -> tuple[dict[str, Any], str]:
    label = index % 2
    texts = {
        "premise": f"{_text(draw, 3, 7, 14)} {place} {index}",
        "hypothesis": f"{_text(draw, 2, 5)} {draw.choice(GOOD if label else BAD)}",
    }
    return {**texts, "idx": index}, ("not_entailment", "entailment")[label]


def write_rte(suite: Path, *, train: int = 40, val: int = 16, test: int = 6) -> Path:
    """Write RTE with a hidden test file, and its diagnostics AX-b and AX-g, into a suite."""
    draw = random.Random(3)
    for stem, count in (("train", train), ("val", val), ("test", test)):
        pairs = [_pair(draw, stem, index) for index in range(count)]
        shown = [row if stem == "test" else {**row, "label": label} for row, label in pairs]
        _write(suite / "RTE", stem, shown)
    broad = [_pair(draw, "broad", index) for index in range(12)]
    _write(
        suite / "AX-b",
        "AX-b",
        [
            {
                "sentence1": row["premise"],
                "sentence2": row["hypothesis"],
                "idx": row["idx"],
                "label": label,
            }
            for row, label in broad
        ],
    )
    gender = [_pair(draw, "gender", index) for index in range(8)]
    _write(suite / "AX-g", "AX-g", [{**row, "label": label} for row, label in gender])
    return suite


def write_suite(suite: Path) -> Path:
    """Write COPA, ReCoRD, RTE with its diagnostics, and a plain task of one's own, ``own``."""
    write_copa(suite / "COPA")
    write_record(suite / "ReCoRD")
    write_rte(suite)
    write_task(suite / "own")
    return suite


def suite_run(
    suite: Path,
    method: Any,
    *tasks: Any,
    backbone: Mapping[str, Any],
    regime: Any = "full_data",
    seeds: tuple[int, int] = (0, 0),
    selection: str = "dev",
    fold: int = 0,
    **training: Any,
) -> RunConfig:
    """Make a run on tasks of a written suite, the first one being its own.

    Args:
        suite: Folder from ``write_suite``.
        method: Name or mapping.
        tasks: Names (``own`` for the plain one) or mappings of a task's fields.
        backbone: Fields of the backbone.
        regime: Name or mapping.
        seeds: Data seed and init seed.
        selection: How dev is chosen.
        fold: Which fold is dev.
        training: Fields of ``training``; it is not audited unless ``audit`` is true.
    """
    choices = []
    for task in tasks:
        fields = {"name": task} if isinstance(task, str) else dict(task)
        folder = {"own": "own", "copa": "COPA", "record": "ReCoRD"}.get(fields["name"])
        choices.append({**({"folder": str(suite / folder)} if folder else {}), **fields})
    return RunConfig.model_validate(
        {
            "task": choices[0],
            "partners": choices[1:],
            "backbone": dict(backbone),
            "method": method,
            "regime": regime,
            "training": {
                "max_updates": 12,
                "batch_size": 8,
                "max_tokens": 64,
                "evaluations": 2,
                "audit": False,
                **training,
            },
            "seeds": {"data": seeds[0], "init": seeds[1]},
            "selection": selection,
            "fold": fold,
        }
    )
