"""What follows on the outcome of an attempt: the run's next state, a sentence, and budgets.

Crashes, lost workers and stalls share one budget (``infra_left``), memory that ran out has its own
(``oom_left``). What would only happen again ends as ``failed`` and is not tried again by itself; a
person may queue any failed run again, which fills both budgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.reporting import Ending
from core.states import Outcome, RunState
from core.store.clock import database_time
from core.store.columns import json_safe
from core.store.models import INFRA_BUDGET, OOM_BUDGET
from core.store.moves import Held

BACK_OFF_SECONDS: Mapping[Outcome, tuple[int, ...]] = {
    Outcome.CRASHED: (1, 5, 30),
    Outcome.LOST: (1, 5, 30),
    Outcome.STALLED: (5, 30, 120),
    Outcome.OUT_OF_MEMORY: (10,),
}
"""Wait before the first, second, third further attempt, in seconds."""

HOST_MEMORY = "oom_host"
"""Kind of an attempt that the operating system ended for want of memory. Other programs may have
used it up, so that the same run may fit the next time; a device's memory is the worker's alone."""

FINAL_KINDS: Mapping[Outcome, str] = {
    Outcome.CRASHED: "crash_loop",
    Outcome.LOST: "lost",
    Outcome.STALLED: "stalled",
}
"""Outcomes that share the budget ``infra_left``, and how a run ends that has used it up."""

OOM_ADVICE = "Choose a smaller batch size or a shorter longest input, then retry."


@dataclass(frozen=True)
class Following:
    """Where an ended attempt leads: state, sentence, and columns that change with it."""

    state: RunState
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)


def after(held: Held, ending: Ending) -> Following:
    """Say what follows on an outcome of a run that nobody asked to stop."""
    outcome = ending.outcome
    if outcome is Outcome.SUCCEEDED:
        return Following(
            RunState.SUCCEEDED,
            f"finished at update {held.last_step}",
            {"result": json_safe(ending.result), "exit_kind": "", "exit_detail": ""},
        )
    if outcome is Outcome.FAILED:
        detail = ending.detail or "training failed"
        return _failed(ending.kind or "failed", detail, f"{detail} (update {held.last_step})")
    if outcome is Outcome.OUT_OF_MEMORY:
        return _after_out_of_memory(held, ending)
    if outcome in FINAL_KINDS:
        return _after_crash(held, ending)
    reason = ending.detail or "the worker gave it back"
    return Following(
        RunState.QUEUED, f"{reason} at update {held.last_step}; {continues(held.checkpoint_step)}"
    )


def after_stop(held: Held, ending: Ending) -> Following:
    """Say what follows on an outcome of a run that was asked to stop."""
    if ending.outcome is Outcome.SUCCEEDED:
        reason = f"stopped as asked, at the last update ({held.last_step})"
    elif ending.outcome in (Outcome.CANCELLED, Outcome.DRAINED):
        reason = f"stopped as asked at update {held.last_step}"
    else:
        reason = f"{at_update(held, ending)} while it was being stopped"
    return Following(RunState.CANCELLED, reason, {"exit_kind": "cancelled", "exit_detail": reason})


def after_damage(held: Held, ending: Ending, previous: int) -> Following:
    """Say what follows when the checkpoint of a run turned out to be damaged.

    It counts as a crash, so that a disk that spoils everything does not keep a run going for ever.

    Args:
        previous: Updates done at the checkpoint before it, 0 when there is none.
    """
    values: dict[str, Any] = {"checkpoint_step": previous}
    damage = f"checkpoint {held.checkpoint_step} is damaged"
    if held.infra_left <= 0:
        detail = f"{ending.detail} It is not tried again; a retry {continues(previous)}."
        failed = _failed(ending.kind, detail, f"{damage}; {detail}")
        return Following(failed.state, failed.reason, {**failed.values, **values})
    values["infra_left"] = held.infra_left - 1
    return Following(RunState.QUEUED, f"{damage}; {continues(previous)}", values)


def after_death_of_group(held: Held, ending: Ending) -> Following:
    """Say what follows when the trainer of several runs died, which names no culprit."""
    return Following(
        RunState.QUEUED,
        f"{ending.detail.rstrip('.')}. Which of them caused it is not known, so each is tried "
        f"alone; this one was at update {held.last_step} and {continues(held.checkpoint_step)}",
        {"must_run_alone": True},
    )


def _after_crash(held: Held, ending: Ending) -> Following:
    if held.infra_left <= 0:
        detail = (
            f"{at_update(held, ending)}, for the {INFRA_BUDGET + 1}th time; it is not tried again"
        )
        return _failed(FINAL_KINDS[ending.outcome], detail, detail)
    wait = _back_off(ending.outcome, INFRA_BUDGET - held.infra_left)
    return Following(
        RunState.QUEUED,
        f"{at_update(held, ending)}; {continues(held.checkpoint_step)} after {wait} s",
        {
            "infra_left": held.infra_left - 1,
            "not_before": database_time(wait),
        },
    )


def _back_off(outcome: Outcome, used: int) -> int:
    """Seconds to wait when this many further attempts were used up before."""
    waits = BACK_OFF_SECONDS[outcome]
    return waits[min(used, len(waits) - 1)]


def _after_out_of_memory(held: Held, ending: Ending) -> Following:
    if held.group_size > 1 and held.oom_left > 0:
        return Following(
            RunState.QUEUED,
            f"out of memory in a group of {held.group_size} at update {held.last_step}; it runs "
            f"alone next and {continues(held.checkpoint_step)}",
            {"must_run_alone": True, "oom_left": held.oom_left - 1},
        )
    if ending.kind == HOST_MEMORY and held.oom_left > 0:
        wait = _back_off(Outcome.OUT_OF_MEMORY, OOM_BUDGET - held.oom_left)
        return Following(
            RunState.QUEUED,
            f"{at_update(held, ending)}; {continues(held.checkpoint_step)} after {wait} s",
            {
                "must_run_alone": True,
                "oom_left": held.oom_left - 1,
                "not_before": database_time(wait),
            },
        )
    detail = f"Out of memory at update {held.last_step}. {OOM_ADVICE}"
    if ending.detail:
        detail = f"{ending.detail.rstrip('.')} at update {held.last_step}. {OOM_ADVICE}"
    return _failed(Outcome.OUT_OF_MEMORY.value, detail, detail)


def _failed(kind: str, detail: str, reason: str) -> Following:
    return Following(RunState.FAILED, reason, {"exit_kind": kind[:40], "exit_detail": detail})


def has_served_alone(held: Held, ending: Ending, *, made_checkpoint: bool) -> bool:
    """Tell whether a run that had to run alone has shown that it may join others again.

    It has when it came forward alone and nothing of its own ended it. A run that left its group
    for memory stays alone: beside others it would run out again.
    """
    return (
        held.must_run_alone
        and held.group_size == 1
        and made_checkpoint
        and ending.outcome in (Outcome.DRAINED, Outcome.LOST)
        and held.oom_left == OOM_BUDGET
    )


def at_update(held: Held, ending: Ending) -> str:
    """Say what ended the attempt, and where."""
    if ending.outcome is Outcome.STALLED:
        why = f" ({ending.detail.rstrip('.')})" if ending.detail else ""
        return f"stalled at update {held.last_step}{why}"
    what = ending.detail.rstrip(".") or f"the attempt {ending.outcome.value}"
    return f"{what} at update {held.last_step}"


def continues(checkpoint_step: int) -> str:
    """Say where the next attempt begins."""
    if checkpoint_step:
        return f"continues from update {checkpoint_step}"
    return "starts again from the beginning"
