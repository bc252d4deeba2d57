"""Every error that a person may meet, as one tree.

StudioError                 message says what, where and what to do next
├─ ConfigError              the person can fix it in the form or the recipe
│  └─ RecipeErrors          several ConfigErrors at once, each with its field
├─ DataError                files missing, wrong or empty
├─ BackboneError            weights or tokenizer cannot be used
│  └─ BackboneChanged       its weights are not those of the checkpoint
├─ InputError               a text for classification cannot be used
├─ TrainingError            training cannot go on
│  ├─ OutOfMemory           batch or length too large for the device
│  ├─ NonFiniteLoss         the run diverged
│  ├─ StartError            the run to start from cannot be used
│  ├─ DiskFull              no room for a checkpoint or an artifact
│  ├─ EvaluationError       trained, but the final evaluation failed
│  └─ DamagedCheckpoint     a checkpoint's files are not what was written
├─ StoreError               the database refused
│  ├─ NotFound              no such study, run or prediction
│  └─ Superseded            a write came from an attempt that lost its claim
└─ QueueError               broker unreachable; queued runs stay queued
"""

from __future__ import annotations

from collections.abc import Sequence

ENDS = (".", "!", "?", ":", ";", "…")
"""What a message may end with before a hint follows; anything else gets a full stop."""


class StudioError(Exception):
    """Base of all errors of the studio.

    Args:
        message: What happened, with the value and the place.
        hint: What to do next; empty when the message already says it.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        stop = "" if not self.hint or self.message.endswith(ENDS) else "."
        return f"{self.message}{stop} {self.hint}".strip()


class ConfigError(StudioError):
    """One value that the person can fix; ``field`` is its dotted path, "" for the whole."""

    code = "config"

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.field}: {text}" if self.field else text


class RecipeErrors(ConfigError):
    """All problems of one recipe, in the order of its fields."""

    code = "recipe"

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class DataError(StudioError):
    """A task's files are missing, malformed or empty."""

    code = "bad_data"


class BackboneError(StudioError):
    """A backbone's weights, configuration or tokenizer cannot be used."""

    code = "bad_backbone"


class BackboneChanged(BackboneError):
    """A backbone's weights are not those that a checkpoint or an adapter was trained on."""

    code = "backbone_changed"


class InputError(StudioError):
    """A text given for classification cannot be used."""

    code = "bad_input"


class TrainingError(StudioError):
    """Training cannot go on."""

    code = "training"


class OutOfMemory(TrainingError):
    """The batch or the length does not fit the device."""

    code = "out_of_memory"


class NonFiniteLoss(TrainingError):
    """Loss or gradient norm became NaN or infinite."""

    code = "diverged"


class StartError(TrainingError):
    """The finished run that another is to start from is gone or does not fit."""

    code = "bad_start"


class DiskFull(TrainingError):
    """A checkpoint or an artifact does not fit on the disk."""

    code = "disk_full"


class EvaluationError(TrainingError):
    """Training is done and saved, but its final evaluation failed; a retry only evaluates."""

    code = "evaluation"


class DamagedCheckpoint(TrainingError):
    """A checkpoint is incomplete, or its bytes are not what was written."""

    code = "damaged_checkpoint"


class StoreError(StudioError):
    """The database refused or is not usable."""

    code = "store"


class NotFound(StoreError):
    """No row with this identifier."""

    code = "not_found"


class Superseded(StoreError):
    """A write came from an attempt whose claim was given to another."""

    code = "superseded"


class QueueError(StudioError):
    """The broker cannot be reached; what is queued stays queued."""

    code = "queue"
