"""Memory: how much a device has, how much the trainer uses, and whether it ran out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from core.disk import size

NEAR_LIMIT = 0.9
GPU_SECONDS = 10.0
GPU_PATIENCE_SECONDS = 5.0
ANSWER_SECONDS = 0.2
MEBIBYTE = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")


def machine_memory() -> int:
    """Main memory that this process may use, in bytes; a control group's limit counts."""
    limits = [int(psutil.virtual_memory().total)]
    for folder in _memory_groups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdigit() and int(text) > 0:
                limits.append(int(text))
    return min(limits)


def kills_for_memory() -> int:
    """Count the processes that the system has killed here for want of memory; 0 when unknown.

    The control group's own count where there is one, else the whole machine's.
    """
    for folder in _memory_groups():
        for name in ("memory.events", "memory.oom_control"):
            count = _field(folder / name, "oom_kill")
            if count is not None:
                return count
    return _field(VMSTAT, "oom_kill") or 0


def process_memory(pid: int) -> tuple[int, int]:
    """Main memory of a process with its children in bytes: now, and the most that is known of.

    (0, 0) when there is no such process. The most counts the process's own peak, even between two
    looks, and its children as they are.
    """
    try:
        process = psutil.Process(pid)
        own = int(process.memory_info().rss)
        others = 0
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                others += int(child.memory_info().rss)
    except psutil.Error:
        return 0, 0
    peak = _field(Path(f"/proc/{pid}/status"), "VmHWM:") or 0
    return own + others, max(own, peak * 1024) + others


class MemoryMeter:
    """Measures the memory of a trainer and of its device; never waits for more than a moment.

    Args:
        gpu: Identifier of the device's GPU for nvidia-smi; empty: the device is the CPU.
        limit: Main memory that there is, in bytes.
    """

    def __init__(self, gpu: str = "", limit: int = 0) -> None:
        self._gpu = _GpuMemory(gpu) if gpu else None
        self._limit = limit or machine_memory()
        self._highest = 0
        self._kills = kills_for_memory()
        self.used = 0
        """Memory of the device in use at the last look, in bytes: of a GPU all that is in use, else
        what the trainer and its children use."""

    def start(self) -> None:
        """Forget what was measured of an earlier trainer or group."""
        self._highest = 0
        self._kills = kills_for_memory()

    def look(self, pid: int | None, now: float) -> None:
        """Measure.

        Args:
            pid: The trainer; None when there is none.
            now: Monotonic seconds.
        """
        used, highest = process_memory(pid) if pid is not None else (0, 0)
        self._highest = max(self._highest, highest)
        self.used = self._gpu.look(now) if self._gpu else used

    def shortage(self) -> str:
        """Say how memory ran out, of a trainer that was killed by nobody known; else empty."""
        amounts = f"it used {size(self._highest)} of {size(self._limit)}"
        if kills_for_memory() > self._kills:
            return f"was killed by the system because memory ran out ({amounts} at the last look)"
        if self._highest >= NEAR_LIMIT * self._limit:
            return f"was killed when memory ran out ({amounts})"
        return ""

    def close(self) -> None:
        """Leave no process behind."""
        if self._gpu:
            self._gpu.close()


class _GpuMemory:
    """Asks nvidia-smi now and then and does not wait for it."""

    def __init__(self, gpu: str) -> None:
        self._gpu = gpu
        self._process: subprocess.Popen[str] | None = None
        self._asked_at = -GPU_SECONDS
        self._used = 0

    def look(self, now: float) -> int:
        """Memory in use as last told, in bytes; 0 when it is not known."""
        if self._process is not None:
            if self._process.poll() is not None:
                self._take(self._process)
            elif now - self._asked_at > GPU_PATIENCE_SECONDS:
                # It is not waited for: a driver that hangs may hold it whatever is sent to it.
                self._process.kill()
        elif now - self._asked_at >= GPU_SECONDS:
            self._asked_at = now
            self._ask()
        return self._used

    def close(self) -> None:
        """End a question that is not answered."""
        if self._process is not None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(ANSWER_SECONDS)
                self._take(self._process)

    def _ask(self) -> None:
        program = shutil.which("nvidia-smi")
        if program is None:
            return
        query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", f"--id={self._gpu}"]
        with suppress(OSError):
            self._process = subprocess.Popen(
                [program, *query],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )

    def _take(self, process: subprocess.Popen[str]) -> None:
        """Read the answer of a process that has ended; one whose pipe stays open is left."""
        self._process = None
        try:
            answer, _ = process.communicate(timeout=ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            if process.stdout is not None:
                process.stdout.close()
            return
        number = answer.strip()
        if process.returncode == 0 and number.isdigit():
            self._used = int(number) * MEBIBYTE


def _memory_groups() -> Iterator[Path]:
    """Folders of this process's control groups that may limit memory, its own first."""
    for line in _text(OWN_CGROUPS).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        # Inside a container the path may be the host's; then its root stands for the group.
        folder = root / path.strip("/")
        for place in (folder, *folder.parents):
            if place.is_dir():
                yield place
            if place == root:
                break


def _field(path: Path, name: str) -> int | None:
    """Number behind a name in a file of such lines; None when there is none."""
    for line in _text(path).splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[0] == name and parts[1].isdigit():
            return int(parts[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
