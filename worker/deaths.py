"""What the death of a trainer means for the runs that it had."""

from __future__ import annotations

from dataclasses import dataclass

from core.states import Outcome
from core.wording import counted
from worker.active import Group
from worker.memory import MemoryMeter
from worker.trainer_process import Death


@dataclass(frozen=True)
class Verdict:
    """How the attempts of a dead trainer's runs ended.

    Attributes:
        outcome: ``crashed``, ``out_of_memory`` (of the machine) or ``stalled``.
        detail: Sentence for people.
    """

    outcome: Outcome
    detail: str


def judge(group: Group, death: Death, fault: str, memory: MemoryMeter) -> Verdict:
    """Judge a trainer that ended although nobody here wanted it to.

    Args:
        group: What it had.
        death: How it ended.
        fault: Why it was ended here although it is at fault; empty when it died by itself.
        memory: What was measured of it.
    """
    outcome = Outcome.CRASHED
    what = f"The trainer {fault or death.reason}"
    if death.signal_name == "SIGKILL" and not fault:
        if shortage := memory.shortage():
            outcome, what = Outcome.OUT_OF_MEMORY, f"The trainer {shortage}"
        else:
            what += " from outside"
    elif not fault and not group.sent:
        what += " before it could start"
    return Verdict(outcome, f"{what}{_together(group)}.")


def judge_stall(group: Group, silence: str) -> Verdict:
    """Judge a trainer that was ended because nothing moved.

    Args:
        silence: For how long, as part of a sentence.
    """
    return Verdict(Outcome.STALLED, f"The trainer was ended{_together(group)}: {silence}.")


def _together(group: Group) -> str:
    """Say that the trainer had several runs; nothing when it had one."""
    size = len(group.runs)
    return f" while {counted(size, 'run')} trained together" if size > 1 else ""
