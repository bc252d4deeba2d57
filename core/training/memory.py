"""The many ways in which a device's memory runs out, as one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import OutOfMemory

MESSAGES = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    if isinstance(error, (OutOfMemory, torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(message in text for message in MESSAGES)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn memory that runs out into OutOfMemory.

    Raises:
        OutOfMemory: If it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            "The device's memory ran out.",
            hint="Use a smaller batch size, shorter texts, or fewer runs at a time.",
        ) from error
