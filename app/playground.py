"""What the page "Try it" offers: trained runs by task, and examples of each task."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.stored_config import read_config
from core.data.examples import TaskData
from core.data.tasks import read_task
from core.errors import ConfigError, DataError
from core.recipe import RunConfig
from core.store import queries
from core.store.query_rows import configs
from core.store.session import Store
from core.store.views import PlaygroundRun
from core.tasks import TASKS

NUM_EXAMPLES = 6
MAX_EXAMPLE_CHARACTERS = 600
EXAMPLES_NOTE = {
    "dev": "Examples no run was trained on",
    "paper_practice": "Examples no run was trained on, but some chose their checkpoint on",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExampleText:
    """An example that was not trained on: texts of its segments and its right label."""

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
        examples_note: What these examples are, for people.
        runs: Runs that can classify, newest study first.
        default_run_ids: Best run on dev of each method of the newest study.
    """

    name: str
    title: str
    num_segments: int
    labels: tuple[str, ...]
    examples: tuple[ExampleText, ...]
    examples_note: str
    runs: tuple[PlaygroundRun, ...]
    default_run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Choices:
    """Everything to choose from; the task of the newest run first."""

    tasks: tuple[TaskChoices, ...]


def choices(store: Store, folders: Sequence[Path]) -> Choices:
    """List trained runs by task, without those whose config this version cannot read."""
    with store.read() as session:
        runs = queries.playground_runs(session)
        # Runs of one hash differ in their seeds alone; the newest stands for all of them.
        newest = {run.config_hash: run for run in reversed(runs)}
        texts = configs(session, [run.run_id for run in newest.values()])
    readable: dict[str, RunConfig] = {}
    for config_hash, run in newest.items():
        try:
            readable[config_hash] = read_config(texts[run.run_id], run.slug)
        except ConfigError as error:
            log.warning("left out: %s", error)
    by_task: dict[str, list[PlaygroundRun]] = {}
    for run in runs:
        if run.config_hash in readable:
            by_task.setdefault(run.task, []).append(run)
    # Files are read after the database was let go: a large task takes seconds the first time.
    return Choices(tuple(_task(own, readable, folders) for own in by_task.values()))


def _task(
    runs: Sequence[PlaygroundRun], configs_by_hash: Mapping[str, RunConfig], folders: Sequence[Path]
) -> TaskChoices:
    config = configs_by_hash[runs[0].config_hash]
    name = config.task.name
    selections = {configs_by_hash[run.config_hash].selection for run in runs}
    # With paper practice all of train was trained on, so only the reported split is new to all.
    selection = "paper_practice" if "paper_practice" in selections else "dev"
    spec = TASKS.get(name)
    title = spec.title if spec else name
    num_segments = len(config.task.text_fields) or (len(spec.segments) if spec else 1)
    labels: tuple[str, ...] = ()
    examples: tuple[ExampleText, ...] = ()
    try:
        data = read_task(config.task, tuple(folders), selection=selection)
    except DataError as error:
        log.info("no examples of %s: %s", name, error)
    else:
        title, labels, examples = data.title, data.labels, _examples(data)
        num_segments = len(data.dev[0].segments) if data.dev else num_segments
    ordered = _in_order(runs)
    return TaskChoices(
        name,
        title,
        num_segments,
        labels,
        examples,
        EXAMPLES_NOTE[selection],
        ordered,
        best_of_each_method(ordered),
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
