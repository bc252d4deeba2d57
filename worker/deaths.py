"""What the death of a trainer means for the runs that it had."""

from __future__ import annotations

from dataclasses import dataclass

from core.states import Outcome
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
    return Verdict(outcome, _for_group(group, what))


def judge_stall(group: Group, silence: str) -> Verdict:
    """Judge a trainer that was ended because nothing moved.

    Args:
        silence: For how long, as part of a sentence.
    """
    return Verdict(Outcome.STALLED, _for_group(group, f"The trainer was ended: {silence}"))


def _for_group(group: Group, what: str) -> str:
    if len(group.runs) > 1:
        return f"{what} while {len(group.runs)} runs trained together; each is tried alone."
    return f"{what}."
