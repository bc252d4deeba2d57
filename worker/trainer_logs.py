"""Log files of the trainer: one for each group, bounded in size and number."""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 20 * 1024 * 1024
TAIL_BYTES = 256 * 1024
KEPT_FILES = 1000


class TrainerLogs:
    """Folder of log files below the home folder.

    Args:
        folder: Made when it is missing.
        max_bytes: A file above this is cut down to its end.
        kept_files: The oldest files above this number are removed.
    """

    def __init__(
        self, folder: Path, max_bytes: int = MAX_BYTES, kept_files: int = KEPT_FILES
    ) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._kept_files = kept_files

    def new(self, group_id: str) -> Path:
        """Return the path of a group's file, after removing the oldest files over the limit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted(self.folder.glob("group-*.log"), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) + 1 - self._kept_files)]:
            path.unlink(missing_ok=True)
        path = self.path(group_id)
        path.touch()
        return path

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
                file.seek(-min(TAIL_BYTES, self._max_bytes // 2), os.SEEK_END)
                tail = file.read()
                file.truncate(0)
            with path.open("ab") as file:
                head = f"[cut at {self._max_bytes} bytes; the last {len(tail)} follow]\n"
                file.write(head.encode() + tail)
        except OSError:
            return
