"""What the command line does to the database: bring it up to date, check it, look for workers."""

from __future__ import annotations

import sys
from pathlib import Path

from core.artifacts import artifact_store
from core.host import host_name
from core.local.kept import check_files, leftovers, remove, require_same_studio
from core.settings import get_settings
from core.store.check import examine
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


def check_store(*, files: bool = False, remove_leftovers: bool = False) -> int:
    """Print how much was examined and every broken invariant; 1 when there is one.

    The database may be at work: one state of it is looked at, and no writer waits.

    Args:
        files: Also look at checkpoints and artifacts, and for folders that nobody knows.
        remove_leftovers: Delete those folders.

    Raises:
        StoreError: If the database refuses or is of another version.
        ConfigError: If folders are to be deleted and the database is not theirs.
        ArtifactError: If the place of the artifacts cannot be asked.
    """
    settings = get_settings()
    require_head(settings.sqlalchemy_url)
    store = Store(settings.sqlalchemy_url)
    if remove_leftovers:
        require_same_studio(store, settings.artifacts_path)
    with store.snapshot() as session:
        report = examine(session)
    left: list[Path] = []
    if files:
        report.findings += check_files(store, artifact_store(settings), report.counted)
        left = leftovers(store, settings.artifacts_path)
    store.close()
    sys.stdout.write(f"Examined: {report.examined}.\n")
    for finding in report.findings:
        sys.stdout.write(f"{finding}\n")
    if left:
        _tell_leftovers(left, remove_leftovers)
    if report.findings:
        sys.stdout.write(f"Findings: {len(report.findings)}.\n")
    else:
        sys.stdout.write("All invariants hold.\n")
    return 1 if report.findings else 0


def _tell_leftovers(left: list[Path], remove_leftovers: bool) -> None:
    for path in left:
        sys.stdout.write(f"Leftover, known to no attempt: {path}\n")
    if remove_leftovers:
        remove(left)
        gone = sum(not path.exists() for path in left)
        sys.stdout.write(f"Removed {gone} of {len(left)} leftover folders.\n")
    else:
        sys.stdout.write("studio check --files --remove-leftovers deletes them.\n")


def is_alive(role: str) -> int:
    """Tell by exit code 0 or 1 whether a worker of this machine beats.

    Raises:
        StoreError: If the database refuses.
    """
    with Store(get_settings().sqlalchemy_url).read() as session:
        rows = list_workers(session, alive_only=True)
    here = [row for row in rows if row.host == host_name() and row.role == role]
    beating = [row for row in here if row.seconds_silent < SILENT_SECONDS]
    if not beating:
        sys.stderr.write(f"No living worker of this machine answers for the role {role}.\n")
    return 0 if beating else 1
