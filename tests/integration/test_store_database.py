"""Layout, sessions, errors and the checker on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from core.errors import StoreError
from core.settings import Settings
from core.states import Outcome
from core.store import migrate, runs, scalars
from core.store import session as session_module
from core.store.models import Run, RunEvent, Study
from core.store.models_data import Checkpoint, ScalarChunk, ScalarSummary
from core.store.session import Store
from tests.fresh_database import make_database
from tests.soundness import check
from tests.store_tools import checkpoint, end, recipe, start, submit, succeed, worker


def test_migrations_lead_to_the_models_and_back(database_url: str) -> None:
    assert migrate.current(database_url) == ""
    assert migrate.upgrade(database_url) == migrate.head()
    assert migrate.drift(database_url) == []
    assert migrate.upgrade(database_url) == migrate.head()
    assert migrate.downgrade(database_url) == ""
    with pytest.raises(StoreError, match="stands at migration none"):
        migrate.require_head(database_url)
    migrate.upgrade(database_url)
    migrate.require_head(database_url)


def test_the_labels_of_controls_are_brought_up_to_date(database_url: str) -> None:
    migrate.upgrade(database_url)
    store = Store(database_url)
    old = {
        "random cut (deep_add)": "random_cut (deep_add)",
        "random slot": "random_slot",
        "fixed_best (cut 5)": "fixed_best",
        "prompt_tuning (cut 5)": "prompt_tuning (cut 5)",
    }
    tuned = recipe(("fixed_best",), tuning={"protocol": "tuned", "trials": 5})
    submit(store, tuned)
    ids = submit(store, recipe(seeds=range(len(old)))).run_ids
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0004'"))
        for run_id, label in zip(ids, old, strict=True):
            session.execute(update(Run).where(Run.id == run_id).values(method_label=label))
    migrate.upgrade(database_url)
    with store.read() as session:
        found = [session.get_one(Run, run_id).method_label for run_id in ids]
        is_trial = Run.role == "trial"
        tried = session.scalars(select(Run.method_label).where(is_trial).order_by(Run.ordinal))
        said = list(tried)
    store.close()
    assert found == list(old.values())
    assert said == ["fixed_best", *(f"fixed_best (cut {cut})" for cut in (8, 5, 2, 0))]


def test_a_database_of_a_newer_version_is_left_alone(database_url: str) -> None:
    migrate.upgrade(database_url)
    store = Store(database_url)
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreError, match="9999, which this version does not know"):
        migrate.upgrade(database_url)


def add_study(session: Session) -> None:
    session.add(Study(number=1, name="x", recipe="{}"))
    session.flush()


def add_study_and_fail(store: Store) -> None:
    with store.write() as session:
        add_study(session)
        raise KeyError


def test_a_transaction_that_fails_changes_nothing(store: Store) -> None:
    with pytest.raises(KeyError):
        add_study_and_fail(store)
    with store.read() as session:
        assert session.query(Study).count() == 0


def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match=r"(?i)read-?only"), store.read() as session:
        add_study(session)


@pytest.mark.parametrize(
    "change", ["state='dreaming'", "state='running'", "fence=-1", "infra_left=-1", "role='x'"]
)
def test_the_database_itself_refuses_impossible_rows(store: Store, change: str) -> None:
    submit(store)
    with pytest.raises(StoreError) as caught, store.write() as session:
        session.execute(text(f"UPDATE runs SET {change}"))
    assert isinstance(caught.value.__cause__, IntegrityError)


def test_times_keep_their_zone(store: Store) -> None:
    submit(store)
    with store.read() as session:
        study = session.query(Study).one()
    assert study.created_at.utcoffset() is not None


def test_a_busy_database_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session_module, "BUSY_SECONDS", 0)
    file = tmp_path / "studio.sqlite3"
    make_database(f"sqlite:///{file}")
    store = Store(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="is busy.*nothing was changed"):
        submit(store)
    other.close()
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "no database address"),
        ("sqlite://", "must be a file"),
        ("mysql://root@localhost/x", "not supported"),
    ],
)
def test_an_address_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store(url)


def test_passwords_are_never_shown() -> None:
    store = Store("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in store.shown_url
    with pytest.raises(StoreError) as caught, store.read() as session:
        session.execute(text("SELECT 1"))
    assert "secret" not in str(caught.value)
    assert "cannot be opened" in str(caught.value)


@pytest.mark.parametrize(
    ("detail", "is_full"),
    [
        ("database or disk is full", True),
        ("could not write: No space left on device", True),
        ('could not extend file "base/5/1259": wrote only 4096 of 8192 bytes', True),
        ('column "fullness" is ambiguous', False),
    ],
)
def test_only_a_full_disk_is_called_full(detail: str, is_full: bool) -> None:
    error = OperationalError("INSERT", None, Exception(detail))
    told = str(session_module.store_error(error, "sqlite:///x"))
    assert ("is full; nothing was changed" in told) is is_full


def test_a_vanished_database_host_is_noticed_well_inside_a_lease(migrated_postgres: Store) -> None:
    with migrated_postgres.read() as session:
        driver = session.connection().connection.dbapi_connection
        assert driver is not None
        found = driver.info.get_parameters()  # type: ignore[attr-defined]
    idle, interval, count = (
        int(found[f"keepalives_{name}"]) for name in ("idle", "interval", "count")
    )
    lease = Settings.model_fields["lease_seconds"].default
    assert found["keepalives"] == "1"
    assert idle + interval * count <= 15 < lease
    assert 0 < int(found["tcp_user_timeout"]) <= 15_000


def test_an_empty_database_points_to_the_remedy(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'new' / 'studio.sqlite3'}")
    with pytest.raises(StoreError, match=r"studio up"), store.read() as session:
        session.query(Study).all()
    store.close()


@pytest.fixture
def lived_in(store: Store) -> Store:
    """A store in which a run succeeded, one failed and one trains."""
    submit(store, recipe(seeds=(0, 1, 2)))
    mine = worker(store)
    succeed(store, start(store, mine))
    end(store, start(store, mine), Outcome.FAILED, kind="diverged", detail="NaN")
    run = start(store, mine, step=10)
    with store.write() as session:
        scalars.append(session, run.id, run.fence, [(step, {"x": 1.0}) for step in range(1, 9)])
        session.flush()
        assert check(session) == []
        scalars.seal(session, run.id)
        assert check(session) == []
    return store


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (delete(RunEvent).where(RunEvent.version == 2), "without gaps"),
        (update(RunEvent).where(RunEvent.version == 1).values(after="running"), "began as"),
        (update(Run).values(attempt=0), "0 attempts, recorded: 1"),
        (update(Run).where(Run.state == "succeeded").values(result=None), "has no result"),
        (update(Run).where(Run.state == "failed").values(ended_at=None), "its end says None"),
        (update(Run).where(Run.state == "running").values(fence=9), "another claim"),
        (update(Run).values(checkpoint_step=5), "no checkpoint is registered at update 5"),
        (update(ScalarChunk).values(first_step=0), "recorded wrongly"),
        (update(ScalarChunk).values(count=3), "3 points announced, 8 there"),
        (update(ScalarSummary).values(count=3), "summary does not count"),
        (update(Study).values(closed_at=Study.created_at), "closed though"),
    ],
)
def test_the_checker_finds_damage(lived_in: Store, damage: object, told: str) -> None:
    with lived_in.write() as session:
        session.execute(damage)  # type: ignore[call-overload]
        assert any(told in finding for finding in check(session))


def test_a_checkpoint_that_was_deleted_is_found(lived_in: Store) -> None:
    with lived_in.write() as session:
        run = session.query(Run).filter_by(state="running").one()
        runs.register_checkpoint(session, run.id, run.fence, checkpoint(10))
        assert check(session) == []
        session.execute(update(Checkpoint).values(state="deleted"))
        assert any("no checkpoint is registered" in finding for finding in check(session))


def test_the_store_needs_no_torch() -> None:
    code = (
        "import sys, core.store.queries, core.store.runs, core.store.studies, core.store.check, "
        "core.store.migrate, core.store.predictions, core.tuning; "
        "sys.exit(bool({'torch', 'transformers', 'gradio', 'celery'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
