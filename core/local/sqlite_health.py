"""A look at a SQLite database before a studio starts on it; nothing but the standard library."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from core.errors import StoreError

SAFE_SQLITE = (3, 51, 3)
"""First version without a rare fault in which two writers could damage a WAL database."""

LARGEST_CHECKED = 2_000_000_000
MOST_TOLD = 3


def look_at_sqlite(url: str, warn: Callable[[str], None]) -> None:
    """Warn of an old SQLite, and look for damage in a database that was not closed.

    A log beside the file tells that its last user was killed.

    Args:
        url: Address of the database; anything but a SQLite file is left alone.
        warn: Receives sentences for the person.

    Raises:
        StoreError: If the file is damaged.
    """
    scheme, _, path = url.partition("///")
    if not scheme.startswith("sqlite"):
        return
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        safe = ".".join(map(str, SAFE_SQLITE))
        warn(
            f"SQLite {sqlite3.sqlite_version} has a rare fault that can damage a database in "
            f"heavy use; {safe} is without it. Keep backups: studio backup FOLDER."
        )
    file = Path(path)
    log = file.with_name(f"{file.name}-wal")
    if not file.is_file() or not log.is_file() or not log.stat().st_size:
        return
    size = file.stat().st_size
    if size > LARGEST_CHECKED:
        warn(
            f"The database was not closed at its last use. It has {size / 1e9:.1f} GB, so it is "
            "not looked through now; do it at leisure: studio check."
        )
        return
    damage = _damage(file)
    if damage:
        raise StoreError(
            f"The database {file} is damaged: {'; '.join(damage[:MOST_TOLD])}.",
            hint="Move the home folder away and restore a backup: studio restore FOLDER.",
        )


def _damage(file: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(file)) as connection:
            answers = [str(row[0]) for row in connection.execute("PRAGMA quick_check")]
    except sqlite3.OperationalError:
        # Somebody else uses it; who brings it to this version says more.
        return []
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [answer for answer in answers if answer != "ok"]
