"""Log files of the trainer: one for each group, bounded in size and number."""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_BYTES = 20 * 1024 * 1024
TAIL_BYTES = 256 * 1024
KEPT_FILES = 1000
SHOWN_BYTES = 16 * 1024

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Colours, cursor moves and titles of a terminal."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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

    def tail(self, path: Path) -> str:
        """Last ``SHOWN_BYTES`` of a file as plain text; "" when it cannot be read.

        A first line that is cut off is left out, of a line that was written over (a progress bar)
        only its last state is kept.
        """
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - SHOWN_BYTES))
                content = file.read(SHOWN_BYTES)
        except OSError:
            return ""
        if size > SHOWN_BYTES and b"\n" in content:
            content = content.partition(b"\n")[2]
        return plain(content.decode("utf-8", errors="replace"))


def plain(text: str) -> str:
    """Take everything out of a text that a terminal would obey."""
    lines = (ESCAPES.sub("", line.rstrip("\r")).rpartition("\r")[2] for line in text.split("\n"))
    return CONTROLS.sub("", "\n".join(lines))
