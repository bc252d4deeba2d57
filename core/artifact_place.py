"""The place for all machines, behind fsspec: what it does with one file, and how it refuses."""

from __future__ import annotations

import errno
import importlib
import re
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from core.durable import sync
from core.errors import ConfigError, DiskFull, StudioError

MANIFEST = "manifest.json"
WHOLE_PROTOCOLS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"})
"""Places where a file appears only when all its bytes are there."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class ArtifactError(StudioError):
    """The place of the artifacts refused or cannot be reached; a later try may succeed."""

    code = "artifacts"


class ArtifactGone(ArtifactError):
    """An artifact is nowhere, or its bytes are not what was published; trying again is no use."""

    code = "artifact_gone"


@dataclass(frozen=True)
class Place:
    """A folder of a file system of fsspec.

    Attributes:
        files: The file system.
        root: The folder in it.
        url: What people read.
    """

    files: Any
    root: str
    url: str

    @property
    def protocols(self) -> frozenset[str]:
        """Names of the file system's protocol."""
        names = self.files.protocol
        return frozenset({names} if isinstance(names, str) else names)

    @property
    def is_on_disk(self) -> bool:
        """True when the place is a folder that this machine sees."""
        return "file" in self.protocols

    def path(self, name: str) -> str:
        """Path in the file system."""
        return f"{self.root.rstrip('/')}/{name}"

    def put(self, source: Path, name: str) -> None:
        """Copy a file so that it appears whole."""
        target = self.path(name)
        folder, _, last = target.rpartition("/")
        with self._asking(f"{name} could not be published"):
            if self.protocols & WHOLE_PROTOCOLS:
                self.files.put_file(str(source), target)
                return
            part = f"{folder}/.{last}.{uuid.uuid4().hex}.part"
            self.files.makedirs(folder, exist_ok=True)
            is_moved = False
            try:
                self.files.put_file(str(source), part)
                if self.is_on_disk:
                    sync(Path(part))
                self.files.mv(part, target)
                is_moved = True
            finally:
                if not is_moved and self.files.exists(part):
                    self.files.rm_file(part)
            if self.is_on_disk:
                sync(Path(folder))

    def write(self, content: bytes, name: str) -> None:
        """Write a small file so that it appears whole."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "content"
            source.write_bytes(content)
            self.put(source, name)

    def read(self, name: str) -> bytes | None:
        """Read a small file; None when it is not there."""
        with self._asking(f"{name} could not be read"):
            self.files.invalidate_cache()
            try:
                content: bytes = self.files.cat_file(self.path(name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return content

    def get(self, name: str, target: Path) -> None:
        """Copy a file to this machine."""
        with self._asking(f"{name} could not be fetched"):
            try:
                self.files.get_file(self.path(name), str(target))
            except FileNotFoundError as error:
                raise ArtifactGone(f"There is no artifact {name} in {self.url}.") from error

    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None when it is not there."""
        with self._asking(f"{name} could not be found"):
            self.files.invalidate_cache()
            try:
                facts = self.files.info(self.path(name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return int(facts["size"]) if facts["type"] == "file" else None

    def has_file(self, name: str) -> bool:
        """Tell whether a file is there."""
        return self.size(name) is not None

    def remove(self, name: str) -> None:
        """Remove a file or folder; the manifest goes first, so that no half folder counts."""
        path = self.path(name)
        with self._asking(f"{name} could not be removed"):
            self.files.invalidate_cache()
            for part in (f"{path}/{MANIFEST}", path):
                try:
                    self.files.rm(part, recursive=True)
                except (FileNotFoundError, NotADirectoryError):
                    continue

    def _asking(self, what: str) -> _Asking:
        return _Asking(f"{what} ({self.url})")


class _Asking:
    """Turns what a place's library raises into an ArtifactError.

    Libraries of places have errors of their own besides OSError. An error of Python itself, such
    as TypeError, is a mistake of ours and passes.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise refusal(self._what, error) from error
        if not isinstance(error, Exception) or isinstance(error, StudioError):
            return
        if type(error).__module__ != "builtins":
            raise ArtifactError(f"{self._what}: {type(error).__name__}: {error}") from error


def refusal(what: str, error: OSError) -> ArtifactError | DiskFull:
    """Say what the system refused; a full disk is an error of its own."""
    if error.errno in NO_ROOM:
        return DiskFull(f"{what}: no room is left.", hint="Free some space, then retry the run.")
    return ArtifactError(f"{what}: {error.strerror or error}.")


def shown_url(url: str) -> str:
    """Return an address as people may read it: without user and password."""
    return re.sub(r"//[^/@]*@", "//…@", url)


def find_place(url: str, local: Path) -> Place | None:
    """Open the place at an address; None for none, and for the local folder itself.

    Raises:
        ConfigError: If the address cannot be used here.
    """
    if not url:
        return None
    core = importlib.import_module("fsspec.core")
    address = url if "://" in url or "::" in url else str(Path(url).expanduser().resolve())
    try:
        files, root = core.url_to_fs(address)
    except ImportError as error:
        raise ConfigError(
            f"The place of artifacts {shown_url(url)} needs a package that is not here: {error}.",
            field="artifacts_url",
            hint="Install it with pip beside the studio, on every machine.",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"The place of artifacts {shown_url(url)} is no address: {error}.",
            field="artifacts_url",
            hint="Set STUDIO_ARTIFACTS_URL to a folder, or to an address like s3://bucket/studio.",
        ) from error
    place = Place(files, str(root), shown_url(url))
    if place.is_on_disk and Path(place.root).resolve() == local.resolve():
        return None
    return place
