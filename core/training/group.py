"""Entry of the training engine: train a group of runs, each as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from core.backbones import probe
from core.backbones.facts import require_room
from core.backbones.readout import run_read_out
from core.data.examples import TaskData
from core.data.tasks import candidates, read_task, spec_of
from core.errors import ConfigError, OutOfMemory, StudioError
from core.recipe import RunConfig
from core.recipe_checks import no_word_for_choices, no_word_to_start_from, nothing_but_a_head
from core.recipe_parts import TaskChoice
from core.reporting import Ending, Progress, Reporter
from core.states import Outcome
from core.tasks import TASKS
from core.training.checkpoint import TaskCard, start_from
from core.training.loop import GroupLoop, failure
from core.training.memory import memory_errors
from core.training.model import build_model
from core.training.part import TaskPart, with_draw
from core.training.restoring import resume
from core.training.run import Member, TrainingRun
from core.training.warm import WarmBackbone, WarmBackbones

__all__ = ["Member", "WarmBackbones", "train_group"]


def train_group(
    members: Sequence[Member],
    reporter: Reporter,
    warm: WarmBackbones,
    data_folders: Sequence[Path] = (),
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Train runs together; each is told ``ended`` exactly once, whatever becomes of the others.

    Runs that fail end with the code of their error as ``kind``: ``diverged``, ``bad_data``,
    ``bad_backbone``, ``backbone_changed``, ``damaged_checkpoint``, ``disk_full``, ``evaluation``,
    ``training`` and so on. When memory runs out, all
    that are still active end with the outcome ``out_of_memory``.

    Args:
        members: Runs, usually of one backbone and precision; others are trained one set after
            the other.
        reporter: Who is told and asked.
        warm: Loaded backbones.
        data_folders: Folders to look for data in, for tasks without a folder of their own.
        clock: Monotonic time in seconds, for the time between checkpoints.
    """
    sets: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        key = (member.config.backbone.source_key, member.config.training.dtype)
        sets.setdefault(key, []).append(member)
    for together in sets.values():
        _train_set(together, reporter, warm, data_folders, clock)


def _train_set(
    members: Sequence[Member],
    reporter: Reporter,
    warm: WarmBackbones,
    data_folders: Sequence[Path],
    clock: Callable[[], float],
) -> None:
    runs: list[TrainingRun] = []
    for member in members:
        reporter.progress(member.run_id, Progress("loading", 0, 0, group=len(members)))
        try:
            with memory_errors():
                run = prepare(member, warm.for_run(member.config), data_folders)
            runs.append(run)
            if run.notice:
                reporter.notice(run.run_id, run.notice)
        except StudioError as error:
            reporter.ended(member.run_id, _ending(error))
    loop = GroupLoop(runs, reporter, clock)
    try:
        with memory_errors():
            loop.run()
    except OutOfMemory as error:
        for run in list(loop.active):
            loop.end(run, _ending(error))


def prepare(member: Member, warm: WarmBackbone, data_folders: Sequence[Path]) -> TrainingRun:
    """Read data, build the model, check that it trains, and go to where it starts or continues.

    Raises:
        StudioError: If the run cannot start; the message says why.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    config = member.config
    training, backbone = config.training, warm.backbone
    require_room(backbone.facts, training.max_tokens, config.method.prompt_length)
    read = {task.name: read_of(config, task, data_folders) for task in config.tasks}
    trained = {task.name: read[task.name] for task in config.trained_tasks}
    _check_choices(config, trained)
    _check_initial_words(config, read)
    words = {name: data.words for name, data in read.items()}
    outputs = {name: data.num_outputs for name, data in trained.items()}
    model = build_model(
        config.method, backbone, outputs, config.seeds.init, config.regime.own_axes, words
    ).eval()
    method = model.part().method
    probe.check(backbone, method, run_read_out(config.backbone, backbone, method))
    parts = {
        task.name: TaskPart(
            trained[task.name],
            _card(config, task, trained[task.name], data_folders),
            warm,
            training.max_tokens,
            model.part(task.name),
        )
        for task in config.trained_tasks
    }
    updates = updates_of(config, {name: len(data.train) for name, data in read.items()})
    run = TrainingRun(member, warm, parts, model, updates)
    if member.resume_from is not None:
        run.notice = resume(run, member.resume_from)
    elif member.init_from is not None:
        start_from(member.init_from, model)
    for task in parts:
        run.feature(task, "train")
        run.pooled(task, "train")
    # Cached features are part of what a run costs.
    run.progress.seconds += time.perf_counter() - wall
    run.progress.cpu_seconds += time.process_time() - cpu
    return run


def updates_of(config: RunConfig, sizes: Mapping[str, int]) -> dict[str, int]:
    """Count the updates of each task that a run is trained on.

    Joint training and its controls share the updates out in one order of the tasks, by name, so
    that a control gets exactly what its task gets jointly.

    Args:
        config: The run.
        sizes: Training examples of every task that it reads, by name.
    """
    names = sorted(sizes)
    total = config.training.updates_for(sum(sizes.values()), batch=config.examples_an_update)
    counts = config.regime.updates_of([sizes[name] for name in names], total)
    shares = dict(zip(names, counts, strict=True))
    return {task.name: shares[task.name] for task in config.trained_tasks}


def read_of(config: RunConfig, task: TaskChoice, folders: Sequence[Path]) -> TaskData:
    """Read a task and leave in it what the regime draws."""
    data = read_task(
        task, folders, selection=config.selection, fold=config.fold, source=config.regime.source
    )
    drawn = config.regime.select(candidates(data), config.seeds.data)
    if config.selection == "fold":  # such a run only helps to choose settings
        data = replace(data, extra={})
    # A fold, the reported split and a refit say themselves what dev is.
    return with_draw(data, drawn.train, drawn.dev if config.selection == "dev" else None)


def _card(config: RunConfig, task: TaskChoice, data: TaskData, folders: Sequence[Path]) -> TaskCard:
    spec = spec_of(task, folders)
    return TaskCard(
        name=task.name,
        title=data.title,
        labels=data.labels,
        kind=data.kind,
        inputs=data.inputs,
        template=data.template,
        segments=spec.segments(data.template),
        spec=task.name if spec is TASKS.get(task.name) else "",
        num_outputs=data.num_outputs,
        words=data.words if config.backbone.is_verbalizer else (),
    )


def _check_choices(config: RunConfig, trained: Mapping[str, TaskData]) -> None:
    named = [name for name, data in trained.items() if data.kind == "choices"]
    if config.method.sums_choices and named:
        raise ConfigError(
            f"{config.method.label} sums over the places of one row, but the rows of an example "
            f"of {named[0]} are scored together, each with a place of its own.",
            hint="Use selection: st_gumbel for this task.",
        )
    if config.backbone.is_verbalizer and named:
        raise ConfigError(no_word_for_choices(named[0]), field="backbone.read_out")
    if config.backbone.is_verbalizer and config.method.trains_head_alone:
        raise ConfigError(nothing_but_a_head(config.method), field="backbone.read_out")


def _check_initial_words(config: RunConfig, read: Mapping[str, TaskData]) -> None:
    named = [name for name, data in read.items() if not data.words]
    if config.method.starts_from_words and named:
        raise ConfigError(no_word_to_start_from(config.method, named[0]), field="method.init")


def _ending(error: StudioError) -> Ending:
    if isinstance(error, OutOfMemory):
        return Ending(outcome=Outcome.OUT_OF_MEMORY, kind=error.code, detail=str(error))
    return failure(error)
