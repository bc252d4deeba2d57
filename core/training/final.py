"""What may go wrong once training is done: it costs the evaluation, never the training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from core.errors import DiskFull, EvaluationError, StudioError
from core.training.memory import is_out_of_memory

FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    StudioError,
    TypeError,
    ValueError,
    pa.ArrowException,
)
"""What a metric, a kernel or a writer raises; a stop and the end of the process are none."""

log = logging.getLogger(__name__)


@contextmanager
def final_evaluation(run_id: str) -> Iterator[None]:
    """Say of an error that only the final evaluation failed; a retry then only evaluates.

    Args:
        run_id: Whose evaluation it is, for the log; empty: several runs' at once.

    Raises:
        EvaluationError: With the message of what happened.
        DiskFull: If the disk is full.
    """
    try:
        yield
    except DiskFull:
        raise
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        log.exception("the final evaluation of %s failed", run_id or "a group")
        what = error.message if isinstance(error, StudioError) else _words(error)
        raise EvaluationError(
            f"Training is done and saved, but its final evaluation failed: {what}",
            hint="Evaluate again.",
        ) from error


def _words(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return text if text.endswith(".") else f"{text}."
