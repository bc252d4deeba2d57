"""A real ``studio up`` as a process, for tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

READY_SECONDS = 120.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "core.cli", *arguments]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "STUDIO_HOME": str(home),
        "STUDIO_DEMO": "0",
        "STUDIO_OFFLINE": "1",
        "STUDIO_POLL_SECONDS": "1",
        **more,
    }


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


class LiveStudio:
    """A running studio; its lines are collected while it runs."""

    def __init__(self, home: Path, **more: str) -> None:
        self.home = home
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command("up", "--port", "0"),
            env=environment(home, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def url(self) -> str:
        found = re.search(r"ready:\s+(http://\S+)", self.output)
        return found.group(1) if found else ""

    def wait_until_ready(self) -> None:
        over = wait_for(lambda: bool(self.url) or self.process.poll() is not None, READY_SECONDS)
        if not over or not self.url:
            logs = "\n".join(
                f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}"
                for log in sorted((self.home / "logs").glob("*.log"))
            )
            raise AssertionError(f"not ready:\n{self.output}\n{logs}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> float:
        """Send TERM and return the seconds until the end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self._reader.join(timeout=5)
        return time.monotonic() - began


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def live_studio(home: Path, **more: str) -> Iterator[LiveStudio]:
    """Start a studio, wait until its page answers, and stop it at the end."""
    studio = LiveStudio(home, **more)
    try:
        studio.wait_until_ready()
        yield studio
    finally:
        if studio.process.poll() is None:
            studio.stop()
