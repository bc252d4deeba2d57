"""Backup of a studio at work and its way back to life, on both databases and between them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from core.artifacts import artifact_store
from core.errors import ConfigError, StoreError
from core.local import backup as backup_module
from core.local.backup import backup, restore
from core.local.backup_folder import DATABASE, MANIFEST, link_registered, link_tree
from core.settings import get_settings
from core.states import Outcome, RunState
from core.store import migrate, runs
from core.store.models import Attempt, Run, RunEvent, Worker
from core.store.models_data import Checkpoint
from core.store.session import Store
from tests.conftest import forget_settings
from tests.services import postgres_database
from tests.soundness import check
from tests.store_tools import checkpoint, end, recipe, start, submit, worker
from tests.worker_tools import (
    Watcher,
    fake_supervisor,
    open_store,
    queue_runs,
    quick_settings,
    running,
)

KINDS = ["sqlite", "postgresql"]


class Studio:
    """A home folder with its database, one of two in a test."""

    def __init__(self, home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.url, self._monkeypatch = home, url, monkeypatch

    def enter(self) -> None:
        """Make it the studio of this process's settings."""
        self._monkeypatch.setenv("STUDIO_HOME", str(self.home))
        self._monkeypatch.setenv("STUDIO_DATABASE_URL", self.url)
        forget_settings()

    def open(self) -> Store:
        self.enter()
        return open_store(get_settings())


@pytest.fixture
def studios(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Studio, Studio]]:
    """The old and the new studio; the parameter names the database of each."""
    old, new = request.param
    with _url(old, request) as first, _url(new, request) as second:
        yield (
            Studio(tmp_path / "old", first, monkeypatch),
            Studio(tmp_path / "new", second, monkeypatch),
        )


def _url(kind: str, request: pytest.FixtureRequest) -> AbstractContextManager[str]:
    if kind == "sqlite":
        return nullcontext("")
    return postgres_database(request.getfixturevalue("postgres"))


BOTH_WAYS = pytest.mark.parametrize(
    "studios",
    [
        # The way of PostgreSQL leads through a SQLite file, so these two hold all there is.
        pytest.param((a, b), marks=() if a == b else pytest.mark.full, id=f"{a}-to-{b}")
        for a in KINDS
        for b in KINDS
    ],
    indirect=True,
)
ALONE = pytest.mark.parametrize("studios", [("sqlite", "sqlite")], indirect=True, ids=["sqlite"])


def add_dataset(home: Path) -> None:
    folder = home / "datasets" / "mine" / ("0" * 16)
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("{}\n")


@BOTH_WAYS
def test_a_studio_at_work_is_copied_and_goes_on_elsewhere(
    studios: tuple[Studio, Studio], tmp_path: Path
) -> None:
    old, new = studios
    store = old.open()
    add_dataset(old.home)
    settings = quick_settings(old.home, database_url=old.url)
    run_ids = queue_runs(store, 3)
    plan = {"steps": 4_000, "pause": 0.002, "checkpoint_every": 5}
    with running(fake_supervisor(store, settings, plan)):
        Watcher(store).wait_step(run_ids[0], 12)
        assert backup(tmp_path / "copy") == 0
    old_fence = Watcher(store).run(run_ids[0]).fence
    store.close()

    new.enter()
    assert restore(tmp_path / "copy") == 0
    assert (new.home / "datasets" / "mine" / ("0" * 16) / "train.jsonl").is_file()
    again = new.open()
    watcher = Watcher(again)
    assert set(watcher.states(run_ids)) == {RunState.QUEUED}
    resumed = watcher.run(run_ids[0])
    assert resumed.checkpoint_step >= 10
    assert resumed.fence > old_fence
    with again.snapshot() as session:
        assert check(session) == []
        assert set(session.scalars(select(Worker.state))) == {"stopped"}
    settings = quick_settings(new.home, database_url=new.url)
    with running(fake_supervisor(again, settings, {"steps": resumed.checkpoint_step + 9})):
        watcher.wait_state(run_ids, RunState.SUCCEEDED)
    last = watcher.attempts(run_ids[0])[-1]
    assert last.resumed_from_step == resumed.checkpoint_step
    with again.snapshot() as session:
        assert check(session) == []
    again.close()


