"""Databases of the present layout, without a walk through the migrations for each test."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from core.store import migrate


@lru_cache(maxsize=1)
def _migrated() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "studio.sqlite3"
        migrate.upgrade(f"sqlite:///{file}")
        return file.read_bytes()


def make_database(url: str) -> None:
    """Bring a database to the present layout.

    A SQLite file that does not exist yet is a copy of one that was migrated in this process.
    """
    parts = make_url(url)
    file = Path(parts.database or "")
    if parts.get_backend_name() == "sqlite" and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_migrated())
    else:
        migrate.upgrade(url)
