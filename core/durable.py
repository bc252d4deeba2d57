"""Files and folders that appear whole and durable, or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk.

    Raises:
        OSError: If the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Have all files and folders below a folder, and its own names, written to disk.

    Raises:
        OSError: If the disk refuses.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


def _pass_by(place: str) -> None:
    """Stand where nobody wants to know how far a folder is."""


@contextmanager
def whole_folder(target: Path, passing: Callable[[str], None] = _pass_by) -> Iterator[Path]:
    """Give a hidden folder to fill with files; at the end it becomes ``target``.

    Args:
        target: Folder that does not exist yet; its parents are made.
        passing: Called with ``written`` when all files are, ``synced`` when all are durable, and
            ``renamed`` when the folder is in its place.

    Raises:
        OSError: If the disk refuses; nothing is left then, as after any other error.
    """
    part = _part(target)
    left: Path | None = part
    try:
        made = _missing_parents(target)
        part.mkdir(parents=True)
        yield part
        passing("written")
        sync_tree(part)
        passing("synced")
        part.rename(target)
        left = target
        for folder in (target, *made):
            sync(folder.parent)
        passing("renamed")
        left = None
    finally:
        if left is not None:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a hidden path to write a file to; at the end it becomes ``target``.

    Args:
        target: File in an existing folder; one that is there already is replaced.

    Raises:
        OSError: If the disk refuses; what was there before stays then, as after any other error,
            unless it is only not known whether the new name is durable.
    """
    part = _part(target)
    try:
        yield part
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _missing_parents(target: Path) -> list[Path]:
    """List the folders that must be made for a path, from the innermost outwards."""
    found = []
    for folder in target.parents:
        if folder.exists():
            break
        found.append(folder)
    return found


def _part(target: Path) -> Path:
    """Name a hidden neighbour of its own, however many write the same thing at once."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
