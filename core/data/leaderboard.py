"""Predictions as the files that SuperGLUE's leaderboard takes, one a task.

The form is that of the benchmark (arXiv 1905.00537; super.gluebenchmark.com): a JSON object a line
with ``idx`` and ``label``, nested by passage and question for MultiRC.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.durable import whole_folder
from core.errors import DataError
from core.tasks import TASKS, TaskSpec

LEADERBOARD = "leaderboard"
FILE_ENDINGS = {LEADERBOARD: "", "test": "_val"}
"""What a file's name tells about its split; the official validation file is our test."""

RUNS_FILE = "runs.json"
NO_LEADERBOARD = (
    "Put the official test.jsonl beside val.jsonl, then train again: its inputs are scored "
    "once, at the end of a run."
)


class Answer(NamedTuple):
    """What a run predicts for one input.

    Attributes:
        id: Official identifier: a number, or for MultiRC and ReCoRD an object.
        prediction: Class or choice, an index.
    """

    id: Any
    prediction: int


def is_official(task: str) -> bool:
    """Tell whether the leaderboard has a file for a task."""
    spec = TASKS.get(task)
    return spec is not None and (bool(spec.official) or spec.suite == "diagnostic")


def file_name(task: str, split: str) -> str:
    """Name of a task's file, ``BoolQ.jsonl``, or ``BoolQ_val.jsonl`` for the validation file."""
    return f"{TASKS[task].folder[0]}{FILE_ENDINGS[split]}.jsonl"


def read_answers(path: Path, task: str, split: str) -> list[Answer]:
    """Read the predictions of one task and split from a run's file, in the file's order.

    Args:
        path: ``predictions.parquet`` of a run.
        task: Name of the task that was trained on.
        split: ``test``, ``leaderboard``, or the name of a set that is only scored.

    Raises:
        DataError: If the file cannot be read, holds nothing of this split, or inputs have no
            identifier or a common one.
    """
    parquet = importlib.import_module("pyarrow.parquet")
    arrow = importlib.import_module("pyarrow")
    try:
        table = parquet.read_table(path, columns=["task", "split", "id", "prediction"])
    except (OSError, arrow.ArrowException) as error:
        raise DataError(
            f"The predictions {path} cannot be read: {error}.",
            hint="Runs of earlier versions have no identifiers; train again.",
        ) from error
    rows = [row for row in table.to_pylist() if (row["task"], row["split"]) == (task, split)]
    if not rows:
        hint = NO_LEADERBOARD if split == LEADERBOARD else "Train again."
        raise DataError(f"{path} holds no predictions of {task} on {split}.", hint=hint)
    ids = [row["id"] for row in rows]
    if not all(ids) or len(set(ids)) < len(ids):
        what = "some inputs have no identifier" if not all(ids) else "identifiers repeat"
        raise DataError(
            f"{path}, {task} on {split}: {what}, so answers cannot be assigned.",
            hint="Use the official file: each of its lines has its own idx.",
        )
    return [Answer(json.loads(row["id"]), int(row["prediction"])) for row in rows]


def submission_lines(
    task: str, answers: Sequence[Answer], choices: Callable[[Any], Sequence[str]] | None = None
) -> list[str]:
    """Write answers in the form of the leaderboard, a line each.

    Args:
        task: Name of an official task.
        answers: In the order of the lines; MultiRC's are nested.
        choices: Texts of the choices of an identifier, where a text is the answer (ReCoRD).

    Raises:
        DataError: If an identifier has not the task's form.
        ValueError: If a prediction is no class of the task, or ``choices`` is needed and missing.
    """
    spec = TASKS[task]
    try:
        records = _records(spec, answers, choices)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{spec.title}: an identifier has not the form of the official file ({error}).",
            hint="Use the official file.",
        ) from error
    return [json.dumps(record, ensure_ascii=False) for record in records]


def _records(
    spec: TaskSpec, answers: Sequence[Answer], choices: Callable[[Any], Sequence[str]] | None
) -> Iterable[Mapping[str, Any]]:
    if spec.name == "multirc":
        return _nested(spec, answers)
    if spec.kind == "choices" and not spec.labels:
        if choices is None:
            raise ValueError(f"{spec.name} needs the texts of its choices")
        return [
            {"idx": answer.id["query"], "label": choices(answer.id)[answer.prediction]}
            for answer in answers
        ]
    return [{"idx": answer.id, "label": _label(spec, answer.prediction)} for answer in answers]


def _label(spec: TaskSpec, prediction: int) -> str | int:
    """Write a class as the official files do: the raw label, numbers as numbers."""
    if not 0 <= prediction < len(spec.labels):
        raise ValueError(f"{prediction} is no class of {spec.name}")
    name = spec.labels[prediction]
    raw = next((raw for raw, label in spec.label_map.items() if label == name), name)
    if raw.isdecimal():
        return int(raw)
    # Python's spelling of truth values, in this one task's submissions.
    return raw.capitalize() if spec.name == "wsc" else raw


def _nested(spec: TaskSpec, answers: Sequence[Answer]) -> list[Mapping[str, Any]]:
    passages: dict[int, dict[int, list[Mapping[str, Any]]]] = {}
    for answer in answers:
        questions = passages.setdefault(answer.id["passage"], {})
        given = {"idx": answer.id["answer"], "label": _label(spec, answer.prediction)}
        questions.setdefault(answer.id["question"], []).append(given)
    return [
        {
            "idx": passage,
            "passage": {
                "questions": [{"idx": idx, "answers": own} for idx, own in questions.items()]
            },
        }
        for passage, questions in passages.items()
    ]


def write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a new folder that appears complete or not at all.

    Args:
        folder: Must not exist; its parents are made.
        files: Content by name.

    Raises:
        DataError: If it exists, or the disk refuses.
    """
    if folder.exists() or folder.is_symlink():
        raise DataError(
            f"{folder} exists already and is not overwritten.", hint="Name a new folder."
        )
    try:
        with whole_folder(folder) as part:
            for name, content in files.items():
                (part / name).write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(
            f"{folder} could not be written: {error.strerror or error}.",
            hint="Free some disk space or name another folder.",
        ) from error
