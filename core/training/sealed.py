"""Folders that are written whole or not at all, and whose every byte is checked when read.

The manifest lists the digest and size of each file and carries a digest of itself; it is written
in one canonical form and compared as bytes, so that a change anywhere is noticed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.durable import whole_folder
from core.errors import DamagedCheckpoint
from core.training.disk import room_for

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Seal:
    """What identifies a sealed folder.

    Attributes:
        sha256: Digest of the manifest's bytes.
        num_bytes: Size of all files, the manifest included.
    """

    sha256: str
    num_bytes: int


def _canonical(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _manifest_bytes(files: dict[str, dict[str, Any]]) -> bytes:
    digest = hashlib.sha256(_canonical({"files": files})).hexdigest()
    return _canonical({"files": files, "sha256": digest})


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": _digest(path), "size": path.stat().st_size}


def write_sealed(
    target: Path,
    fill: Callable[[Path], None],
    *,
    last_bytes: int = 0,
    passing: Callable[[str], None] = lambda place: None,
) -> Seal:
    """Create a folder that appears complete and durable, or not at all.

    Args:
        target: Folder to create; it must not exist.
        fill: Writes the files into the folder it is given.
        last_bytes: Size of the last such folder, 0 when there was none.
        passing: Told ``begin`` first, then as by ``whole_folder``.

    Raises:
        DiskFull: If there is no room for it.
        TrainingError: If the disk refuses for another reason.
    """
    with room_for(target, last_bytes):
        passing("begin")
        with whole_folder(target, passing) as part:
            fill(part)
            files = {path.name: _entry(path) for path in sorted(part.iterdir())}
            content = _manifest_bytes(files)
            (part / MANIFEST).write_bytes(content)
    size = sum(int(entry["size"]) for entry in files.values()) + len(content)
    return Seal(hashlib.sha256(content).hexdigest(), size)


class SealedFolder:
    """A folder written by ``write_sealed``; each file is checked as it is read.

    Args:
        folder: Folder to read.

    Attributes:
        num_bytes: Size of all files, the manifest included.

    Raises:
        DamagedCheckpoint: If the manifest is missing or altered, or files are missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        content = self._bytes(MANIFEST)
        try:
            self._files: dict[str, dict[str, Any]] = json.loads(content)["files"]
            is_intact = _manifest_bytes(self._files) == content
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._damage(f"{MANIFEST} is not readable") from error
        if not is_intact:
            raise self._damage(f"{MANIFEST} is not what was written")
        self.num_bytes = len(content) + sum(int(entry["size"]) for entry in self._files.values())

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            DamagedCheckpoint: If the file is missing or differs from what was written.
        """
        if name not in self._files:
            raise self._damage(f"{name} does not belong to it")
        content = self._bytes(name)
        if hashlib.sha256(content).hexdigest() != self._files[name]["sha256"]:
            raise self._damage(f"{name} is not what was written")
        return content

    def copy(self, name: str, target: Path) -> None:
        """Copy a file.

        Raises:
            DamagedCheckpoint: If the file is missing or differs from what was written.
            OSError: If the disk refuses.
        """
        if name not in self._files:
            raise self._damage(f"{name} does not belong to it")
        try:
            shutil.copyfile(self.folder / name, target)
        except FileNotFoundError as error:
            raise self._damage(f"{name} cannot be read ({error.strerror})") from error
        if _digest(target) != self._files[name]["sha256"]:
            raise self._damage(f"{name} is not what was written")

    def _bytes(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise self._damage(f"{name} cannot be read ({error.strerror})") from error

    def _damage(self, what: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(
            f"{self.folder} is damaged: {what}.",
            hint="Continue from an earlier checkpoint, or start the run anew.",
        )
