"""Entry of the training engine: train a group of runs, each as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from core.backbones import probe
from core.backbones.facts import require_room
from core.data.tasks import read_task
from core.errors import OutOfMemory, StudioError, TrainingError
from core.reporting import Ending, Progress, Reporter
from core.states import Outcome
from core.training.checkpoint import load_checkpoint, put_moments, put_tensors
from core.training.loop import GroupLoop, failure
from core.training.model import build_model
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
    """Read data, build the model, check that it trains, and go to the checkpoint if there is one.

    Raises:
        StudioError: If the run cannot start; the message says why.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    config = member.config
    training, backbone = config.training, warm.backbone
    require_room(backbone.facts, training.max_tokens, config.method.prompt_length)
    data = read_task(config.task, data_folders, selection=config.selection)
    chosen = config.regime.select(
        [example.label for example in data.train],
        [example.key for example in data.train],
        len(data.labels),
        config.seeds.data,
    )
    examples = {"train": [data.train[i] for i in chosen], "dev": data.dev, "test": data.test}
    splits = {name: warm.split(found, training.max_tokens) for name, found in examples.items()}
    model = build_model(config.method, backbone, len(data.labels), config.seeds.init)
    probe.check(backbone, model.method, config.backbone.read_out)
    run = TrainingRun(member, warm, data, splits, model.eval())
    if member.resume_from is not None:
        _resume(run, member.resume_from)
    run.feature("train")
    run.pooled("train")
    # Cached features are part of what a run costs.
    run.progress.seconds += time.perf_counter() - wall
    run.progress.cpu_seconds += time.process_time() - cpu
    return run


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
