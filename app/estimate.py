"""How long runs will take: from like runs in the database, else by a rough rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.data.tokens import length_class
from core.methods import BackboneFacts
from core.tasks import TASKS

CPU_FLOPS = 8e10
"""Floating-point operations a second that two ordinary cores reach in such steps."""

OVERHEAD_SECONDS = 0.01
"""Time of one update that does not depend on its size."""

PASSES = {"linear_probe": 1.0, "fine_tuning": 3.0}
PROMPT_PASSES = 2.0
UNKNOWN_WEIGHTS = 85_000_000


@dataclass(frozen=True)
class StepTime:
    """What one finished run took.

    Attributes:
        task: Its task, or all of a joint run with ``+`` between.
        seconds: Wall seconds an update, divided by the runs that trained together.
    """

    task: str
    backbone: str
    method_kind: str
    max_tokens: int
    batch_size: int
    seconds: float


@dataclass(frozen=True)
class Load:
    """Runs that differ in their seeds alone.

    Attributes:
        task: Their task, or all of a joint run with ``+`` between.
        tokens: Mean length of a row with its prompt vectors, a count.
        rows: Rows an example on average: one, or one a choice.
        repeats: Runs of this kind.
        facts: Sizes of the backbone; None when not known here.
        num_dev: Rows of dev.
        evaluations: Evaluations on dev a run.
    """

    task: str
    backbone: str
    method_kind: str
    max_tokens: int
    batch_size: int
    updates: int
    repeats: int
    tokens: float
    rows: float
    facts: BackboneFacts | None
    num_dev: int
    evaluations: int


@dataclass(frozen=True)
class Estimate:
    """Time for all runs on one worker.

    Attributes:
        seconds: Expected wall seconds.
        is_rough: True when a part rests on the rough rule.
        basis: What it rests on, in a sentence.
    """

    seconds: float
    is_rough: bool
    basis: str


def _like(load: Load, history: Sequence[StepTime]) -> list[StepTime]:
    return [
        past
        for past in history
        if past.backbone == load.backbone
        and past.method_kind == load.method_kind
        and past.batch_size == load.batch_size
        and length_class(past.max_tokens) == length_class(load.max_tokens)
        and (past.task == load.task or not (_has_choices(past.task) or _has_choices(load.task)))
    ]


def _has_choices(label: str) -> bool:
    """Tell whether a step reads several rows an example."""
    return any(TASKS[name].kind == "choices" for name in label.split("+") if name in TASKS)


def rough_seconds(load: Load) -> float:
    """Estimate one run's wall seconds from the size of backbone, batch and text.

    One pass costs 2 operations a weight and token; a backward pass through frozen weights as much
    again, and twice as much where the weights themselves are trained.
    """
    facts = load.facts
    weights = 12 * facts.layers * facts.hidden**2 if facts else UNKNOWN_WEIGHTS
    row_seconds = 2.0 * weights * load.tokens / CPU_FLOPS
    passes = PASSES.get(load.method_kind, PROMPT_PASSES)
    batch = load.batch_size * load.rows
    training = load.updates * (batch * row_seconds * passes + OVERHEAD_SECONDS)
    return training + load.evaluations * load.num_dev * row_seconds


def estimate(loads: Sequence[Load], history: Sequence[StepTime], all_known: bool) -> Estimate:
    """Add up the expected time of all runs.

    Args:
        loads: Runs by kind.
        history: Finished runs, newest first.
        all_known: False when a task's files could not be read.
    """
    seconds, used, guessed = 0.0, 0, 0
    for load in loads:
        past = _like(load, history)
        if past:
            one = median(item.seconds for item in past) * load.updates
            used += len(past)
        else:
            one = rough_seconds(load)
            guessed += 1
        seconds += one * load.repeats
    if not guessed and all_known:
        basis = f"From {used} finished runs of these kinds on this installation, one worker."
    elif used:
        basis = f"Rough: partly from {used} finished runs, the rest by a rule for two CPU cores."
    else:
        basis = "Rough: by a rule for two CPU cores; no like run has finished here yet."
    return Estimate(seconds, bool(guessed) or not all_known, basis)
