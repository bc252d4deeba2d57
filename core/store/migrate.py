"""Bringing the database to the layout that this version of the studio needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.errors import StoreError
from core.store.models_data import Artifact
from core.store.session import UP_HINT, Store, store_error

METADATA = Artifact.metadata
"""All tables: the module of this one imports the module of the others."""
MIGRATION_LOCK = 7_300

Answer = TypeVar("Answer")


def scripts_folder() -> Path:
    """Folder of the migration scripts, in a checkout as in an installed wheel.

    Raises:
        StoreError: If the package ``migrations`` is not installed.
    """
    spec = importlib.util.find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise StoreError("The package 'migrations' is missing.", hint="Install the studio again.")
    return Path(next(iter(spec.submodule_search_locations)))


@lru_cache(maxsize=1)
def head() -> str:
    """Name of the newest migration that this version knows; read once in a process."""
    return ScriptDirectory(str(scripts_folder())).get_current_head() or ""


def is_current(session: Session) -> bool:
    """Tell whether the database stands at the layout that this process was started with."""
    return _version(session) == head()


def layout_problem(session: Session) -> str:
    """Say why this process may take no runs; "" when the layout is the one that it knows."""
    at, wanted = _version(session), head()
    if at == wanted:
        return ""
    return (
        f"The database stands at migration {at or 'none'}, this process knows {wanted}; it takes "
        "no runs. Start it again with the version that the database was brought to."
    )


def current(url: str) -> str:
    """Name of the migration that the database stands at; "" for an empty database.

    Raises:
        StoreError: If the database cannot be opened.
    """
    return _run(url, lambda connection: _context(connection).get_current_revision() or "")


def upgrade(url: str, revision: str = "head") -> str:
    """Bring a database to a migration, creating it when it is empty; return where it stands.

    Two processes may call it at once: the second waits and then finds nothing to do.

    Raises:
        StoreError: If the database cannot be opened, or comes from a newer version.
    """

    def work(connection: Connection) -> str:
        _require_known(connection)
        command.upgrade(_config(connection), revision)
        return _context(connection).get_current_revision() or ""

    return _run(url, work)


def downgrade(url: str, revision: str = "base") -> str:
    """Take a database back to an earlier migration; "base" empties it."""

    def work(connection: Connection) -> str:
        command.downgrade(_config(connection), revision)
        return _context(connection).get_current_revision() or ""

    return _run(url, work)


def require_head(url: str) -> None:
    """Refuse to work with a database of another layout.

    Raises:
        StoreError: Naming both versions and what to do.
    """
    at, wanted = current(url), head()
    if at != wanted:
        raise StoreError(
            f"The database stands at migration {at or 'none'}, this version needs {wanted}.",
            hint=UP_HINT,
        )


def drift(url: str) -> list[str]:
    """Differences between the migrated database and the models; empty when there are none."""
    return _run(
        url,
        lambda connection: [
            str(difference) for difference in compare_metadata(_context(connection), METADATA)
        ],
    )


def _run(url: str, work: Callable[[Connection], Answer]) -> Answer:
    """Work in one transaction that no other migration shares."""
    store = Store(url)
    engine = store.migration_engine()
    try:
        with engine.begin() as connection:
            if not store.is_sqlite:
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}
                )
            return work(connection)
    except SQLAlchemyError as error:
        raise store_error(error, store.shown_url) from error
    finally:
        engine.dispose()
        store.close()


def _version(session: Session) -> str:
    return session.scalar(text("SELECT version_num FROM alembic_version")) or ""


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"compare_type": True})


def _config(connection: Connection) -> Config:
    config = Config()
    # A percent sign in the path would start an interpolation.
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _require_known(connection: Connection) -> None:
    at = _context(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory(str(scripts_folder())).walk_revisions()}
    if at is not None and at not in known:
        raise StoreError(
            f"The database stands at migration {at}, which this version does not know.",
            hint="It was used by a newer studio; install that version.",
        )
