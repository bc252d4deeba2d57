"""Fixtures of the database tests: each runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import text

from core.artifacts import ArtifactStore
from core.store import migrate
from core.store.session import Store
from tests.artifact_places import Machines, opened_apart
from tests.fresh_database import make_database
from tests.services import postgres_database, postgres_server
from tests.soundness import check
from tests.worker_tools import Watcher, open_store, quick_settings


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server for all tests of this process."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> Iterator[Store]:
    """A PostgreSQL database of the present layout, to empty before each test."""
    with postgres_database(postgres) as url:
        migrate.upgrade(url)
        store = Store(url)
        yield store
        store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'studio.sqlite3'}"
    else:
        with postgres_database(request.getfixturevalue("postgres")) as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of the present layout without rows."""
    if request.param == "postgresql":
        shared: Store = request.getfixturevalue("migrated_postgres")
        with shared.write() as session:
            tables = ", ".join(f'"{name}"' for name in migrate.METADATA.tables)
            session.execute(text(f"TRUNCATE {tables}"))
        yield shared
        return
    url = f"sqlite:///{tmp_path / 'studio.sqlite3'}"
    make_database(url)
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def file_store(home: Path) -> Iterator[Store]:
    """The SQLite store of a home folder, as a supervisor finds it."""
    opened = open_store(quick_settings(home))
    yield opened
    opened.close()


@pytest.fixture
def watcher(file_store: Store) -> Watcher:
    """Reads that store for a test."""
    return Watcher(file_store)


@pytest.fixture
def sound(store: Store) -> Iterator[None]:
    """Whatever a test does, no invariant may break."""
    yield
    with store.read() as session:
        assert check(session) == []


@pytest.fixture(params=["folder", "file", "memory"])
def machines(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machines:
    monkeypatch.setattr(MemoryFileSystem, "_open", opened_apart)
    url = {
        "folder": str(tmp_path / "shared"),
        "file": f"file://{tmp_path}/shared",
        "memory": f"memory://{uuid.uuid4().hex}",
    }[request.param]
    stores = [ArtifactStore(url, tmp_path / name) for name in ("one", "two")]
    return Machines(url, *stores)
