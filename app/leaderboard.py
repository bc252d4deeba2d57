"""Which runs speak for a study on SuperGLUE's leaderboard, and their files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.artifacts import artifact_store
from core.data.leaderboard import (
    LEADERBOARD,
    NO_LEADERBOARD,
    RUNS_FILE,
    Answer,
    file_name,
    is_official,
    read_answers,
    submission_lines,
    write_folder,
)
from core.data.readers import canonical_id
from core.data.tasks import read_task
from core.errors import ConfigError, DataError, NotFound
from core.recipe import RunConfig
from core.recipe_parts import TaskChoice
from core.settings import Settings
from core.states import RunState
from core.statistics.averages import SUPERGLUE, listed
from core.statistics.parts import PRIMARY, Part, parts_of
from core.store import queries
from core.store.session import Store
from core.store.views import ComparisonRow, RunFilters
from core.stored_config import read_config
from core.tasks import TASKS

RunPart = Part[ComparisonRow]


@dataclass(frozen=True)
class Speaker:
    """A run that answers a task.

    Attributes:
        part: The run's part in the task.
        choice: The task as the run read it.
        config: The run's configuration.
        predictions: Its file of predictions.
    """

    part: RunPart
    choice: TaskChoice
    config: RunConfig
    predictions: Path


def export_leaderboard(
    store: Store, settings: Settings, reference: str, split: str, out: Path
) -> list[str]:
    """Write one file a task into a new folder, and which runs they are from.

    Args:
        store: Open store.
        settings: Where artifacts and data are.
        reference: A study (``S3``): of each task the run with the best dev; or a run (``S3-12``).
        split: ``leaderboard``: the official test inputs; ``test``: the official validation file.
        out: Folder to make.

    Returns:
        What was written and what a complete submission lacks, a sentence a line.

    Raises:
        NotFound: If there is no such study or run.
        ConfigError: If no run can speak, or the test is sealed.
        DataError: If predictions are missing, or the folder exists.
    """
    with store.read() as session:
        rows = _rows(session, reference)
        if split == "test" and not all(row.is_test_open for row in rows):
            raise ConfigError(
                f"The test split of {reference} is sealed until all its runs have ended.",
                hint="Wait, or open it on the Compare page, which is recorded.",
            )
        chosen = _best(rows)
        speakers = [_speaker(session, settings, part) for part in chosen]
    files: dict[str, str] = {}
    source: dict[str, Any] = {}
    notes: list[str] = []
    for speaker in speakers:
        for task, answered in _tasks_of(speaker, split, notes):
            name = file_name(task, split)
            answers, lines = _answers(speaker, task, answered, settings)
            files[name] = "".join(f"{line}\n" for line in lines)
            source[name] = _about(speaker)
            notes += _incomplete(task, split, len(answers))
    files[RUNS_FILE] = json.dumps(source, indent=2, ensure_ascii=False) + "\n"
    write_folder(out, files)
    told = [f"{name}: from {about['run']}, {about['method']}" for name, about in source.items()]
    return [f"{out}:", *told, *notes, *_missing(source, split)]


def _rows(session: Session, reference: str) -> list[ComparisonRow]:
    """Final runs that a reference names.

    Raises:
        NotFound: If there is no such study or run.
    """
    try:
        study = queries.study_overview(session, reference).row.id
        named = ""
    except NotFound:
        run = queries.run_view(session, reference).row
        study, named = run.study_id, run.id
    rows = queries.comparison(session, RunFilters(study_ids=(study,)))
    return [row for row in rows if not named or row.run_id == named]


def _best(rows: Sequence[ComparisonRow]) -> list[RunPart]:
    """Choose the best run on dev of each official task, by the task's first metric.

    Raises:
        ConfigError: If no succeeded final run has an official task, or dev cannot decide.
    """
    ended = [row for row in rows if row.state is RunState.SUCCEEDED]
    by_task: dict[str, list[RunPart]] = {}
    for part in parts_of(ended):
        if is_official(part.task):
            by_task.setdefault(part.task, []).append(part)
    if not by_task:
        names = listed(sorted({part.task for part in parts_of(rows)})) if rows else "no final run"
        raise ConfigError(
            f"Nothing can be exported: there is {names}, and the leaderboard takes finished final "
            f"runs of {listed([TASKS[name].title for name in SUPERGLUE.tasks])}.",
            hint="Train on the official files; derived sets have no place there.",
        )
    chosen = []
    for task, parts in by_task.items():
        known = [part for part in parts if math.isfinite(part.value(PRIMARY, "dev"))]
        if not known and len(parts) > 1:
            runs = listed([part.run.slug for part in parts])
            raise ConfigError(
                f"{task}: the runs {runs} were trained on all of train, so no dev can choose "
                "between them.",
                hint="Name one of the runs instead of the study.",
            )
        chosen.append(max(known or parts, key=lambda part: _dev(part)))
    return chosen


def _dev(part: RunPart) -> float:
    value = part.value(PRIMARY, "dev")
    return value if math.isfinite(value) else -math.inf


def _speaker(session: Session, settings: Settings, part: RunPart) -> Speaker:
    view = queries.run_view(session, part.run.run_id)
    config = read_config(view.config, part.run.slug)
    path = view.artifacts.get("predictions")
    if path is None:
        raise DataError(f"{part.run.slug} left no predictions.", hint="Train it again.")
    choice = next(task for task in config.trained_tasks if task.name == part.task)
    return Speaker(part, choice, config, artifact_store(settings).fetch(path))


def _tasks_of(speaker: Speaker, split: str, notes: list[str]) -> list[tuple[str, str]]:
    """Files that a run can fill, with the split of its predictions; diagnostics are noted."""
    found = [(speaker.part.task, split)]
    sets = TASKS[speaker.part.task].diagnostics
    if split != LEADERBOARD or not sets:
        return found
    if speaker.choice.diagnostics and speaker.part.run.is_test_open:
        return [*found, *((name, name) for name in sets)]
    why = "the test is sealed" if speaker.choice.diagnostics else "the run did not score them"
    notes.append(f"Without {listed([TASKS[name].title for name in sets])}: {why}.")
    return found


def _answers(
    speaker: Speaker, task: str, split: str, settings: Settings
) -> tuple[list[Answer], list[str]]:
    """Read what a run answers and write it in the leaderboard's form."""
    try:
        answers = read_answers(speaker.predictions, speaker.part.task, split)
    except DataError as error:
        raise DataError(f"{speaker.part.run.slug}: {error.message}", hint=error.hint) from error
    choices = None
    if TASKS[task].kind == "choices" and not TASKS[task].labels:
        choices = _choices(speaker, split, settings)
    return answers, submission_lines(task, answers, choices)