@pytest.fixture
def small(studios: tuple[Studio, Studio], tmp_path: Path) -> tuple[Studio, Path]:
    """The new studio, and a backup of an old one with a finished run and a waiting one."""
    old, new = studios
    store = old.open()
    submit(store, recipe(seeds=(0, 1)))
    run = start(store, worker(store))
    adapter = old.home / "artifacts" / "runs" / run.id / "1-1" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter.safetensors").write_bytes(b"weights")
    name = adapter.relative_to(old.home / "artifacts")
    end(store, run, Outcome.SUCCEEDED, result={"updates": 0}, files={"adapter": name})
    store.close()
    (old.home / "artifacts" / "runs" / run.id / "1-1" / "unregistered").write_text("no")
    assert backup(tmp_path / "copy") == 0
    new.enter()
    return new, tmp_path / "copy"


@ALONE
def test_only_what_is_registered_is_in_it(small: tuple[Studio, Path]) -> None:
    _, copy = small
    content = json.loads((copy / MANIFEST).read_text())
    names = sorted(content["files"])
    assert [Path(name).name for name in names] == ["adapter.safetensors", DATABASE]
    assert content["schema"] == migrate.head()
    assert (copy / DATABASE).read_bytes()[18] == 1, "the file still asks for a log beside it"


@ALONE
@pytest.mark.parametrize("name", ["adapter.safetensors", DATABASE, MANIFEST])
def test_a_damaged_backup_is_refused_before_anything_is_written(
    small: tuple[Studio, Path], name: str
) -> None:
    new, copy = small
    file = next(copy.rglob(name))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="is damaged"):
        restore(copy)
    assert not new.home.exists()


@ALONE
def test_a_backup_without_a_file_is_refused(small: tuple[Studio, Path]) -> None:
    new, copy = small
    next(copy.rglob("adapter.safetensors")).unlink()
    with pytest.raises(ConfigError, match=r"adapter.safetensors is missing; nothing was changed"):
        restore(copy)
    assert not new.home.exists()


@ALONE
def test_nothing_is_ever_overwritten(small: tuple[Studio, Path]) -> None:
    new, copy = small
    new.home.mkdir()
    (new.home / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"not empty \(there: notes.txt\)"):
        restore(copy)
    with pytest.raises(ConfigError, match="exists already"):
        backup(copy)
    shutil.rmtree(new.home)
    with pytest.raises(ConfigError, match="is no backup"):
        restore(new.home)


@pytest.mark.parametrize("studios", [("sqlite", "postgresql")], indirect=True, ids=["pg"])
def test_a_database_with_rows_is_not_overwritten(small: tuple[Studio, Path]) -> None:
    new, copy = small
    store = new.open()
    submit(store)
    shutil.rmtree(new.home, ignore_errors=True)
    with pytest.raises(StoreError, match="not empty: it has 1 studies"):
        restore(copy)
    assert not new.home.exists()
    store.close()


