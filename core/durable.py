"""Files and folders that appear whole and durable, or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
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


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a hidden folder to fill with files; at the end it becomes ``target``.

    Args:
        target: Folder that does not exist yet; its parents are made.

    Raises:
        OSError: If the disk refuses; nothing is left then, as after any other error.
    """
    part = _part(target)
    try:
        part.mkdir(parents=True)
        yield part
        for path in (*sorted(part.iterdir()), part):
            sync(path)
        part.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a hidden path to write a file to; at the end it becomes ``target``.

    Args:
        target: File in an existing folder; one that is there already is replaced.

    Raises:
        OSError: If the disk refuses; what was there before stays then, as after any other error.
    """
    part = _part(target)
    try:
        yield part
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _part(target: Path) -> Path:
    """Name a hidden neighbour of its own, however many write the same thing at once."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
