"""Room on the disk: asked for before writing, and named when the disk refuses."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from core.disk import nearest
from core.errors import DiskFull, TrainingError

MARGIN_BYTES = 50_000_000
TIMES_THE_LAST = 3
MEGABYTE = 1_000_000
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def need_of(num_bytes: int) -> int:
    """Return the free bytes that something must find before it is written.

    Args:
        num_bytes: Size of the last one of its kind, 0 when there was none.
    """
    return TIMES_THE_LAST * num_bytes + MARGIN_BYTES


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that a path is or would be on.

    Raises:
        OSError: If the disk does not answer.
    """
    return shutil.disk_usage(nearest(path)).free


@contextmanager
def room_for(path: Path, num_bytes: int) -> Iterator[None]:
    """Write something only where there is room, and say what it means when the disk refuses.

    Args:
        path: What is written.
        num_bytes: Size of the last one of its kind, 0 when there was none.

    Raises:
        DiskFull: If there is too little room before, or none left while writing.
        TrainingError: If the disk refuses for another reason.
    """
    need = need_of(num_bytes)
    try:
        if free_bytes(path) < need:
            raise _full(path, need, errno.ENOSPC)
        yield
    except (OSError, SafetensorError) as error:
        number = _number(error)
        if number in FULL:
            raise _full(path, need, number) from error
        reason = os.strerror(number) if number else str(error)
        raise TrainingError(
            f"{path} could not be written: {reason}.",
            hint="Check the disk and the folder's permissions, then retry the run.",
        ) from error


def _full(path: Path, need: int, number: int) -> DiskFull:
    wanted, free = -(-need // MEGABYTE), free_bytes(path) // MEGABYTE
    what = "No space left" if number == errno.ENOSPC else "The owner's disk quota is used up"
    # A disk may also have no room for more files, however small.
    but = "" if free < wanted else "; the number of files or a quota may be what is used up"
    return DiskFull(
        f"{what} for {path}: {wanted} MB of free space are needed, {free} MB are free{but}.",
        hint="Free some disk space, then retry the run; it continues from its last checkpoint.",
    )


def _number(error: OSError | SafetensorError) -> int:
    """Return the system's number of an error, 0 when it names none."""
    if isinstance(error, OSError):
        return error.errno or 0
    # The library writes by itself and keeps the number only in its message.
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else 0