@ALONE
@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_the_log_of_another_database_is_never_taken_in(
    end: str, small: tuple[Studio, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, copy = small
    database = tmp_path / "place" / "studio.sqlite3"
    database.parent.mkdir()
    (database.parent / f"studio.sqlite3{end}").write_text("of another")
    monkeypatch.setenv("STUDIO_DATABASE_URL", f"sqlite:///{database}")
    forget_settings()
    with pytest.raises(StoreError, match=f"studio.sqlite3{end} of another database stands beside"):
        restore(copy)
    assert not new.home.exists()
    assert not database.exists()


@ALONE
def test_a_restore_that_fails_leaves_nothing(
    small: tuple[Studio, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    new, copy = small

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module.shutil, "move", fail)
    with pytest.raises(ConfigError, match="No space left"):
        restore(copy)
    assert not new.home.exists()


@ALONE
def test_a_backup_that_fails_leaves_nothing(
    studios: tuple[Studio, Studio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studios[0].open().close()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "write_contents", fail)
    with pytest.raises(ConfigError, match="No space left"):
        backup(tmp_path / "place" / "copy")
    assert list((tmp_path / "place").iterdir()) == []


@ALONE
def test_an_older_schema_is_brought_up(small: tuple[Studio, Path], tmp_path: Path) -> None:
    new, copy = small
    older = tmp_path / "older"
    shutil.copytree(copy, older)
    (older / MANIFEST).unlink()
    migrate.downgrade(f"sqlite:///{older / DATABASE}", "0002")
    backup_module.fold_log(older / DATABASE)
    backup_module.write_contents(older, "0002", "sqlite", True, [])
    assert restore(older) == 0
    store = new.open()
    migrate.require_head(store.url)
    with store.read() as session:
        assert session.query(Run).count() == 2
    store.close()


@ALONE
def test_a_newer_schema_is_refused(small: tuple[Studio, Path]) -> None:
    new, copy = small
    store = Store(f"sqlite:///{copy / DATABASE}")
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    backup_module.fold_log(copy / DATABASE)
    (copy / MANIFEST).unlink()
    backup_module.write_contents(copy, "9999", "sqlite", True, [])
    with pytest.raises(StoreError, match="9999, which this version does not know"):
        restore(copy)
    assert not new.home.exists()


@ALONE
def test_the_database_alone(
    small: tuple[Studio, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, copy = small
    assert restore(copy) == 0
    assert backup(tmp_path / "bare", with_files=False) == 0
    assert sorted(path.name for path in (tmp_path / "bare").iterdir()) == [MANIFEST, DATABASE]
    assert "were left out" in capsys.readouterr().out
    assert new.home.is_dir()


@ALONE
def test_what_the_studio_lost_is_told(
    studios: tuple[Studio, Studio], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = studios[0].open()
    submit(store)
    run = start(store, worker(store))
    end(store, run, Outcome.SUCCEEDED, result={"updates": 0}, files={"adapter": Path("runs/gone")})
    store.close()
    assert backup(tmp_path / "copy") == 0
    assert "Not in the backup, for it is not in the studio: runs/gone" in capsys.readouterr().err


@ALONE
def test_a_run_that_was_being_stopped_is_cancelled(
    studios: tuple[Studio, Studio], tmp_path: Path
) -> None:
    old, new = studios
    store = old.open()
    submit(store, recipe(seeds=(0, 1)))
    mine = worker(store)
    stopping, held = start(store, mine, step=3), start(store, mine, step=5)
    with store.write() as session:
        runs.request_cancel(session, stopping.id)
    store.close()
    assert backup(tmp_path / "copy", with_files=False) == 0
    new.enter()
    assert restore(tmp_path / "copy") == 0
    again = new.open()
    watcher = Watcher(again)
    assert watcher.states([stopping.id, held.id]) == [RunState.CANCELLED, RunState.QUEUED]
    assert watcher.run(held.id).infra_left == 3
    assert "restored from a backup" in watcher.told(held.id)
    with again.read() as session:
        assert set(session.scalars(select(Attempt.outcome))) == {"drained"}
        assert session.scalars(select(RunEvent.after)).all().count("cancelled") == 1
    again.close()


@ALONE
def test_a_checkpoint_that_goes_while_it_is_linked_is_not_kept_in_part(
    studios: tuple[Studio, Studio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = studios[0].open()
    submit(store)
    run = start(store, worker(store))
    with store.write() as session:
        assert runs.register_checkpoint(session, run.id, run.fence, checkpoint(3))
    source = studios[0].home / "artifacts" / "run" / "3"
    source.mkdir(parents=True)
    (source / "half").write_text("what is left of it")
    artifacts, fetched = artifact_store(get_settings()), []

    def fetch(name: str) -> Path:
        """Let the studio give the checkpoint up just before it is linked."""
        with store.write() as session:
            session.execute(update(Checkpoint).values(state="deleted"))
        fetched.append(name)
        return source

    monkeypatch.setattr(artifacts, "fetch", fetch)
    assert link_registered(store, store, artifacts, tmp_path / "links") == ["run/3"]
    assert fetched == ["run/3"]
    assert not (tmp_path / "links" / "run" / "3").exists()
    store.close()


def test_links_share_the_bytes_of_one_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert link_tree(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "a").stat().st_ino == (tmp_path / "b" / "c").stat().st_ino
