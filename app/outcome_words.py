"""How runs and attempts end, for people: a title and what to do next for every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["retry", "clone", ""]


@dataclass(frozen=True)
class Ended:
    """A way to end.

    Attributes:
        title: A few words for lists.
        advice: What to do next; empty when nothing is to be done.
        action: What helps most: ``retry`` the same run, or ``clone`` it with other settings.
        button: Text of that button.
    """

    title: str
    advice: str = ""
    action: Action = "retry"
    button: str = "Retry"


_SMALLER = Ended(
    "Out of memory",
    "The batch does not fit. Clone the run with a smaller batch size or a shorter longest input; "
    "a retry with the same settings ends the same way.",
    "clone",
    "Clone with a smaller batch",
)

KINDS: dict[str, Ended] = {
    "diverged": Ended(
        "Diverged",
        "Loss or gradient became infinite. Clone the run with a lower learning rate, for example a "
        "tenth of it; a retry repeats the same numbers.",
        "clone",
        "Clone with a lower rate",
    ),
    "out_of_memory": _SMALLER,
    "oom_host": Ended(
        "Machine out of memory",
        "The system ended the trainer because the machine's memory ran out. Train fewer runs at "
        "once (STUDIO_GROUP_SIZE=1), or clone the run with a smaller batch size.",
        "clone",
        "Clone with a smaller batch",
    ),
    "disk_full": Ended(
        "Disk full",
        "A checkpoint or an artifact had no room. Free some space, then retry; the run continues "
        "from its newest checkpoint.",
    ),
    "evaluation": Ended(
        "Evaluation failed",
        "Training is done and saved; only the final evaluation failed. Evaluate again trains "
        "nothing anew.",
        "retry",
        "Evaluate again",
    ),
    "backbone_changed": Ended(
        "Base model changed",
        "The files of the base model are not those that the checkpoint was trained on. Put the "
        "former files back and retry, or clone the run to train it on the new ones.",
        "clone",
        "Clone from the beginning",
    ),
    "crash_loop": Ended(
        "Crashed again and again",
        "The trainer died several times; the log of the last attempt says where. Retry when the "
        "cause is mended.",
    ),
    "stalled": Ended(
        "No progress",
        "The trainer lived but did nothing for too long, several times. Look at the load of the "
        "machine and at the log; a retry continues from the newest checkpoint.",
    ),
    "lost": Ended(
        "Workers lost",
        "Its workers fell silent, several times. See Queue & workers whether one is there; a retry "
        "continues from the newest checkpoint.",
    ),
    "damaged_checkpoint": Ended(
        "Checkpoints damaged",
        "What was read is not what was written: look at the disk. A retry continues from the "
        "newest checkpoint that is whole.",
    ),
    "bad_data": Ended(
        "Data cannot be used", "The Data page says what is missing; retry when it is there."
    ),
    "bad_backbone": Ended(
        "Base model cannot be used", "Retry when its files are there and complete."
    ),
    "bad_start": Ended("Start cannot be used", "The run that it starts from is gone or unfit."),
    "config": Ended(
        "Settings cannot be used", "Clone the run and change them.", "clone", "Clone and change"
    ),
    "bad_file": Ended(
        "Data cannot be read",
        "The Data page says what is wrong with the file; retry when it is mended.",
    ),
    "internal": Ended(
        "Fault of the studio",
        "This should not happen; the log of the attempt says where it did. A retry continues from "
        "the newest checkpoint.",
    ),
    "trainer_died": Ended("Trainer died"),
    "crash": Ended("Trainer died"),
    "cancelled": Ended("Stopped on request"),
    "drained": Ended("Given back", action=""),
}
KINDS["damaged"] = KINDS["damaged_checkpoint"]

OUTCOMES: dict[str, str] = {
    "": "running",
    "succeeded": "Finished",
    "failed": "Failed",
    "crashed": "Crashed",
    "cancelled": "Stopped on request",
    "drained": "Given back",
    "out_of_memory": "Out of memory",
    "lost": "Worker lost",
    "stalled": "No progress",
}


def ended_by(kind: str) -> Ended:
    """Say in words how something ended; an unknown kind stands for itself."""
    return KINDS.get(kind) or Ended(kind.replace("_", " ").capitalize() or "Failed")


def attempt_title(outcome: str, kind: str) -> str:
    """Say in a few words how an attempt ended; the kind of a failure says more than "failed"."""
    if outcome in ("failed", "crashed") and kind in KINDS:
        return KINDS[kind].title
    return OUTCOMES.get(outcome, outcome)
