"""What the command line does to the database: bring it up to date, check it, look for workers."""

from __future__ import annotations

import socket
import sys

from core.settings import get_settings
from core.store.check import check
from core.store.migrate import require_head, upgrade
from core.store.session import Store
from core.store.workers import list_workers

SILENT_SECONDS = 60.0


def upgrade_database() -> int:
    """Create the tables, or bring them to the schema of this version.

    Raises:
        StoreError: If the database refuses.
    """
    url = get_settings().sqlalchemy_url
    revision = upgrade(url)
    sys.stdout.write(f"The database is at schema {revision}.\n")
    return 0


def check_store() -> int:
    """Print every broken invariant of the database; 1 when there is one.

    Raises:
        StoreError: If the database refuses or is of another version.
    """
    url = get_settings().sqlalchemy_url
    require_head(url)
    with Store(url).read() as session:
        found = check(session)
    for sentence in found:
        sys.stdout.write(sentence + "\n")
    if not found:
        sys.stdout.write("All invariants hold.\n")
    return 1 if found else 0


def is_alive(role: str) -> int:
    """Tell by exit code 0 or 1 whether a worker of this machine beats.

    Raises:
        StoreError: If the database refuses.
    """
    with Store(get_settings().sqlalchemy_url).read() as session:
        rows = list_workers(session, alive_only=True)
    here = [row for row in rows if row.host == socket.gethostname() and row.role == role]
    beating = [row for row in here if row.seconds_silent < SILENT_SECONDS]
    if not beating:
        sys.stderr.write(f"No living worker of this machine answers for the role {role}.\n")
    return 0 if beating else 1
