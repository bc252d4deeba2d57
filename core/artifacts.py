"""Checkpoints and artifacts by name: in the folder of this machine and in one place for all.

A name is a path relative to the artifacts folder, the same on every machine. A file is copied to
the place under a hidden name first, or in one piece where the place takes files only whole. A
folder counts as there once its manifest is, which is copied last and lists every other file with
size and digest. What is fetched is compared with it and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from core.artifact_place import (
    MANIFEST,
    ArtifactError,
    ArtifactGone,
    Place,
    find_place,
    refusal,
)
from core.durable import whole_file, whole_folder
from core.settings import Settings

__all__ = [
    "MANIFEST",
    "ArtifactError",
    "ArtifactGone",
    "ArtifactStore",
    "artifact_store",
    "checked_name",
    "refusal",
]

Entries = Mapping[str, Mapping[str, Any]]


class ArtifactStore:
    """Artifacts of this machine, and of all machines where a place for all is set.

    Args:
        url: Folder, ``file://`` address or any other address that fsspec knows; empty, or the
            local folder itself: there is no other place than that folder.
        local: Folder on this machine.
    """

    def __init__(self, url: str, local: Path) -> None:
        self.url = url
        self.local = local
        self._place = find_place(url, local)

    @property
    def is_shared(self) -> bool:
        """True when there is a place for all machines besides the local folder."""
        return self._place is not None

    def name_of(self, path: Path) -> str:
        """Name of a file or folder below the local folder.

        Raises:
            ArtifactError: If it stands elsewhere.
        """
        if not path.is_relative_to(self.local):
            raise ArtifactError(f"{path} is no artifact: it is not in {self.local}.")
        return checked_name(path.relative_to(self.local).as_posix())

    def publish(self, path: Path) -> str:
        """Copy a file or folder to the place for all; return its name.

        Publishing the same again is harmless.

        Raises:
            ArtifactError: If the place refuses.
            DiskFull: If it has no room.
        """
        name = self.name_of(path)
        if self._place is not None:
            if path.is_dir():
                _publish_folder(self._place, path, name)
            else:
                self._place.put(path, name)
        return name

    def fetch(self, name: str) -> Path:
        """Return the local path of an artifact, copied from the place for all when needed.

        Raises:
            ArtifactGone: If it is nowhere, or damaged.
            ArtifactError: If the place cannot be asked.
            DiskFull: If this machine has no room for it.
        """
        target = self.local / checked_name(name)
        if target.exists():
            return target
        if self._place is None:
            raise ArtifactGone(f"There is no artifact {name} in {self.local}.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            manifest = self._place.read(f"{name}/{MANIFEST}")
            if manifest is not None:
                _fetch_folder(self._place, name, manifest, target)
            else:
                _fetch_file(self._place, name, target)
        except OSError as error:
            # Another process of this machine may have fetched the same meanwhile.
            if not target.exists():
                raise refusal(f"{name} could not be written to {self.local}", error) from error
        return target

    def exists(self, name: str) -> bool:
        """Tell whether an artifact is here or in the place for all.

        Raises:
            ArtifactError: If the place cannot be asked.
        """
        if (self.local / checked_name(name)).exists():
            return True
        place = self._place
        return place is not None and (place.has_file(f"{name}/{MANIFEST}") or place.has_file(name))

    def remove(self, name: str) -> None:
        """Remove an artifact here and from the place for all; nothing there is fine.

        Raises:
            ArtifactError: If the place refuses; it is not here any more then.
        """
        self.remove_here(name)
        if self._place is not None:
            self._place.remove(name)

    def remove_here(self, name: str) -> None:
        """Remove an artifact from this machine alone; what cannot be removed stays."""
        path = self.local / checked_name(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def artifact_store(settings: Settings) -> ArtifactStore:
    """Return the artifacts of a home folder and of the place that its settings name.

    Raises:
        ConfigError: If that address cannot be used here.
    """
    return _artifact_store(settings.artifacts_url, settings.artifacts_path)


@lru_cache(maxsize=8)
def _artifact_store(url: str, local: Path) -> ArtifactStore:
    return ArtifactStore(url, local)


def checked_name(name: str) -> str:
    """Return a name that stays below the folder it is relative to.

    Raises:
        ArtifactError: If it is empty, absolute, or leads out of it.
    """
    path = PurePosixPath(name)
    is_odd = "\\" in name or "\0" in name
    if is_odd or not path.parts or path.is_absolute() or ".." in path.parts:
        raise ArtifactError(f"'{name}' is no name of an artifact.")
    return str(path)


def _publish_folder(place: Place, folder: Path, name: str) -> None:
    """Copy all files of a folder, the manifest last; one is made for a folder without."""
    files = {path.relative_to(folder).as_posix(): path for path in _files_in(folder)}
    manifest = folder / MANIFEST
    if files.pop(MANIFEST, None) is not None:
        if place.read(f"{name}/{MANIFEST}") == manifest.read_bytes():
            return
        _put_all(place, files, name)
        place.put(manifest, f"{name}/{MANIFEST}")
        return
    entries = {file: {"sha256": _digest(p), "size": p.stat().st_size} for file, p in files.items()}
    _put_all(place, files, name)
    content = json.dumps({"files": entries}, sort_keys=True)
    place.write(content.encode(), f"{name}/{MANIFEST}")


def _put_all(place: Place, files: Mapping[str, Path], name: str) -> None:
    for file, path in files.items():
        place.put(path, f"{name}/{file}")


def _files_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _fetch_folder(place: Place, name: str, manifest: bytes, target: Path) -> None:
    entries = _entries(name, manifest)
    with whole_folder(target) as part:
        for file, entry in entries.items():
            path = part / checked_name(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            place.get(f"{name}/{file}", path)
            if path.stat().st_size != entry["size"] or _digest(path) != entry["sha256"]:
                raise _damage(f"{name}/{file}", place)
        (part / MANIFEST).write_bytes(manifest)


def _fetch_file(place: Place, name: str, target: Path) -> None:
    size = place.size(name)
    if size is None:
        raise ArtifactGone(f"There is no artifact {name} here or in {place.url}.")
    with whole_file(target) as part:
        place.get(name, part)
        if part.stat().st_size != size:
            raise _damage(name, place)


def _entries(name: str, manifest: bytes) -> Entries:
    try:
        entries: Entries = json.loads(manifest)["files"]
        if all(isinstance(e["size"], int) and e["sha256"] for e in entries.values()):
            return entries
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactGone(f"The manifest of artifact {name} cannot be read.") from error
    raise ArtifactGone(f"The manifest of artifact {name} cannot be read.")


def _damage(name: str, place: Place) -> ArtifactGone:
    return ArtifactGone(f"The artifact {name} in {place.url} is not what was published.")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
