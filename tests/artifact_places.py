"""Two machines that share a place for artifacts, and places that fail at a chosen call."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from core.artifacts import ArtifactStore
from core.training.sealed import write_sealed

NAME = "runs/r1/1-1/checkpoints/step-00000008"


@dataclass
class Machines:
    """Two machines that share a place."""

    url: str
    one: ArtifactStore
    two: ArtifactStore

    def seal(self, name: str = NAME, **files: bytes) -> Path:
        def fill(folder: Path) -> None:
            for file, content in (files or {"a.bin": b"a" * 5000, "b.json": b"{}"}).items():
                (folder / file).write_bytes(content)

        write_sealed(self.one.local / name, fill)
        return self.one.local / name


OPEN_IN_MEMORY = MemoryFileSystem._open


def opened_apart(place: MemoryFileSystem, path: str, mode: str = "rb", **options: Any) -> Any:
    """Open a file in memory; each reader has a place in it of its own, as everywhere else."""
    file = OPEN_IN_MEMORY(place, path, mode, **options)
    return io.BytesIO(file.getvalue()) if mode == "rb" else file


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Failing:
    """Lets the place's file system refuse the n-th call that moves data."""

    def __init__(self, store: ArtifactStore, at: int, error: BaseException) -> None:
        self.calls = 0
        self.at, self.error = at, error
        place = store._place
        assert place is not None
        self._files = place.files
        self.files = self

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)
        if name not in ("put_file", "get_file", "mv", "cat_file"):
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                raise self.error
            return real(*arguments, **options)

        return call


def failing(store: ArtifactStore, at: int, error: BaseException) -> tuple[ArtifactStore, Failing]:
    files = Failing(store, at, error)
    broken = ArtifactStore(store.url, store.local)
    place = broken._place
    assert place is not None
    object.__setattr__(place, "files", files)
    return broken, files