def _choices(speaker: Speaker, split: str, settings: Settings) -> Callable[[Any], Sequence[str]]:
    """Find the texts of the choices by identifier; they stand in the data, not in predictions."""
    config = speaker.config
    data = read_task(
        speaker.choice,
        settings.data_folders,
        selection=config.selection,
        fold=config.fold,
        source=config.regime.source,
    )
    if split == LEADERBOARD and LEADERBOARD not in data.extra:
        raise DataError(f"{data.title}: the official test file is gone.", hint=NO_LEADERBOARD)
    examples = data.extra[LEADERBOARD].examples if split == LEADERBOARD else data.test
    known = {example.id: example.choices for example in examples}

    def texts(identifier: Any) -> Sequence[str]:
        found = known.get(canonical_id(identifier))
        if found is None:
            raise DataError(
                f"{data.title}: the files hold no input {canonical_id(identifier)} any more.",
                hint="Restore the files that the run was trained with.",
            )
        return found

    return texts


def _about(speaker: Speaker) -> dict[str, Any]:
    run = speaker.part.run
    dev = _dev(speaker.part)
    return {
        "run": run.slug,
        "run_id": run.run_id,
        "task": run.task,
        "method": run.method_label,
        "backbone": run.backbone,
        "regime": run.regime,
        "selection": run.selection,
        "dev": dev if math.isfinite(dev) else None,
    }


def _incomplete(task: str, split: str, num_inputs: int) -> list[str]:
    spec = TASKS[task]
    stem = spec.folder[0] if spec.suite == "diagnostic" else {LEADERBOARD: "test"}.get(split, "val")
    official = spec.counts.get(stem, num_inputs)
    if num_inputs == official:
        return []
    return [
        f"{spec.title}: {num_inputs:,} inputs are answered, officially {official:,}; the "
        "leaderboard would refuse the file."
    ]


def _missing(written: Collection[str], split: str) -> list[str]:
    """Name what a complete submission lacks."""
    if split != LEADERBOARD:
        return ["These are answers to the validation file, for checking; not for the leaderboard."]
    names = [file_name(task, split) for task in (*SUPERGLUE.tasks, "ax-b", "ax-g")]
    missing = [name for name in names if name not in written]
    return [f"A submission needs ten files; missing here: {listed(missing)}."] if missing else []
