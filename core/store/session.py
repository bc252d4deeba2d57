"""Engines and sessions: SQLite in WAL or PostgreSQL, one way to read and one to write."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, Pool

from core.errors import StoreError
from core.fault_points import reach
from core.settings import get_settings

BUSY_SECONDS = 10
SNAPSHOT_SECONDS = 3600
KEEP_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A PostgreSQL host that vanished is noticed after 5 + 3 × 3 seconds without an answer (15,000 ms
for what was sent), well inside a lease; sockets of the same machine do not heed this."""
DISK_FULL = ("database or disk is full", "no space left", "could not extend file")
TRIES = 6
PAUSE_SECONDS = 0.02
"""Longest pause before the second try; each further one may be twice as long."""

Answer = TypeVar("Answer")


class Refused(StoreError):
    """The database will refuse these values however often they are written."""


class Collided(StoreError):
    """Two transactions waited for each other and this one was rolled back; the next may pass."""


UP_HINT = "Run ./studio up, which brings the database up to date."


def store_error(error: SQLAlchemyError, url: str) -> StoreError:
    """Say in a sentence what the database refused and what to do."""
    detail = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    low = detail.lower()
    is_value_wrong = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    if is_value_wrong or isinstance(error, DataError | IntegrityError):
        return Refused(f"The database refused: {detail}.")
    if "deadlock" in low or "could not serialize" in low:
        return Collided(
            "Two changes of the database stood in each other's way; this one was not made.",
            hint="Try again.",
        )
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return StoreError(
            f"The connection to the database {url} was lost; a change that was being made may have "
            "been made or not.",
            hint="Look, or simply try again: a change is never made twice.",
        )
    if "database is locked" in low or "lock timeout" in low:
        return StoreError(
            f"The database is busy: another process held it for {BUSY_SECONDS} seconds; "
            "nothing was changed.",
            hint="Try again; if it stays so, look for a stuck process.",
        )
    if any(message in low for message in DISK_FULL):
        return StoreError(
            f"The disk of the database {url} is full; nothing was changed.",
            hint="Free some space and try again.",
        )
    if "no such table" in low or "no such column" in low or "does not exist" in low:
        return StoreError(f"The database {url} lacks a table or column ({detail}).", hint=UP_HINT)
    if "unable to open" in low or "readonly" in low or "connection" in low:
        return StoreError(f"The database {url} cannot be opened: {detail}.")
    return StoreError(f"The database refused: {detail}.")


def _sqlite_engine(
    url: str, *, begin: str, pragmas: tuple[str, ...], pool: type[Pool] | None = None
) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        poolclass=pool,
    )

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver must not start transactions by itself: it would start deferred ones.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


