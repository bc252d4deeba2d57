"""What the page "Try it" offers: trained runs by task, and examples of each task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.data.examples import Example, TaskData
from core.data.tasks import read_task
from core.data.typed import typed_input, why_not_typed
from core.errors import ConfigError, DataError, InputError
from core.recipe import RunConfig, Selection
from core.recipe_parts import TaskChoice
from core.regimes._config import Source
from core.store import queries
from core.store.query_rows import configs, first_metric
from core.store.session import Store
from core.store.views import PlaygroundRun
from core.stored_config import read_config
from core.tasks import TASKS, TaskSpec
from core.texts import check_texts

NUM_EXAMPLES = 6
SHORT_EXAMPLE_CHARACTERS = 600
MOST_OPTIONS = 3
FEWEST_FOR_OPTIONS = 12
NEW_TO_ALL = "Examples no run was trained on"
REPORTED = "Examples of the reported split, which no run was trained on"
CHOSEN_ON = "Examples no run was trained on, but some chose their checkpoint on"
OF_UNLIKE = "Examples of the reported split"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExampleText:
    """An example that was not trained on: its texts as a person types them, its right label."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class TypedField:
    """A text that a person types.

    Attributes:
        name: Its name in the task's data.
        options: All values that it has there when they are very few; else empty.
    """

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskChoices:
    """A task that trained runs exist for.

    Attributes:
        name: Name of the task.
        title: Name for people.
        inputs: Texts that one input has, in order; empty where an input cannot be typed.
        refusal: Why an input cannot be typed; empty where it can.
        labels: Classes or choices; empty when the files cannot be read now.
        examples: A few examples, where it can be told such that no run was trained on.
        examples_note: What these examples are, for people.
        runs: Runs that can classify, newest study first; a joint run stands under each of its
            tasks, with what it reached there.
        default_run_ids: Best run on dev of each method of the newest study.
    """

    name: str
    title: str
    inputs: tuple[TypedField, ...]
    refusal: str
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
            for task in readable[run.config_hash].trained_tasks:
                dev = run.dev_of.get(task.name, run.dev)
                flags = run.flags_of.get(task.name, run.flags)
                metric = first_metric(task.name, dev)
                here = replace(run, dev=dev, flags=flags, metric=metric)
                by_task.setdefault(task.name, []).append(here)
    # Files are read after the database was let go: a large task takes seconds the first time.
    return Choices(tuple(_task(name, own, readable, folders) for name, own in by_task.items()))


def _task(
    name: str,
    runs: Sequence[PlaygroundRun],
    configs_by_hash: Mapping[str, RunConfig],
    folders: Sequence[Path],
) -> TaskChoices:
    used = [configs_by_hash[config_hash] for config_hash in {run.config_hash: 0 for run in runs}]
    choice = next(task for task in used[0].trained_tasks if task.name == name)
    spec = _declared(choice)
    title = spec.title if spec else name
    inputs = tuple(map(TypedField, spec.typed_fields if spec else choice.text_fields or ("text",)))
    labels: tuple[str, ...] = ()
    examples: tuple[ExampleText, ...] = ()
    source, selection, note = _unseen(used, name)
    try:
        data = read_task(choice, tuple(folders), selection=selection, source=source)
    except DataError as error:
        log.info("no examples of %s: %s", name, error)
    else:
        title, labels, examples = data.title, data.labels, _examples(data, spec)
        inputs = tuple(
            TypedField(field, _options(data.dev, place)) for place, field in enumerate(data.inputs)
        )
    ordered = _in_order(runs)
    return TaskChoices(
        name,
        title,
        inputs,
        why_not_typed(spec) if spec else "",
        labels,
        examples,
        note,
        ordered,
        best_of_each_method(ordered),
    )


def _declared(choice: TaskChoice) -> TaskSpec | None:
    """Return the task's declaration; None for one's own data."""
    return None if choice.text_fields or choice.dataset else TASKS.get(choice.name)


