"""Entry of the training engine: train a group of runs, each as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from core.backbones import probe
from core.backbones.facts import require_room
from core.data.examples import TaskData
from core.data.tasks import candidates, read_task, spec_of
from core.errors import ConfigError, OutOfMemory, StudioError, TrainingError
from core.recipe import RunConfig
from core.recipe_parts import TaskChoice
from core.reporting import Ending, Progress, Reporter
from core.states import Outcome
from core.tasks import TASKS
from core.training.checkpoint import (
    TaskCard,
    load_checkpoint,
    put_moments,
    put_tensors,
    start_from,
)
from core.training.loop import GroupLoop, failure
from core.training.model import build_model
from core.training.part import TaskPart, with_draw
from core.training.run import Member, TrainingRun
from core.training.warm import WarmBackbone, WarmBackbones

__all__ = ["Member", "WarmBackbones", "train_group"]

MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


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
    ``bad_backbone``, ``damaged_checkpoint``, ``training`` and so on. When memory runs out, all
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
            with _memory_errors():
                runs.append(prepare(member, warm.for_run(member.config), data_folders))
        except StudioError as error:
            reporter.ended(member.run_id, _ending(error))
    loop = GroupLoop(runs, reporter, clock)
    try:
        with _memory_errors():
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
    read = {task.name: _read(config, task, data_folders) for task in config.tasks}
    trained = {task.name: read[task.name] for task in config.trained_tasks}
    _check_choices(config, trained)
    outputs = {name: data.num_outputs for name, data in trained.items()}
    model = build_model(
        config.method, backbone, outputs, config.seeds.init, config.regime.own_axes
    ).eval()
    probe.check(backbone, model.part().method, config.backbone.read_out)
    parts = {
        task.name: TaskPart(
            trained[task.name],
            _card(task, trained[task.name], data_folders),
            warm,
            training.max_tokens,
            model.part(task.name),
        )
        for task in config.trained_tasks
    }
    updates = updates_of(config, {name: len(data.train) for name, data in read.items()})
    run = TrainingRun(member, warm, parts, model, updates)
    if member.resume_from is not None:
        _resume(run, member.resume_from)
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
    total = config.training.updates_for(sum(sizes.values()))
    counts = config.regime.updates_of([sizes[name] for name in names], total)
    shares = dict(zip(names, counts, strict=True))
    return {task.name: shares[task.name] for task in config.trained_tasks}


def _read(config: RunConfig, task: TaskChoice, folders: Sequence[Path]) -> TaskData:
    """Read a task and leave in it what the regime draws."""
    data = read_task(
        task, folders, selection=config.selection, fold=config.fold, source=config.regime.source
    )
    drawn = config.regime.select(candidates(data), config.seeds.data)
    if config.selection == "fold":  # such a run only helps to choose settings
        data = replace(data, extra={})
    # A fold, the reported split and a refit say themselves what dev is.
    return with_draw(data, drawn.train, drawn.dev if config.selection == "dev" else None)


def _card(task: TaskChoice, data: TaskData, folders: Sequence[Path]) -> TaskCard:
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
    )


def _check_choices(config: RunConfig, trained: Mapping[str, TaskData]) -> None:
    named = [name for name, data in trained.items() if data.kind == "choices"]
    if config.method.sums_choices and named:
        raise ConfigError(
            f"{config.method.label} sums over the places of one row, but the rows of an example "
            f"of {named[0]} are scored together, each with a place of its own.",
            hint="Use selection: st_gumbel for this task.",
        )


def _resume(run: TrainingRun, folder: Path) -> None:
    restored = load_checkpoint(folder)
    if restored.card != run.card:
        raise TrainingError(
            f"The checkpoint {folder} belongs to a run with other settings, labels or weights.",
            hint="Start the run anew.",
        )
    put_tensors(run.model, restored.tensors)
    put_moments(run.model, run.optimizer, restored.moments)
    run.progress = restored.progress
    run.best = restored.best
    run.mark_saved()


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn the many ways in which memory runs out into OutOfMemory."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory() from error
    except RuntimeError as error:
        if any(message in str(error).lower() for message in MEMORY_MESSAGES):
            raise _out_of_memory() from error
        raise


def _out_of_memory() -> OutOfMemory:
    return OutOfMemory(
        "The device's memory ran out.",
        hint="Use a smaller batch size, shorter texts, or fewer runs at a time.",
    )


def _ending(error: StudioError) -> Ending:
    if isinstance(error, OutOfMemory):
        return Ending(outcome=Outcome.OUT_OF_MEMORY, kind=error.code, detail=str(error))
    return failure(error)
