"""The end of an attempt's log: from this machine's file while it lives, else as it was kept."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from core.settings import Settings
from core.store.attempts import AttemptLog

TAIL_BYTES = 16 * 1024

# Colours and cursor moves (CSI), titles and links (OSC), and the short escapes.
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def attempt_text(log: AttemptLog, settings: Settings) -> str:
    """Read the last lines of an attempt's log; empty when nothing is known of it.

    Of an attempt whose worker was lost nothing was kept; its file may still be here.
    """
    if not (log.is_over and log.tail) and is_of_this_machine(log):
        return plain(file_tail(Path(log.path), settings.home_path))
    return plain(log.tail)


def is_of_this_machine(log: AttemptLog) -> bool:
    """Tell whether a log was written on this machine since it was started."""
    try:
        here = BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        here = ""
    if here and log.boot_id:
        return here == log.boot_id
    # A worker's host name is followed by its pid name space where there is one.
    return log.host.partition(" ")[0] == socket.gethostname()


def file_tail(path: Path, home: Path) -> str:
    """Last ``TAIL_BYTES`` of a file below the home folder; empty for any other file.

    The path comes from the database, so it is followed to its end before it is judged.
    """
    try:
        file = path.resolve(strict=True)
        if not file.is_relative_to(home.resolve()) or not file.is_file():
            return ""
        with file.open("rb") as stream:
            end = stream.seek(0, 2)
            # One byte more, so that a line which begins exactly there is kept.
            start = max(0, end - TAIL_BYTES - 1)
            stream.seek(start)
            found = stream.read(TAIL_BYTES + 1)
    except OSError:
        return ""
    text = found.decode("utf-8", errors="replace")
    return text.partition("\n")[2] if start else text


def plain(text: str) -> str:
    """Take colours and other control signs out; lines that overwrite themselves keep their end."""
    clean = ANSI.sub("", text)
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in clean.split("\n"))
    return CONTROLS.sub("", "\n".join(lines))[-TAIL_BYTES:]
