"""One state of a live database as a SQLite file, and such a file as a new database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, func, insert, make_url, select, update
from sqlalchemy.orm import Session

from core.errors import StoreError
from core.states import ACTIVE, Outcome, RunState
from core.store import migrate
from core.store.clock import utcnow
from core.store.endings import give_back_held
from core.store.models import Run, Worker
from core.store.models_data import Prediction
from core.store.predictions import OPEN
from core.store.session import Store
from core.store.workers import stop
from core.wording import counted

ROWS_AT_ONCE = 500
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite adds to a database file's name for the files that it keeps beside it."""
FENCE_GAP = 1_000
"""What fences rise by at a restore: more than the claims of one run that may have followed the
backup, so that no process of the old life holds a fence that is given out again."""


def copy_out(store: Store, target: Path) -> None:
    """Write one state of a database into a SQLite file of the same schema; no writer waits.

    Args:
        store: A database of the present schema; it may be at work.
        target: File that does not exist, or an earlier copy, which is replaced.

    Raises:
        StoreError: If either database refuses.
    """
    target.unlink(missing_ok=True)
    if (file := sqlite_file(store.url)) is not None:
        _copy_pages(file, target)
    else:
        url = f"sqlite:///{target}"
        migrate.upgrade(url)
        copy = Store(url)
        try:
            with store.snapshot() as source, copy.write() as session:
                _copy_rows(source.connection(), session.connection())
        finally:
            copy.close()
    fold_log(target)


def copy_in(source: Path, url: str) -> None:
    """Fill an empty PostgreSQL database from a SQLite file of the present schema.

    Args:
        source: The file.
        url: Address of the database; its tables are made when there are none.

    Raises:
        StoreError: If the database holds anything, or refuses; nothing was changed then.
    """
    require_empty(url)
    migrate.upgrade(url)
    copy, store = Store(f"sqlite:///{source}"), Store(url)
    try:
        with copy.snapshot() as rows, store.write() as session:
            _require_no_rows(session, store.shown_url)
            _copy_rows(rows.connection(), session.connection())
    finally:
        copy.close()
        store.close()


def require_empty(url: str) -> None:
    """Refuse a database that holds rows, and a SQLite file that exists or has a log left.

    Raises:
        StoreError: Saying what is there and what to do.
    """
    if (file := sqlite_file(url)) is not None:
        # Not opened: that alone would make its folder.
        if file.exists():
            raise _not_empty(str(file), "it exists")
        beside = [file.with_name(file.name + end) for end in BESIDE]
        if left := [path.name for path in beside if path.exists()]:
            raise StoreError(
                f"{' and '.join(left)} of another database stands beside {file}; SQLite would "
                "write it into the restored one. Nothing was changed.",
                hint="Move it away together with its database, or restore elsewhere.",
            )
        return
    store = Store(url)
    try:
        if migrate.current(url):
            migrate.require_head(url)
            with store.read() as session:
                _require_no_rows(session, store.shown_url)
    finally:
        store.close()


def end_old_life(session: Session) -> int:
    """End workers and leases of a copied database; return the runs that went back to the queue.

    Budgets are untouched. Runs that were being stopped are cancelled. Fences rise, so that a
    process of the old life can never write as one of the new.
    """
    alive = session.scalars(select(Worker.id).where(Worker.state == "alive")).all()
    queued = 0
    for worker_id in alive:
        detail = "the studio was restored from a backup"
        states = give_back_held(session, worker_id, Outcome.DRAINED, detail)
        queued += sum(state is RunState.QUEUED for state in states.values())
        stop(session, worker_id)
    session.execute(
        update(Run)
        .where(Run.state != RunState.SUCCEEDED.value)
        .values(fence=Run.fence + FENCE_GAP)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Prediction)
        .where(Prediction.state.in_(OPEN))
        .values(state="superseded", ended_at=utcnow())
        .execution_options(synchronize_session=False)
    )
    held = session.scalar(select(func.count()).select_from(Run).where(Run.state.in_(list(ACTIVE))))
    if held:
        raise StoreError(
            f"The backup has {counted(held, 'run')} held by no living worker.",
            hint="It was made of a damaged database; take an earlier backup.",
        )
    return queued


def sqlite_file(url: str) -> Path | None:
    """File of a SQLite database; None for another one."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def fold_log(file: Path) -> None:
    """Make a SQLite file that nobody uses one single file, without a log beside it.

    Raises:
        StoreError: If SQLite refuses.
    """
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StoreError(f"The database file {file} cannot be closed: {error}.") from error


def _copy_pages(source: Path, target: Path) -> None:
    """Copy with SQLite's own backup, in one step: under a log, readers hold up no writer."""
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
    except sqlite3.Error as error:
        raise StoreError(
            f"The database {source} could not be copied to {target}: {error}.",
            hint="See that the disk has room, and look at the database: studio check.",
        ) from error


def _copy_rows(source: Connection, target: Connection) -> None:
    """Copy all tables, those first to which others point."""
    for table in migrate.METADATA.sorted_tables:
        rows = source.execution_options(yield_per=ROWS_AT_ONCE).execute(select(table))
        for some in rows.mappings().partitions(ROWS_AT_ONCE):
            target.execute(insert(table), [dict(row) for row in some])


def _require_no_rows(session: Session, url: str) -> None:
    for table in migrate.METADATA.sorted_tables:
        count = session.scalar(select(func.count()).select_from(table))
        if count:
            raise _not_empty(url, f"it has {count} {table.name}")


def _not_empty(url: str, what: str) -> StoreError:
    return StoreError(
        f"The database {url} is not empty: {what}; nothing was changed.",
        hint="Restore into a new home folder, or set STUDIO_DATABASE_URL to an empty database.",
    )
