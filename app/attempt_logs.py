"""The end of an attempt's log: from this machine's file while it lives, else as it was kept."""

from __future__ import annotations

from pathlib import Path

from core.host import is_this_machine
from core.log_tail import plain, read_tail
from core.settings import Settings
from core.store.attempts import AttemptLog


def attempt_text(log: AttemptLog, settings: Settings) -> str:
    """Read the last lines of an attempt's log; empty when nothing is known of it.

    Of an attempt whose worker was lost nothing was kept; its file may still be here.
    """
    if not (log.is_over and log.tail) and is_this_machine(log.host, log.boot_id):
        return file_tail(Path(log.path), settings.home_path / "logs")
    return plain(log.tail)


def file_tail(path: Path, logs: Path) -> str:
    """Last lines of a file in the folder of logs; empty for any other file.

    The path comes from the database, so it is followed to its end before it is judged.
    """
    try:
        file = path.resolve(strict=True)
        is_log = file.is_relative_to(logs.resolve()) and file.is_file()
    except OSError:
        return ""
    return read_tail(file) if is_log else ""
