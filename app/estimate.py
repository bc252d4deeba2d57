"""How long runs will take: from like runs in the database, else by a rough rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.data.tokens import length_class
from core.methods import BackboneFacts
from core.tasks import TASKS
from core.wording import counted

CPU_FLOPS = 8e10
"""Floating-point operations a second that two ordinary cores reach in such steps."""

OVERHEAD_SECONDS = 0.01
"""Time of one update that does not depend on its size."""

TRIPS = {"linear_probe": 1.0, "fine_tuning": 3.0}
PROMPT_TRIPS = 2.0
"""Work of an update on one row, in forward passes."""
UNKNOWN_WEIGHTS = 85_000_000


@dataclass(frozen=True)
class StepTime:
    """What one finished run took.

    Attributes:
        task: Its task, or all of a joint run with ``+`` between.
        passes: Rows that an update made of each row of its batch, see ``MethodConfig.passes``.
        prompt_length: Prompt vectors of a row, a count.
        seconds: Wall seconds an update, divided by the runs that trained together.
    """

    task: str
    backbone: str
    method_kind: str
    max_tokens: int
    batch_size: int
    passes: int
    prompt_length: int
    seconds: float


@dataclass(frozen=True)
class Load:
    """Runs that differ in their seeds alone.

    Attributes:
        task: Their task, or all of a joint run with ``+`` between.
        tokens: Mean length of a row with its prompt vectors, a count.
        rows: Rows an example on average: one, or one a choice.
        passes: Rows that an update makes of each row of its batch, see ``MethodConfig.passes``.
        prompt_length: Prompt vectors of a row, a count.
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
    passes: int
    prompt_length: int
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


@dataclass(frozen=True)
class _Nearest:
    """Finished runs that a load is timed by.

    Attributes:
        update: Seconds of one update of the load.
        used: Runs that it rests on, a count.
        is_like: True when they make as many passes with as many vectors; else the time was scaled.
    """

    update: float
    used: int
    is_like: bool


def _nearest(load: Load, history: Sequence[StepTime]) -> _Nearest | None:
    """Time an update by the runs that come nearest: of as much work, then of the same task.

    An update takes the longer the more passes it makes and the more prompt vectors stand beside the
    text; how long the texts of another task were is not recorded.
    """
    by_distance: dict[tuple[bool, bool], list[float]] = {}
    for past in _comparable(load, history):
        work = load.passes / past.passes
        if past.prompt_length != load.prompt_length:
            work *= load.tokens / (load.tokens - load.prompt_length + past.prompt_length)
        is_like = (past.passes, past.prompt_length) == (load.passes, load.prompt_length)
        distance = (not is_like, past.task != load.task)
        by_distance.setdefault(distance, []).append(past.seconds * work)
    if not by_distance:
        return None
    distance = min(by_distance)
    return _Nearest(median(by_distance[distance]), len(by_distance[distance]), not distance[0])


def _comparable(load: Load, history: Sequence[StepTime]) -> list[StepTime]:
    """Choose finished runs of the same method, backbone, batch and longest input."""
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
    trips = TRIPS.get(load.method_kind, PROMPT_TRIPS)
    rows = load.batch_size * load.rows * load.passes
    training = load.updates * (rows * row_seconds * trips + OVERHEAD_SECONDS)
    return training + load.evaluations * load.num_dev * row_seconds


def estimate(loads: Sequence[Load], history: Sequence[StepTime], all_known: bool) -> Estimate:
    """Add up the expected time of all runs.

    Args:
        loads: Runs by kind.
        history: Finished runs, newest first.
        all_known: False when a task's files could not be read.
    """
    seconds, guessed = 0.0, 0
    found: list[_Nearest] = []
    for load in loads:
        nearest = _nearest(load, history)
        if nearest is None:
            guessed += 1
            seconds += rough_seconds(load) * load.repeats
        else:
            found.append(nearest)
            seconds += nearest.update * load.updates * load.repeats
    used = counted(sum(nearest.used for nearest in found), "finished run")
    are_like = all(nearest.is_like for nearest in found)
    if not found:
        basis = "Rough: by a rule for two CPU cores; no like run has finished here yet."
    elif guessed or not all_known:
        basis = f"Rough: partly from {used}, the rest by a rule for two CPU cores."
    elif not are_like:
        basis = (
            f"Rough: from {used} of these methods, some with another number of passes an update "
            "or of prompt vectors, which is reckoned in."
        )
    else:
        basis = f"From {used} of these kinds on this installation, one worker."
    return Estimate(seconds, bool(guessed) or not are_like or not all_known, basis)
