"""The lock of a home folder: one process keeps house in it, and the file names that process."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil

LOCK_NAME = "up.lock"
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
SAME_START_SECONDS = 2.0


@dataclass(frozen=True)
class LockInfo:
    """What the lock file says about its owner.

    Attributes:
        pid: Process id of the owner.
        kind: ``up`` with a web page, or ``run`` without one.
        url: Address of the page; empty without one.
        boot_id: Start of the machine on which the pid means anything.
        started: Start of the owner, seconds since 1970.
        children: Process id and start time of each child, by name.
    """

    pid: int
    kind: str
    url: str
    boot_id: str
    started: float
    children: Mapping[str, tuple[int, float]] = field(default_factory=dict)


def boot_id() -> str:
    """Identify the machine's present start; process ids of another one are meaningless."""
    if BOOT_ID_FILE.is_file():
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    return str(int(psutil.boot_time()))


def read_info(home: Path) -> LockInfo | None:
    """Read what the lock file says, whether its owner lives or not; None when unreadable."""
    try:
        content = json.loads((home / LOCK_NAME).read_text(encoding="utf-8"))
        children = {name: (int(p), float(s)) for name, (p, s) in content.pop("children").items()}
        return LockInfo(**content, children=children)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def is_held(home: Path) -> bool:
    """Tell whether a living process holds the lock; a stale file does not count."""
    try:
        with (home / LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def live_info(home: Path, wait_seconds: float = 2.0) -> LockInfo | None:
    """Read who holds the lock now; None when nobody does.

    The owner takes the lock before it writes the file, so an unreadable file is read again for
    a moment.
    """
    deadline = time.monotonic() + wait_seconds
    while is_held(home):
        info = read_info(home)
        if info is not None and psutil.pid_exists(info.pid) and info.boot_id == boot_id():
            return info
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return None


class HomeLock:
    """Exclusive hold of a home folder; the kernel lets go of it when the owner dies."""

    def __init__(self, home: Path) -> None:
        self.path = home / LOCK_NAME
        self._file: IO[bytes] | None = None

    @property
    def is_ours(self) -> bool:
        """Tell whether this process holds the lock."""
        return self._file is not None

    def acquire(self) -> bool:
        """Take the lock; False when another process has it."""
        file = self.path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def write(
        self, kind: str, url: str, children: Mapping[str, tuple[int, float]] | None = None
    ) -> None:
        """Say in the file who the owner is; the file keeps its inode, which carries the lock."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        info = LockInfo(
            pid=os.getpid(),
            kind=kind,
            url=url,
            boot_id=boot_id(),
            started=psutil.Process().create_time(),
            children=children or {},
        )
        text = json.dumps(asdict(info)) + "\n"
        self._file.truncate(0)
        self._file.write(text.encode())
        self._file.flush()

    def release(self) -> None:
        """Let go; the file stays, empty, so that nobody locks a file that is gone."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def stop_orphans(info: LockInfo | None, grace_seconds: float = 3.0) -> list[str]:
    """End children that outlived an owner which was killed; return their names.

    A process counts only if pid, start time and boot id all fit, so nothing else is touched.
    """
    if info is None or info.boot_id != boot_id():
        return []
    found: dict[str, list[psutil.Process]] = {}
    for name, (pid, started) in info.children.items():
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < SAME_START_SECONDS:
                found[name] = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
    end_processes([process for family in found.values() for process in family], grace_seconds)
    return sorted(found)


def end_processes(processes: list[psutil.Process], grace_seconds: float) -> None:
    """Ask processes to end, and kill those that are still there after the grace."""
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=1.0)
