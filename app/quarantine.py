"""Uploaded files until they are added or thrown away: own names, own folders, a day's life."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.durable import whole_file
from core.errors import DataError, InputError, NotFound

MOST_BYTES = 50_000_000
MOST_UPLOADS = 12
LIFE_SECONDS = 24 * 3600.0
SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".parquet")
ID_BYTES = 12
LONGEST_NAME = 120
NOTE = "upload.json"
THROWN = ".thrown-"


@dataclass(frozen=True)
class Upload:
    """A file that waits for its columns to be named.

    Attributes:
        id: Name of its folder; part of the page's address.
        file_name: What the person calls the file; shown, never used as a path.
        path: Where it lies, under a name of our own.
        size: Bytes.
        changed_at: When it came, or its choices changed last: ISO 8601, UTC.
        choices: What the person chose so far; kept so that a reload loses nothing.
    """

    id: str
    file_name: str
    path: Path
    size: int
    changed_at: str
    choices: Mapping[str, Any] = field(default_factory=dict)


class Incoming:
    """A file that is being received, piece by piece."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            InputError: If the file becomes larger than allowed.
        """
        self.size += len(piece)
        if self.size > MOST_BYTES:
            raise InputError(
                f"The file is larger than {MOST_BYTES // 1_000_000} MB.",
                hint="Send a part of it, or shorten its texts.",
            )
        self._file.write(piece)

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()


class Quarantine:
    """The folder of uploads below a home folder.

    Args:
        home: Home folder of the studio.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "tmp" / "uploads"

    @contextmanager
    def receive(self, file_name: str) -> Iterator[tuple[str, Incoming]]:
        """Receive a file; it is there when the block ends, and gone when the block fails.

        Yields:
            Id of the upload, and where its pieces are written to.

        Raises:
            InputError: If too many uploads wait already, or the file is empty.
            DataError: If the disk refuses.
        """
        name = _shown(file_name)
        try:
            with self._received(name) as received:
                yield received
        except OSError as error:
            raise DataError(
                f"{name} could not be kept in {self.folder}: {error.strerror or error}.",
                hint="Is there room on the disk, and permission? Then send the file again.",
            ) from error

    @contextmanager
    def _received(self, name: str) -> Iterator[tuple[str, Incoming]]:
        self.clean()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = [path for path in self.folder.iterdir() if not path.name.startswith(THROWN)]
        if len(kept) >= MOST_UPLOADS:
            raise InputError(
                f"{MOST_UPLOADS} uploads wait to be added.",
                hint="Add or discard one of them; what is left is thrown away after a day.",
            )
        upload_id = secrets.token_hex(ID_BYTES)
        partial = self.folder / f"{upload_id}.part"
        partial.mkdir(mode=0o700)
        try:
            incoming = Incoming(partial / _own_name(name))
            try:
                yield upload_id, incoming
            finally:
                incoming.close()
            if not incoming.size:
                raise InputError(f"{name} is empty.", hint="Choose a file that holds examples.")
            _write_note(partial, {"file_name": name, "choices": {}})
            partial.rename(self.folder / upload_id)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def open(self, upload_id: str) -> Upload:
        """Find an upload.

        Raises:
            NotFound: If there is none, or no more.
        """
        if not is_id(upload_id):
            raise _gone()
        folder = self.folder / upload_id
        try:
            note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
            path = folder / _own_name(note["file_name"])
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise _gone() from error
        changed = datetime.fromtimestamp(_changed_at(folder), UTC).isoformat()
        return Upload(upload_id, note["file_name"], path, size, changed, dict(note["choices"]))

    def remember(self, upload: Upload, choices: Mapping[str, Any]) -> None:
        """Keep what the person chose; values must be JSON.

        Raises:
            NotFound: If the upload is gone.
        """
        note = {"file_name": upload.file_name, "choices": dict(choices)}
        try:
            _write_note(self.folder / upload.id, note)
        except FileNotFoundError as error:
            raise _gone() from error

    def discard(self, upload_id: str) -> None:
        """Throw an upload away; one that is gone already is no error."""
        if is_id(upload_id):
            _throw_away(self.folder / upload_id)

    def waiting(self) -> tuple[Upload, ...]:
        """Uploads that were neither added nor thrown away, the newest first."""
        if not self.folder.is_dir():
            return ()
        folders = {path: _changed_at(path) for path in self.folder.iterdir() if is_id(path.name)}
        found = []
        for path in sorted(folders, key=folders.__getitem__, reverse=True):
            # What another page just added or threw away is left out.
            with suppress(NotFound):
                found.append(self.open(path.name))
        return tuple(found)

    def clean(self) -> int:
        """Throw away what nobody touched for a day; return how many uploads that were."""
        if not self.folder.is_dir():
            return 0
        oldest = time.time() - LIFE_SECONDS
        stale = [path for path in self.folder.iterdir() if _changed_at(path) < oldest]
        for path in stale:
            _throw_away(path)
        return len(stale)


def is_id(text: str) -> bool:
    """Tell whether a text has the form of an upload's id, so that it is safe in a path."""
    return len(text) == 2 * ID_BYTES and all(sign in "0123456789abcdef" for sign in text)


def _shown(file_name: str) -> str:
    """Last part of a name, printable and of a bounded length."""
    last = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(sign for sign in last if sign.isprintable()).strip()
    if len(printable) > LONGEST_NAME:
        stem, dot, suffix = printable.rpartition(".")
        printable = (stem or suffix)[: LONGEST_NAME - 9] + dot + suffix[:8]
    return printable or "file"


def _own_name(file_name: str) -> str:
    """Name in quarantine: ours, with the person's suffix when it is one that we know."""
    suffix = Path(file_name).suffix.lower()
    return "upload" + (suffix if suffix in SUFFIXES else "")


def _write_note(folder: Path, note: Mapping[str, Any]) -> None:
    """Replace a note whole, however many write it at once."""
    with whole_file(folder / NOTE) as fresh:
        fresh.write_text(json.dumps(note), encoding="utf-8")


def _throw_away(folder: Path) -> None:
    """Take a folder out of sight in one step, so that nobody reads half of it; then delete it."""
    hidden = folder.with_name(f"{THROWN}{secrets.token_hex(ID_BYTES)}")
    with suppress(OSError):
        folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _changed_at(folder: Path) -> float:
    """When something in a folder changed last, in seconds; now for one that is gone."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _gone() -> NotFound:
    return NotFound(
        "This upload is no longer here.",
        hint="Uploads are kept for a day, and until they are added; choose the file again.",
    )
