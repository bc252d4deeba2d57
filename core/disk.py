"""Room on the disk of a folder: when to warn, and when nothing new is taken any more."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import ConfigError

LOW_SHARE, LOW_BYTES = 0.05, 1_000_000_000
FULL_SHARE, FULL_BYTES = 0.02, 200_000_000

Level = Literal["ok", "low", "full"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Room:
    """Space on the disk of a folder.

    Attributes:
        path: The folder.
        free: Bytes that are free for us.
        total: Bytes of the disk.
    """

    path: str
    free: int
    total: int

    @property
    def share(self) -> float:
        """Free share of the disk, 0 to 1."""
        return self.free / self.total if self.total else 1.0

    @property
    def level(self) -> Level:
        """``full``: nothing new is queued; ``low``: people are warned."""
        if self.share < FULL_SHARE or self.free < FULL_BYTES:
            return "full"
        if self.share < LOW_SHARE or self.free < LOW_BYTES:
            return "low"
        return "ok"


def nearest(folder: Path) -> Path:
    """Return a folder, or where it does not exist yet the nearest one above it that does."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def room(folder: Path) -> Room | None:
    """Measure the disk of a folder, or of the nearest folder above that exists.

    Returns:
        None when the system does not tell.
    """
    try:
        usage = shutil.disk_usage(nearest(folder))
    except OSError as error:
        logger.warning("the room on the disk of %s is not known: %s", folder, error)
        return None
    return Room(str(folder), usage.free, usage.total)


def require_room(folder: Path) -> None:
    """Refuse new work when the disk is nearly full.

    Raises:
        ConfigError: Naming the folder, what is free, and what to do.
    """
    found = room(folder)
    if found is not None and found.level == "full":
        raise ConfigError(
            f"The disk of {folder} has {size(found.free)} free, {found.share:.1%} of it; nothing "
            f"is queued below {FULL_SHARE:.0%} or {size(FULL_BYTES)}, because a run that cannot "
            "write its checkpoints is lost.",
            hint="Free some space there, or move the home folder to a larger disk.",
        )


def size(num_bytes: float) -> str:
    """Write a number of bytes for people, for example ``850 MB``, ``12 GB`` or ``12.5 GB``."""
    if num_bytes < 1e9:
        return f"{num_bytes / 1e6:.0f} MB"
    return f"{num_bytes / 1e9:.1f}".removesuffix(".0") + " GB"
