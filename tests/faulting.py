"""Faults at the named points of ``core.fault_points``, for the programs that tests start."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from core import fault_points
from core.errors import StoreError

HOW = ("kill", "nospace", "database", "stall")
STALL_SECONDS = 3600.0


def strike(point: str, how: str, stall_seconds: float = STALL_SECONDS) -> None:
    """Let one fault happen here and now.

    Args:
        how: ``kill`` (SIGKILL of this process), ``nospace`` (the disk is full), ``database`` (it
            refuses) or ``stall`` (nothing happens for long).
    """
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "nospace":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), point)
    elif how == "database":
        raise StoreError(f"The database was told to fail at {point}.")
    elif how == "stall":
        time.sleep(stall_seconds)
    else:
        raise ValueError(f"'{how}' is none of {', '.join(HOW)}")


def install_faults(
    faults: Mapping[str, str],
    *,
    once: Path | None = None,
    is_armed: Callable[[], bool] = lambda: True,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Strike at points of this process.

    Args:
        faults: How to strike, by point.
        once: Folder in which each fault leaves a mark, so that it strikes once in all processes.
        is_armed: Asked before each strike.
    """
    unknown = set(faults) - set(fault_points.POINTS)
    if unknown:
        raise ValueError(f"no such points: {', '.join(sorted(unknown))}")

    def fault(point: str) -> None:
        if point in faults and is_armed() and (once is None or _marks(once / point)):
            strike(point, faults[point], stall_seconds)

    fault_points.install(fault)


def _marks(path: Path) -> bool:
    """Leave a mark; False when it is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
