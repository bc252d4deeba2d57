"""Files that are registered: damage is found, leftovers are listed, work on its way is left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from core.artifacts import ArtifactStore
from core.errors import ConfigError, StoreError
from core.local import sqlite_health
from core.local.kept import (
    LEFT_SECONDS,
    check_files,
    leftovers,
    remove,
    require_same_studio,
)
from core.local.sqlite_health import look_at_sqlite
from core.reporting import Checkpoint
from core.states import Outcome
from core.store import migrate, runs
from core.store.session import Store
from core.training.sealed import write_sealed
from tests.store_tools import end, recipe, start, submit, worker


class Shelf:
    """A run with a registered checkpoint and a finished one with an adapter."""

    def __init__(self, store: Store, artifacts: Path) -> None:
        self.store, self.artifacts = store, artifacts
        submit(store, recipe(seeds=(0, 1)))
        mine = worker(store)
        done = start(store, mine)
        adapter, _ = self.sealed(done, "adapter")
        told = {"adapter": adapter.relative_to(artifacts)}
        end(store, done, Outcome.SUCCEEDED, result={"updates": 0}, files=told)
        self.run = start(store, mine)
        self.folder, seal = self.sealed(self.run, "checkpoints/step-4")
        saved = Checkpoint(4, self.folder, seal, 10)
        name = self.folder.relative_to(artifacts).as_posix()
        with store.write() as session:
            assert runs.register_checkpoint(
                session, self.run.id, self.run.fence, saved, folder=name
            )

    def sealed(self, run: runs.ClaimedRun, name: str) -> tuple[Path, str]:
        folder = self.attempt(run) / name
        seal = write_sealed(
            folder, lambda part: (part / "weights").write_bytes(b"w" * 100) and None
        )
        return folder, seal.sha256

    def attempt(self, run: runs.ClaimedRun) -> Path:
        return self.artifacts / "runs" / run.id / f"{run.attempt}-{run.fence}"

    def found(self) -> list[str]:
        place = ArtifactStore("", self.artifacts)
        return [str(one) for one in check_files(self.store, place, Counter())]


@pytest.fixture
def shelf(store: Store, tmp_path: Path) -> Shelf:
    shelf = Shelf(store, tmp_path / "artifacts")
    assert shelf.found() == []
    return shelf


def test_every_kind_of_damage_is_found(shelf: Shelf) -> None:
    file = shelf.folder / "weights"
    file.write_bytes(b"v" * 100)
    assert "S1-2: checkpoint 4" in shelf.found()[0]
    assert "weights is not what was written" in shelf.found()[0]
    file.unlink()
    assert "lacks weights" in shelf.found()[0]
    shutil.rmtree(shelf.folder)
    assert "is not there" in shelf.found()[0]
    shelf.sealed(shelf.run, "checkpoints/step-4")
    assert shelf.found() == []
    shutil.rmtree(shelf.folder)
    write_sealed(shelf.folder, lambda part: (part / "other").write_bytes(b"x") and None)
    assert "its digest differs" in shelf.found()[0]


def test_a_place_for_all_machines_is_looked_at(shelf: Shelf, tmp_path: Path) -> None:
    place = ArtifactStore(str(tmp_path / "place"), shelf.artifacts)
    found = check_files(shelf.store, place, Counter())
    assert [finding.subject for finding in found] == ["S1-2", "S1-1"]
    for folder in shelf.artifacts.glob("runs/*/*"):
        place.publish(folder / "adapter") if (folder / "adapter").exists() else None
    place.publish(shelf.folder)
    assert check_files(shelf.store, place, Counter()) == []


def test_leftovers_are_what_nobody_knows(shelf: Shelf) -> None:
    mine = shelf.attempt(shelf.run)
    strange = shelf.artifacts / "runs" / ("0" * 32)
    other = mine.parent / "7-9"
    part = mine / "checkpoints" / ".step-8.abc.part"
    coming = mine / "checkpoints" / "step-8"
    for folder in (strange, other, part, coming):
        folder.mkdir(parents=True)
    later = time.time() + LEFT_SECONDS + 60
    assert leftovers(shelf.store, shelf.artifacts) == []
    assert set(leftovers(shelf.store, shelf.artifacts, later)) == {strange, other, part}
    end(shelf.store, shelf.run, Outcome.DRAINED)
    left = leftovers(shelf.store, shelf.artifacts, later)
    assert set(left) == {strange, other, part, coming}
    remove(left)
    assert leftovers(shelf.store, shelf.artifacts, later) == []
    assert shelf.folder.is_dir()
    assert shelf.found() == []


def test_nothing_is_deleted_by_a_database_that_is_not_theirs(shelf: Shelf) -> None:
    require_same_studio(shelf.store, shelf.artifacts)
    for number in range(2):
        (shelf.artifacts / "runs" / f"{number:032}").mkdir()
    require_same_studio(shelf.store, shelf.artifacts)
    (shelf.artifacts / "runs" / f"{2:032}").mkdir()
    with pytest.raises(ConfigError, match="knows 2 of 5 runs"):
        require_same_studio(shelf.store, shelf.artifacts)


def killed_database(home: Path) -> Path:
    """A database as its killed user leaves it: with a log beside it."""
    file = home / "studio.sqlite3"
    migrate.upgrade(f"sqlite:///{file}")
    live = sqlite3.connect(file, isolation_level=None)
    live.execute("PRAGMA journal_mode=WAL")
    live.execute("CREATE TABLE something (x)")
    copy = home / "killed"
    copy.mkdir()
    for path in home.glob("studio.sqlite3*"):
        shutil.copyfile(path, copy / path.name)
    live.close()
    return copy / "studio.sqlite3"


def test_a_database_that_was_not_closed_is_looked_through(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_health, "SAFE_SQLITE", (3, 0, 0))
    file = killed_database(home)
    log = file.with_name(f"{file.name}-wal")
    warnings: list[str] = []
    kept = log.read_bytes()
    look_at_sqlite(f"sqlite:///{file}", warnings.append)
    assert warnings == []
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 6] = os.urandom(4096 * 4)
    file.write_bytes(content)
    look_at_sqlite(f"sqlite:///{file}", warnings.append)
    log.write_bytes(kept)
    with pytest.raises(StoreError, match="is damaged.*studio restore"):
        look_at_sqlite(f"sqlite:///{file}", warnings.append)
    log.write_bytes(kept)
    monkeypatch.setattr(sqlite_health, "LARGEST_CHECKED", 10)
    look_at_sqlite(f"sqlite:///{file}", warnings.append)
    assert "was not closed" in warnings[0]


def test_an_old_sqlite_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(sqlite_health, "SAFE_SQLITE", (99, 1, 2))
    look_at_sqlite(f"sqlite:///{home / 'studio.sqlite3'}", warnings.append)
    assert "99.1.2 is without it" in warnings[0]
    look_at_sqlite("postgresql://user@host/studio", warnings.append)
    assert len(warnings) == 1
