"""The folder of a backup: hard links to what is kept, and a manifest with the digest of all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from core.artifacts import ArtifactGone, ArtifactStore
from core.data.own.shelf import named_folders
from core.errors import ConfigError
from core.local.kept import Kept, all_registered, digest, registered
from core.store.clock import utcnow
from core.store.session import Store

FORMAT = 1
MANIFEST = "backup.json"
DATABASE = "studio.sqlite3"
ARTIFACTS = "artifacts"
DATASETS = "datasets"


@dataclass(frozen=True)
class Entry:
    """A file of a backup."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What a backup holds.

    Attributes:
        schema: Migration that its database stands at.
        kind: Database that it was made of: ``sqlite`` or ``postgresql``.
        created_at: When it was made, in UTC.
        with_files: False when it holds the database alone.
        files: All files but the manifest, by path in the folder.
        missing: Registered files that the studio itself did not have.
    """

    schema: str
    kind: str
    created_at: str
    with_files: bool
    files: Mapping[str, Entry]
    missing: Sequence[str] = ()


def link_registered(
    store: Store, live: Store, artifacts: ArtifactStore, target: Path, *, only: bool = False
) -> list[str]:
    """Link all registered files and folders; return the names of those that are not there.

    The files of a checkpoint are removed after its row says so. So what is still registered once
    it was linked was whole; what is not may have been linked in part, and is dropped.

    Args:
        store: The database that says what is registered: the live one, or its copy.
        live: The live database.
        artifacts: Where the files are.
        target: Folder of the links.
        only: Remove what is there besides.
    """
    missing, wanted = list[str](), set[str]()
    for some in all_registered(store):
        fresh: list[Kept] = []
        for kept in some:
            wanted.add(kept.name)
            if Path(kept.name).is_absolute():
                missing.append(kept.name)
            elif not (target / kept.name).exists():
                if _bring(artifacts, kept.name, target):
                    fresh.append(kept)
                else:
                    missing.append(kept.name)
        if fresh:
            with live.read() as session:
                still = set(registered(session, sorted({kept.run_id for kept in fresh})))
            gone = [kept.name for kept in fresh if kept not in still]
            for name in gone:
                _drop(target / name)
            missing += gone
    if only:
        _remove_but(target, wanted)
    return missing


def link_datasets(library: Path, target: Path) -> None:
    """Link all versions of the data sets that were added."""
    for name in named_folders(library):
        for version in named_folders(name):
            link_tree(version, target / name.name / version.name)


def link_tree(source: Path, target: Path) -> bool:
    """Link a file, or all files of a folder; copies on another disk.

    Returns:
        False when the source was seen to go away; nothing is left of the target then.
    """
    try:
        before = _files(source)
        for file in before:
            place = target / file.relative_to(source) if source.is_dir() else target
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(file, place)
        if before and _files(source) == before:
            return True
    except FileNotFoundError:
        pass
    _drop(target)
    return False


def write_contents(
    folder: Path, schema: str, kind: str, with_files: bool, missing: Sequence[str]
) -> Contents:
    """Digest every file of a folder and write the manifest.

    Raises:
        OSError: If the disk refuses.
    """
    files = {
        path.relative_to(folder).as_posix(): Entry(path.stat().st_size, digest(path))
        for path in _files(folder)
    }
    contents = Contents(
        schema=schema,
        kind=kind,
        created_at=utcnow().isoformat(timespec="seconds"),
        with_files=with_files,
        files=files,
        missing=tuple(missing),
    )
    plain = {"format": FORMAT, **asdict(contents)}
    (folder / MANIFEST).write_bytes(_canonical({**plain, "sha256": _sha256(_canonical(plain))}))
    return contents


def read_contents(folder: Path) -> Contents:
    """Read a backup's manifest and compare every file with it.

    Raises:
        ConfigError: If it is no backup, is of a newer version, or anything in it has changed.
    """
    try:
        plain: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        told = plain.pop("sha256")
        version = plain.pop("format")
    except OSError as error:
        raise ConfigError(
            f"{folder} is no backup: it has no readable {MANIFEST}.",
            hint="Name the folder that studio backup wrote.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damage(folder, f"its {MANIFEST} cannot be read") from error
    if version != FORMAT:
        raise ConfigError(
            f"{folder} is a backup of format {version}; this version reads {FORMAT}.",
            hint="Restore it with the version of the studio that made it, or a newer one.",
        )
    if told != _sha256(_canonical({"format": version, **plain})):
        raise _damage(folder, f"its {MANIFEST} is not what was written")
    files = {name: Entry(**entry) for name, entry in plain.pop("files").items()}
    for name, entry in files.items():
        path = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise _damage(folder, f"{name} leads out of it")
        if not path.is_file():
            raise _damage(folder, f"{name} is missing")
        if path.stat().st_size != entry.size or digest(path) != entry.sha256:
            raise _damage(folder, f"{name} is not what was written")
    if DATABASE not in files:
        raise _damage(folder, "it has no database")
    return Contents(**plain, files=files)


def _bring(artifacts: ArtifactStore, name: str, target: Path) -> bool:
    try:
        return link_tree(artifacts.fetch(name), target / name)
    except ArtifactGone:
        return False


def _drop(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_but(folder: Path, wanted: set[str]) -> None:
    """Remove files that are in no wanted file or folder, and then empty folders."""
    for path in _files(folder) if folder.is_dir() else ():
        name = path.relative_to(folder)
        if not wanted & {name.as_posix(), *(parent.as_posix() for parent in name.parents)}:
            path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except FileNotFoundError:
        raise
    except OSError:
        # Another disk, or one that knows no hard links.
        shutil.copy2(file, place)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damage(folder: Path, what: str) -> ConfigError:
    return ConfigError(
        f"The backup {folder} is damaged: {what}; nothing was changed.",
        hint="Take another backup.",
    )
