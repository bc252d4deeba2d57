"""Who a worker process is, so that a pid is never mistaken for another process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.host import boot_id, host_name
from core.store.leases import Observation
from core.store.views import WorkerRow

START_FIELD = 19
"""Place of the start time among the fields of /proc/<pid>/stat after the program's name."""


@dataclass(frozen=True)
class Identity:
    """One process on one start of one machine.

    Attributes:
        host: Host name, with the pid name space where there is one: containers may share names.
        boot_id: Changes with every start of the machine; empty when it cannot be told.
        pid: Process id.
        started: Start time of the process in the kernel's ticks; empty when it cannot be told.
    """

    host: str
    boot_id: str
    pid: int
    started: str

    @property
    def info(self) -> dict[str, str]:
        """What is stored beside pid and host to recognise the process later."""
        return {"boot_id": self.boot_id, "started": self.started}


def own_identity() -> Identity:
    """Identify this process."""
    pid = os.getpid()
    return Identity(host_name(), boot_id(), pid, start_mark(pid))


def start_mark(pid: int) -> str:
    """Start time of a process in the kernel's ticks; empty when unknown or not running."""
    stat = _text(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split()
    if len(fields) <= START_FIELD or fields[0] == "Z":
        return ""
    return fields[START_FIELD]


def dead_workers(rows: Iterable[WorkerRow], me: Identity) -> list[Observation]:
    """Find registered workers of this host whose process is surely gone.

    Nobody has to wait for their leases: a restart after a crash goes on at once. A worker on
    another host, or in another container, is never judged by its pid.
    """
    return [
        Observation(row.id, row.hb_seq) for row in rows if row.host == me.host and _is_dead(row, me)
    ]


def _is_dead(row: WorkerRow, me: Identity) -> bool:
    boot_id, started = str(row.info.get("boot_id", "")), str(row.info.get("started", ""))
    if boot_id and me.boot_id and boot_id != me.boot_id:
        return True
    if row.pid == me.pid:
        return bool(started) and started != me.started
    if started:
        return start_mark(row.pid) != started
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
