"""A disk that refuses one call: the n-th of all that create, write, sync or rename."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError

from core.training import checkpoint

CALLS = ("open", "fsync", "mkdir", "link", "rename", "replace")


class FailingDisk:
    """Counts calls, and refuses one of them.

    Args:
        refused: Number of the call to refuse, from 1; 0: none.
        number: Error of the system that it raises.
    """

    def __init__(self, refused: int, number: int) -> None:
        self.calls = 0
        self._refused, self._number = refused, number

    def is_refused(self) -> bool:
        self.calls += 1
        return self.calls == self._refused

    def error(self) -> OSError:
        return OSError(self._number, os.strerror(self._number))

    def checked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*given: Any, **named: Any) -> Any:
            if self.is_refused():
                raise self.error()
            return call(*given, **named)

        return instead

    def opened(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(path: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
            if mode.startswith("r"):
                return call(path, mode, *given, **named)
            if self.is_refused():
                raise self.error()
            return HalfFile(call(path, mode, *given, **named), self)

        return instead

    def by_library(
        self, call: Callable[..., Any], error: Callable[[], Exception]
    ) -> Callable[..., Any]:
        """A library writes by itself: half of its file, then its own kind of error."""

        def instead(content: Any, path: Any) -> Any:
            if not self.is_refused():
                return call(content, path)
            with open(path, "wb") as file:
                file.write(b"half")
            raise error()

        return instead

    def in_rust(self) -> SafetensorError:
        text = f"{os.strerror(self._number)} (os error {self._number})"
        return SafetensorError(f"Error while serializing: I/O error: {text}")


class HalfFile:
    """A file whose refused write leaves half of it, and whose closing may be refused too."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, content: Any) -> int:
        if self._disk.is_refused():
            self._file.write(content[: len(content) // 2])
            raise self._disk.error()
        return int(self._file.write(content))

    def __enter__(self) -> HalfFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if not any(error) and self._disk.is_refused():
            raise self._disk.error()


@contextmanager
def failing_disk(refused: int, number: int) -> Iterator[FailingDisk]:
    """Have the n-th call refused, whoever makes it."""
    disk = FailingDisk(refused, number)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, disk.checked(getattr(os, name)))
        patch.setattr(io, "open", disk.opened(io.open))
        patch.setattr(checkpoint, "save_file", disk.by_library(checkpoint.save_file, disk.in_rust))
        patch.setattr(pq, "write_table", disk.by_library(pq.write_table, disk.error))
        yield disk
