"""Folders of the library on disk: they appear and disappear whole, whenever a process dies."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.durable import sync

ADDING = ".adding-"
DELETED = ".deleted-"
STALE_SECONDS = 86_400


@contextmanager
def workplace(library: Path) -> Iterator[Path]:
    """Give a folder beside the data sets that is gone afterwards, whatever happens."""
    library.mkdir(parents=True, exist_ok=True)
    _clear_stale(library)
    folder = library / f"{ADDING}{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, target: Path) -> bool:
    """Make the files of a folder read-only and durable, then give it its final name.

    Returns:
        False when another process was faster; the folder stays where it is then.

    Raises:
        OSError: If the disk refuses.
    """
    for path in folder.iterdir():
        path.chmod(0o444)
        sync(path)
    folder.chmod(0o755)
    sync(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(target)
    except OSError:
        if target.is_dir():
            return False
        raise
    sync(target.parent)
    return True


def hide(folder: Path, library: Path) -> Path:
    """Take a folder out of sight in one step, and its parent when left empty.

    Returns:
        Where its files lie until ``erase``; what is forgotten there goes with a later addition.

    Raises:
        OSError: If the disk refuses.
    """
    hidden = library / f"{DELETED}{uuid.uuid4().hex}"
    folder.rename(hidden)
    sync(folder.parent)
    # A parent with other versions stays, also one that another process just added.
    with suppress(OSError):
        folder.parent.rmdir()
    return hidden


def erase(hidden: Path) -> None:
    """Delete a hidden folder.

    Raises:
        OSError: If the disk refuses.
    """
    # Somebody who adds a file may be clearing what was left behind, this folder too.
    with suppress(FileNotFoundError):
        shutil.rmtree(hidden)


def named_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name, hidden ones left out."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _clear_stale(library: Path) -> None:
    """Delete what a process that was killed while adding or deleting left behind."""
    for prefix in (ADDING, DELETED):
        for folder in library.glob(f"{prefix}*"):
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
