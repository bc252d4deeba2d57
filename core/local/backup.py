"""``studio backup`` and ``studio restore``: a whole studio in one folder, and back to life."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.artifacts import ArtifactStore, artifact_store
from core.durable import sync, sync_tree, whole_folder
from core.errors import ConfigError
from core.local.backup_folder import (
    ARTIFACTS,
    DATABASE,
    DATASETS,
    Contents,
    link_datasets,
    link_registered,
    read_contents,
    write_contents,
)
from core.local.kept import all_registered
from core.settings import Settings, get_settings
from core.store import migrate
from core.store.backup import (
    copy_in,
    copy_out,
    end_old_life,
    fold_log,
    require_empty,
    sqlite_file,
)
from core.store.check import examine
from core.store.session import Store
from core.wording import counted

TRIES = 5
"""Copies of the database until one is found all of whose files are still there."""


def backup(folder: Path, *, with_files: bool = True) -> int:
    """Write a consistent copy of a studio that may be at work; return exit code 0.

    The folder appears whole or not at all.

    Raises:
        ConfigError: If the folder exists, or the disk refuses.
        StoreError: If the database refuses or is of another version.
        ArtifactError: If the place of the artifacts cannot be asked.
    """
    settings, target = get_settings(), folder.expanduser().resolve()
    if target.exists():
        raise ConfigError(f"{target} exists already.", hint="Name a folder that does not.")
    migrate.require_head(settings.sqlalchemy_url)
    try:
        with whole_folder(target) as part:
            contents = _fill(part, settings, with_files)
    except OSError as error:
        raise _disk(target, error) from error
    size = sum(entry.size for entry in contents.files.values())
    sys.stdout.write(
        f"Wrote {target}: the database and {counted(len(contents.files) - 1, 'file')}, "
        f"{size / 1e6:,.1f} MB"
        f"{'' if with_files else ' (checkpoints, artifacts and data sets were left out)'}.\n"
    )
    for name in contents.missing:
        sys.stderr.write(f"Not in the backup, for it is not in the studio: {name}\n")
    if contents.missing:
        sys.stderr.write("studio check --files says which runs that concerns.\n")
    return 0


def _fill(part: Path, settings: Settings, with_files: bool) -> Contents:
    artifacts, missing = artifact_store(settings), list[str]()
    store, database = Store(settings.sqlalchemy_url), part / DATABASE
    try:
        for _ in range(TRIES if with_files else 1):
            # What is there now stays ours, even when the studio lets go of it during the copy.
            if with_files:
                link_registered(store, store, artifacts, part / ARTIFACTS)
            copy_out(store, database)
            if with_files:
                copy = Store(f"sqlite:///{database}")
                missing = link_registered(copy, store, artifacts, part / ARTIFACTS, only=True)
                copy.close()
            if not missing:
                break
    finally:
        store.close()
    fold_log(database)
    if with_files:
        link_datasets(settings.datasets_path, part / DATASETS)
    kind = "sqlite" if store.is_sqlite else "postgresql"
    return write_contents(part, migrate.head(), kind, with_files, missing)


def restore(folder: Path) -> int:
    """Bring a backup to life in an empty home folder and an empty database.

    Returns:
        0; 1 when the restored database has findings, which are printed.

    Raises:
        ConfigError: If the backup is damaged, the home folder is not empty or the disk refuses.
        StoreError: If the database is not empty, refuses, or the backup is of a newer version.
        ArtifactError: If the place of the artifacts refuses.
    """
    settings, source = get_settings(), folder.expanduser().resolve()
    home = settings.home_path
    _require_empty_home(home)
    require_empty(settings.sqlalchemy_url)
    contents = read_contents(source)
    try:
        with _in_home(home) as part:
            queued, findings = _prepare(source, part, contents)
            _place(part, settings)
    except OSError as error:
        raise _disk(home, error) from error
    sys.stdout.write(
        f"Restored {source}, made {contents.created_at}, in {home}: "
        f"{counted(len(contents.files) - 1, 'file')}; taken from their workers and queued again: "
        f"{counted(queued, 'run')}.\n"
    )
    for name in contents.missing:
        sys.stderr.write(f"Not in the backup: {name}\n")
    for finding in findings:
        sys.stderr.write(f"{finding}\n")
    return 1 if findings else 0


def _prepare(source: Path, part: Path, contents: Contents) -> tuple[int, list[str]]:
    """Copy a backup, bring its database to this version and end its old life."""
    for name in contents.files:
        target = part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target)
    database = part / DATABASE
    migrate.upgrade(f"sqlite:///{database}")
    store = Store(f"sqlite:///{database}")
    try:
        with store.write() as session:
            queued = end_old_life(session)
        with store.snapshot() as session:
            findings = [str(finding) for finding in examine(session).findings]
    finally:
        store.close()
    fold_log(database)
    sync_tree(part)
    return queued, findings


def _place(part: Path, settings: Settings) -> None:
    """Move everything to where it belongs, the database last: without it, nothing is restored."""
    home, moved = settings.home_path, list[Path]()
    is_done = False
    try:
        for name in (ARTIFACTS, DATASETS):
            if (part / name).is_dir():
                moved.append((part / name).rename(home / name))
        _publish(part / DATABASE, artifact_store(settings))
        sync(home)
        target = sqlite_file(settings.sqlalchemy_url)
        if target is not None:
            require_empty(settings.sqlalchemy_url)
            target.parent.mkdir(parents=True, exist_ok=True)
            hidden = target.with_name(f".{target.name}.restoring")
            shutil.move(part / DATABASE, hidden)
            sync(hidden)
            hidden.rename(target)
            sync(target.parent)
        else:
            copy_in(part / DATABASE, settings.sqlalchemy_url)
        is_done = True
    finally:
        if not is_done:
            for path in moved:
                shutil.rmtree(path, ignore_errors=True)


def _publish(database: Path, artifacts: ArtifactStore) -> None:
    if not artifacts.is_shared:
        return
    copy = Store(f"sqlite:///{database}")
    for some in all_registered(copy):
        for kept in some:
            if (artifacts.local / kept.name).exists():
                artifacts.publish(artifacts.local / kept.name)
    copy.close()
    fold_log(database)


def _require_empty_home(home: Path) -> None:
    if home.exists() and not home.is_dir():
        raise ConfigError(f"{home} is no folder.", hint="Name another one with --home.")
    there = sorted(path.name for path in home.iterdir()) if home.is_dir() else []
    if there:
        named = ", ".join(there[:5]) + (" …" if len(there) > 5 else "")
        raise ConfigError(
            f"The home folder {home} is not empty (there: {named}); nothing was changed.",
            hint="Name a new one with --home, or move this one away first.",
        )


@contextmanager
def _in_home(home: Path) -> Iterator[Path]:
    """Give a hidden folder in a home folder that is gone afterwards.

    It stands inside, for a home folder may be a disk of its own.
    """
    is_new = not home.exists()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = home / f".restoring-{uuid.uuid4().hex}"
    try:
        part.mkdir()
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if is_new:
            # Only when nothing was restored, for only then it is empty.
            with suppress(OSError):
                home.rmdir()


def _disk(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{folder} could not be written: {error.strerror or error}.",
        hint="See that the disk has room and the folder may be written, then do it again.",
    )