class Store:
    """A database with a path for readers and one for writers.

    Args:
        url: SQLAlchemy URL of a SQLite file or of PostgreSQL (psycopg 3).

    Raises:
        StoreError: If the address is not one of these.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise StoreError(
                f"'{url}' is no database address.",
                hint="Examples: sqlite:////path/studio.sqlite3, postgresql://user@host/studio",
            ) from error
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.url = parsed.render_as_string(hide_password=False)
        self.shown_url = parsed.render_as_string(hide_password=True)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if not parsed.database or parsed.database == ":memory:":
                raise StoreError("The database must be a file; SQLite in memory is not supported.")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._reader = _sqlite_engine(
                self.url, begin="BEGIN", pragmas=("foreign_keys=ON", "query_only=ON")
            )
            self._writer = _sqlite_engine(
                self.url, begin="BEGIN IMMEDIATE", pragmas=("foreign_keys=ON", "synchronous=FULL")
            )
            self._quick = _sqlite_engine(
                self.url, begin="BEGIN IMMEDIATE", pragmas=("foreign_keys=ON", "synchronous=NORMAL")
            )
        elif parsed.drivername == "postgresql+psycopg":
            options: dict[str, Any] = {
                "pool_pre_ping": True,
                "connect_args": {
                    **KEEP_ALIVE,
                    "connect_timeout": BUSY_SECONDS,
                    "options": f"-c lock_timeout={BUSY_SECONDS}s -c statement_timeout=30s",
                },
            }
            self._writer = create_engine(self.url, **options)
            self._quick = self._writer
            self._reader = self._writer.execution_options(postgresql_readonly=True)
        else:
            raise StoreError(
                f"The database {self.shown_url} is not supported.",
                hint="Use SQLite or PostgreSQL (postgresql://…).",
            )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that only reads.

        On SQLite all its queries see one state of the database; on PostgreSQL each query sees the
        newest. Where several queries must agree, take ``snapshot``.

        Raises:
            StoreError: If the database refuses.
        """
        try:
            with Session(self._reader, expire_on_commit=False) as session:
                yield session
        except SQLAlchemyError as error:
            raise store_error(error, self.shown_url) from error

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a session that only reads; all its queries see one state, and no writer waits.

        Meant for work that reads much, so a query may take an hour. While it is open on SQLite,
        the write-ahead log cannot be folded back and grows.

        Raises:
            StoreError: If the database refuses.
        """
        try:
            with Session(self._reader, expire_on_commit=False) as session:
                if not self.is_sqlite:
                    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                    limit = f"SET LOCAL statement_timeout = '{SNAPSHOT_SECONDS}s'"
                    session.execute(text(limit))
                yield session
        except SQLAlchemyError as error:
            raise store_error(error, self.shown_url) from error

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """Open a transaction that commits at the end, or changes nothing when an error leaves it.

        A connection lost in the commit leaves open whether it happened, so every caller's work must
        do no harm when it is done twice: claims and endings carry a fence, launches a key, scalars
        their steps, and a wish such as cancel finds itself fulfilled.

        Args:
            durable: False only for scalars: a power cut may lose the last moments.

        Raises:
            StoreError: If the database refuses or stays busy for 10 seconds; nothing was changed
                unless the message says that this is not known.
            Collided: If another transaction was in the way; ``transact`` tries again by itself.
        """
        engine = self._writer if durable else self._quick
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                if not durable and not self.is_sqlite:
                    session.execute(text("SET LOCAL synchronous_commit = off"))
                yield session
                reach("store.commit")
            reach("store.committed")
        except SQLAlchemyError as error:
            raise store_error(error, self.shown_url) from error

    def transact(self, work: Callable[[Session], Answer], *, durable: bool = True) -> Answer:
        """Do work in a transaction, again when another one stood in its way, six times at most.

        Only what is known to be undone is repeated: a deadlock or a collision on PostgreSQL. The
        pauses between the tries are drawn, so that two do not meet again and again.

        Args:
            work: Called with the session; must change nothing but the database.
            durable: As for ``write``.

        Raises:
            StoreError: As for ``write``.
        """
        for earlier in range(TRIES - 1):
            try:
                with self.write(durable=durable) as session:
                    return work(session)
            except Collided:
                time.sleep(random.uniform(0, PAUSE_SECONDS * 2**earlier))
        with self.write(durable=durable) as session:
            return work(session)

    def migration_engine(self) -> Engine:
        """Return an engine without pool for migrations; dispose of it afterwards.

        On SQLite foreign keys are off: a migration that builds a table anew drops the old one,
        which would delete all rows that point to it.
        """
        if self.is_sqlite:
            return _sqlite_engine(
                self.url,
                begin="BEGIN IMMEDIATE",
                pragmas=("foreign_keys=OFF", "synchronous=FULL"),
                pool=NullPool,
            )
        return create_engine(self.url, poolclass=NullPool)

    def close(self) -> None:
        """Close all idle connections."""
        for engine in {self._reader, self._writer, self._quick}:
            engine.dispose()


@lru_cache(maxsize=1)
def get_store() -> Store:
    """Return the store of this process, at the address of the settings."""
    return Store(get_settings().sqlalchemy_url)
