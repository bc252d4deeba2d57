"""Log files of the trainer: one for each group, bounded in size and number."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 20 * 1024 * 1024
CUT_BYTES = 256 * 1024
KEPT_FILES = 1000
KEPT_SECONDS = 86_400.0


class TrainerLogs:
    """Folder of log files below the home folder.

    Args:
        folder: Made when it is missing.
        max_bytes: A file above this is cut down to its end.
        kept_files: The oldest files above this number are removed, but none of the last day.
    """

    def __init__(
        self, folder: Path, max_bytes: int = MAX_BYTES, kept_files: int = KEPT_FILES
    ) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._kept_files = kept_files

    def new(self, group_id: str) -> Path:
        """Return the path of a group's file, after removing the oldest files over the limit.

        Raises:
            OSError: If the file cannot be made; old ones that cannot be removed just stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prune()
        path = self.path(group_id)
        path.touch()
        return path

    def _prune(self) -> None:
        """Remove old files over the limit; other workers may do the same at the same time."""
        ages: list[tuple[float, Path]] = []
        for path in self.folder.glob("group-*.log"):
            with suppress(OSError):
                ages.append((path.stat().st_mtime, path))
        before = time.time() - KEPT_SECONDS
        for changed_at, path in sorted(ages)[: max(0, len(ages) + 1 - self._kept_files)]:
            if changed_at < before:
                with suppress(OSError):
                    path.unlink()

    def path(self, group_id: str) -> Path:
        """Path of a group's file."""
        return self.folder / f"group-{group_id}.log"

    def cut(self, path: Path) -> None:
        """Cut a file that is too large down to its end.

        The trainer appends, so it goes on behind what is kept; lines that it writes at this very
        moment may be lost.
        """
        try:
            size = path.stat().st_size
            if size <= self._max_bytes:
                return
            with path.open("r+b") as file:
                file.seek(-min(CUT_BYTES, self._max_bytes // 2), os.SEEK_END)
                tail = file.read()
                file.truncate(0)
            with path.open("ab") as file:
                head = f"[cut at {self._max_bytes} bytes; the last {len(tail)} follow]\n"
                file.write(head.encode() + tail)
        except OSError:
            return
