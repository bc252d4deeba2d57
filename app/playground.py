"""What the page "Try it" offers: trained runs by task, and examples of each task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.examples import TaskData
from core.data.tasks import read_task
from core.errors import DataError
from core.recipe import RunConfig
from core.store import queries
from core.store.session import Store
from core.store.views import PlaygroundRun
from core.tasks import TASKS

NUM_EXAMPLES = 6
MAX_EXAMPLE_CHARACTERS = 600
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExampleText:
    """An example of the dev split: texts of its segments and its right label."""

    segments: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class TaskChoices:
    """A task that trained runs exist for.

    Attributes:
        name: Name of the task.
        title: Name for people.
        num_segments: Texts that one input has, 1 or 2.
        labels: Classes; empty when the files cannot be read now.
        examples: A few examples that no run was trained on.
        runs: Runs that can classify, newest study first.
        default_run_ids: Best run on dev of each method of the newest study.
    """

    name: str
    title: str
    num_segments: int
    labels: tuple[str, ...]
    examples: tuple[ExampleText, ...]
    runs: tuple[PlaygroundRun, ...]
    default_run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """Everything to choose from; the task of the newest run first."""

    tasks: tuple[TaskChoices, ...]


def choices(store: Store, folders: Sequence[Path]) -> Choices:
    """List trained runs by task."""
    by_task: dict[str, list[PlaygroundRun]] = {}
    with store.read() as session:
        for run in queries.playground_runs(session):
            by_task.setdefault(run.task, []).append(run)
        newest = [queries.run_view(session, runs[0].run_id) for runs in by_task.values()]
    # Files are read after the database was let go: a large task takes seconds the first time.
    return Choices(
        tuple(
            _task(RunConfig.model_validate_json(view.config), runs, folders)
            for view, runs in zip(newest, by_task.values(), strict=True)
        )
    )


def _task(config: RunConfig, runs: Sequence[PlaygroundRun], folders: Sequence[Path]) -> TaskChoices:
    name = config.task.name
    spec = TASKS.get(name)
    title = spec.title if spec else name
    num_segments = len(config.task.text_fields) or (len(spec.segments) if spec else 1)
    labels: tuple[str, ...] = ()
    examples: tuple[ExampleText, ...] = ()
    try:
        data = read_task(config.task, tuple(folders))
    except DataError as error:
        log.info("no examples of %s: %s", name, error)
    else:
        title, labels, examples = data.title, data.labels, _examples(data)
        num_segments = len(data.dev[0].segments) if data.dev else num_segments
    ordered = _in_order(runs)
    return TaskChoices(
        name, title, num_segments, labels, examples, ordered, best_of_each_method(ordered)
    )


def _in_order(runs: Sequence[PlaygroundRun]) -> tuple[PlaygroundRun, ...]:
    """Keep the newest study first, and within a study the order of its recipe."""
    places = {run.study_id: place for place, run in reversed(list(enumerate(runs)))}
    return tuple(
        sorted(runs, key=lambda run: (places[run.study_id], int(run.slug.rsplit("-", 1)[1])))
    )


def _examples(data: TaskData) -> tuple[ExampleText, ...]:
    """Take short examples, each label once before any comes twice."""
    taken: dict[int, int] = {}
    ranked = []
    for place, example in enumerate(data.dev):
        if sum(map(len, example.segments)) <= MAX_EXAMPLE_CHARACTERS:
            taken[example.label] = taken.get(example.label, 0) + 1
            ranked.append((taken[example.label], place, example))
    return tuple(
        ExampleText(example.segments, data.labels[example.label])
        for _, _, example in sorted(ranked, key=lambda item: item[:2])[:NUM_EXAMPLES]
    )


def best_of_each_method(runs: Sequence[PlaygroundRun]) -> tuple[str, ...]:
    """Choose the best run on dev of each method label of the newest study.

    Args:
        runs: Runs of one task, newest study first.
    """
    if not runs:
        return ()
    own = [run for run in runs if not run.is_demo] or list(runs)
    newest = [run for run in own if run.study_id == own[0].study_id]
    best: dict[str, PlaygroundRun] = {}
    for run in newest:
        before = best.get(run.method_label)
        if before is None or _dev(run) > _dev(before):
            best[run.method_label] = run
    return tuple(run.run_id for run in best.values())


def _dev(run: PlaygroundRun) -> float:
    return run.dev.get("accuracy", next(iter(run.dev.values()), 0.0))