def check_input(
    config: RunConfig, task: str, texts: Sequence[str], folders: Sequence[Path]
) -> None:
    """Refuse texts that a run could not read, before it is asked.

    Where one's own files cannot be read now, only the predictor can tell.

    Args:
        config: Config of the run.
        task: Name of one of its tasks; empty: the only one.
        texts: Typed texts in order.
        folders: Folders with data.

    Raises:
        InputError: Naming the expected texts, or the tasks of which one must be named.
    """
    known = {choice.name: choice for choice in config.trained_tasks}
    if task not in known and (task or len(known) > 1):
        what = f"was not trained on '{task}'" if task else "was trained on several tasks"
        raise InputError(
            f"The run {what}; it knows {', '.join(known)}.",
            hint="Say which one is meant; on a command line with --task.",
        )
    choice = known.get(task, config.task)
    spec = _declared(choice)
    if spec is not None:
        typed_input(spec, texts, choice.template)
        return
    try:
        names = read_task(choice, tuple(folders)).inputs
    except DataError as error:
        log.info("inputs of %s are not known: %s", choice.name, error)
        names = choice.text_fields
    check_texts(texts, names)


def _unseen(used: Sequence[RunConfig], name: str) -> tuple[Source, Selection, str]:
    """Choose what to take a task's examples from: source, selection, what to say about them.

    Nothing is promised where runs read other files of the task, or went on from another run.

    With paper practice, and after a refit, all of train was trained on, so only the reported split
    is new to all; the same where one source's dev may be in another source's train.
    """
    selections = {config.selection for config in used}
    sources = {config.regime.source for config in used}
    source = used[0].regime.source
    if _is_unlike(used, name):
        return source, "paper_practice", OF_UNLIKE
    if "paper_practice" in selections:
        return source, "paper_practice", CHOSEN_ON
    if "refit" in selections or len(sources) > 1:
        return source, "paper_practice", REPORTED
    return source, "dev", NEW_TO_ALL


def _is_unlike(used: Sequence[RunConfig], name: str) -> bool:
    """Tell whether runs may have been trained on other files of a task than the newest was."""
    files = {
        (config.regime.source, task.folder, task.dataset, task.data_version)
        for config in used
        for task in config.trained_tasks
        if task.name == name
    }
    sources = {source for source, *_ in files}
    return len(files) > len(sources) or any(config.init_from for config in used)


def _in_order(runs: Sequence[PlaygroundRun]) -> tuple[PlaygroundRun, ...]:
    """Keep the newest study first, and within a study the order of its recipe."""
    places = {run.study_id: place for place, run in reversed(list(enumerate(runs)))}
    return tuple(
        sorted(runs, key=lambda run: (places[run.study_id], int(run.slug.rsplit("-", 1)[1])))
    )


def _examples(data: TaskData, spec: TaskSpec | None) -> tuple[ExampleText, ...]:
    """Take short examples, each label once before any comes twice.

    Left out is what would read otherwise when typed: a file may mark another of two equal words.
    """
    usable = sorted(
        (example for example in data.dev if example.typed),
        key=lambda example: max(_length(example), SHORT_EXAMPLE_CHARACTERS),
    )
    taken: dict[int, int] = {}
    ranked = []
    for place, example in enumerate(usable):
        taken[example.label] = taken.get(example.label, 0) + 1
        ranked.append((taken[example.label], place, example))
    ranked.sort(key=lambda item: item[:2])
    chosen = (example for _, _, example in ranked if _reads_the_same(data, spec, example))
    return tuple(
        ExampleText(example.typed, data.labels[example.label])
        for example, _ in zip(chosen, range(NUM_EXAMPLES), strict=False)
    )


def _length(example: Example) -> int:
    return sum(map(len, example.typed))


def _reads_the_same(data: TaskData, spec: TaskSpec | None, example: Example) -> bool:
    if spec is None:
        return True
    try:
        return typed_input(spec, example.typed, data.template).rows == example.rows
    except InputError:
        return False


def _options(examples: Iterable[Example], place: int) -> tuple[str, ...]:
    """Values of a typed text when many examples share very few, for a list to choose from."""
    values = [example.typed[place] for example in examples if example.typed]
    found = sorted(set(values))
    is_list = 1 < len(found) <= MOST_OPTIONS and len(values) >= FEWEST_FOR_OPTIONS
    return tuple(found) if is_list else ()


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
    return run.dev.get(run.metric, 0.0)
