"""Engines and sessions: SQLite in WAL or PostgreSQL, one way to read and one to write."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

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
from core.settings import get_settings

log = logging.getLogger(__name__)

BUSY_SECONDS = 10
SAFE_SQLITE = (3, 51, 3)
"""First version without a rare fault in which two writers could damage a WAL database."""


class Refused(StoreError):
    """The database will refuse these values however often they are written."""


UP_HINT = "Run ./studio up, which brings the database up to date."


def store_error(error: SQLAlchemyError, url: str) -> StoreError:
    """Say in a sentence what the database refused and what to do."""
    detail = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    low = detail.lower()
    is_value_wrong = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    if is_value_wrong or isinstance(error, DataError | IntegrityError):
        return Refused(f"The database refused: {detail}.")
    if "database is locked" in low or "lock timeout" in low or "deadlock" in low:
        return StoreError(
            f"The database is busy: another process held it for {BUSY_SECONDS} seconds; "
            "nothing was changed.",
            hint="Try again; if it stays so, look for a stuck process.",
        )
    if "full" in low or "no space" in low:
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
            if sqlite3.sqlite_version_info < SAFE_SQLITE:
                log.debug("SQLite %s is older than 3.51.3", sqlite3.sqlite_version)
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
        """Open a session that only reads; all its queries see one state of the database.

        Raises:
            StoreError: If the database refuses.
        """
        try:
            with Session(self._reader, expire_on_commit=False) as session:
                yield session
        except SQLAlchemyError as error:
            raise store_error(error, self.shown_url) from error

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """Open a transaction that commits at the end, or changes nothing when an error leaves it.

        Args:
            durable: False only for scalars: a power cut may lose the last moments.

        Raises:
            StoreError: If the database refuses or stays busy for 10 seconds; nothing was changed.
        """
        engine = self._writer if durable else self._quick
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                if not durable and not self.is_sqlite:
                    session.execute(text("SET LOCAL synchronous_commit = off"))
                yield session
        except SQLAlchemyError as error:
            raise store_error(error, self.shown_url) from error

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
