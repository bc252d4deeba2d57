"""Child processes that are watched, restarted when they die, and stopped together."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from core.local.lock import end_processes

MAX_LOG_BYTES = 5_000_000
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Ask the kernel for TERM when the parent dies; where that is not to be had, do nothing."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def how_ended(code: int) -> str:
    """Say how a process ended, from its return code."""
    if code < 0:
        return f"was ended by signal {signal.Signals(-code).name}"
    return f"ended with code {code}"


@dataclass
class Child:
    """A process of the house.

    Attributes:
        name: Name for messages and the log file.
        command: Program and arguments.
        stops_last: True for what the others still need while they stop.
        deaths: How often it ended by itself in a row.
    """

    name: str
    command: Sequence[str]
    stops_last: bool = False
    deaths: int = 0
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    start_time: float = 0.0
    due: float = field(default=0.0)

    @property
    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def pause(self) -> float:
        """Seconds to wait before the next start: doubled with each death, up to a bound."""
        doubled = FIRST_PAUSE_SECONDS * 2.0 ** max(0, self.deaths - 1)
        return min(doubled, LONGEST_PAUSE_SECONDS)


class Family:
    """The children of this process; they die with it.

    Args:
        children: In the order in which they start.
        environment: Environment of all of them.
        log_folder: Where ``<name>.log`` takes what they write.
        tell: Receiver of sentences for the person.
    """

    def __init__(
        self,
        children: Sequence[Child],
        environment: Mapping[str, str],
        log_folder: Path,
        tell: Callable[[str], None],
    ) -> None:
        self.children = tuple(children)
        self.environment = dict(environment)
        self.log_folder = log_folder
        self.tell = tell

    def log_path(self, name: str) -> Path:
        """File that takes the output of a child."""
        return self.log_folder / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        """Last lines that a child wrote."""
        try:
            text = self.log_path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def start(self) -> None:
        """Start all children.

        Raises:
            OSError: If one cannot be started; those before it run and must be stopped.
        """
        for child in self.children:
            self._spawn(child)

    def tend(self) -> bool:
        """Note deaths and start the dead again when their pause is over; True if any changed."""
        now = time.monotonic()
        changed = False
        for child in self.children:
            if child.process is None:
                if now >= child.due:
                    changed = self._spawn_again(child) or changed
                continue
            code = child.process.poll()
            if code is None:
                continue
            # A process of the dead child's group must not live beside its successor.
            kill_group(child.process.pid)
            child.deaths = 1 if now - child.began > STEADY_SECONDS else child.deaths + 1
            child.process = None
            child.due = now + child.pause()
            changed = True
            self.tell(
                f"{child.name} {how_ended(code)}; starting it again in {child.pause():g} s "
                f"(log: {self.log_path(child.name)})"
            )
        return changed

    def identities(self) -> dict[str, tuple[int, float]]:
        """Process id and start time of each living child, by name."""
        return {
            child.name: (child.process.pid, child.start_time)
            for child in self.children
            if child.process is not None
        }

    def stop(self, grace_seconds: float = 3.5, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop everything, grandchildren included: TERM, then KILL after the grace.

        Args:
            grace_seconds: Time for the children to end by themselves.
            hurry: Asked again and again; True ends the grace.
        """
        everyone = self._descendants()
        deadline = time.monotonic() + grace_seconds
        self._stop_some([c for c in self.children if not c.stops_last], deadline, hurry)
        self._stop_some(
            [c for c in self.children if c.stops_last], min(deadline, time.monotonic() + 0.5), hurry
        )
        left = [process for process in everyone if process.is_running()]
        end_processes(left, 0.2)

    def _spawn_again(self, child: Child) -> bool:
        """Start a dead child; when that fails, count it as a death and tell. True if it runs."""
        try:
            self._spawn(child)
        except OSError as error:
            child.deaths += 1
            child.due = time.monotonic() + child.pause()
            self.tell(
                f"{child.name} cannot be started ({error.strerror or error}); "
                f"trying again in {child.pause():g} s"
            )
            return False
        return True

    def _spawn(self, child: Child) -> None:
        with self._open_log(child.name) as log:
            child.process = subprocess.Popen(
                list(child.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        child.began = time.monotonic()
        try:
            child.start_time = psutil.Process(child.process.pid).create_time()
        except psutil.Error:
            child.start_time = 0.0

    def _open_log(self, name: str) -> IO[bytes]:
        path = self.log_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def _descendants(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for child in self.children:
            if child.process is not None and child.is_alive:
                try:
                    process = psutil.Process(child.process.pid)
                    found += [process, *process.children(recursive=True)]
                except psutil.Error:
                    continue
        return found

    def _stop_some(
        self, children: Sequence[Child], deadline: float, hurry: Callable[[], bool]
    ) -> None:
        living = [c.process for c in children if c.process is not None and c.process.poll() is None]
        for process in living:
            process.terminate()
        while any(process.poll() is None for process in living):
            if time.monotonic() > deadline or hurry():
                break
            time.sleep(0.03)
        for process in living:
            kill_group(process.pid)
            process.wait()


def kill_group(pid: int) -> None:
    """Kill what is left of a child's process group; nothing left is fine."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
