"""The supervisor's handle on its trainer process: pipes, death, signals."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.protocol import LineBuffer, Message, Ready, RunMessage, decode_up, encode

READ_BYTES = 1 << 18
GRACE_SECONDS = 0.5
BURY_SECONDS = 5.0
"""Time for a killed process to end; one that waits for a device or a disk may take longer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Death:
    """How a trainer process ended.

    Attributes:
        code: Exit code; the negative number of the signal that ended it.
    """

    code: int

    @property
    def signal_name(self) -> str:
        """Name of the signal, for example ``SIGKILL``; empty when it left by itself."""
        if self.code >= 0:
            return ""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    @property
    def reason(self) -> str:
        """Part of a sentence: what ended the process."""
        if self.signal_name:
            return f"was ended by {self.signal_name}"
        return f"left with exit code {self.code}"


class TrainerProcess:
    """A running trainer in its own process group, reached over two pipes.

    Nothing here waits for a living trainer: orders stay in a buffer until the pipe takes them, so
    that one that does not read cannot hold up the supervisor's beat. Only ``bury`` waits, for a
    few seconds at most.

    Args:
        command: Program and arguments; the numbers of the pipes are added.
        environment: Whole environment of the process.
        log_path: File for its standard output and error.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log_path: Path
    ) -> None:
        down_read, down_write = os.pipe()
        up_read, up_write = os.pipe()
        try:
            with log_path.open("ab", buffering=0) as log_file:
                self._process = subprocess.Popen(
                    [*command, "--down", str(down_read), "--up", str(up_write)],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    pass_fds=(down_read, up_write),
                    start_new_session=True,
                    env=dict(environment),
                )
        except OSError:
            os.close(down_write)
            os.close(up_read)
            raise
        finally:
            os.close(down_read)
            os.close(up_write)
        os.set_blocking(down_write, False)
        os.set_blocking(up_read, False)
        self._down, self._up = down_write, up_read
        self._lines = LineBuffer()
        self._waiting = bytearray()
        self._is_open = True
        self.is_silent = False
        """True once the trainer has closed its pipe: it is dead or about to be."""
        self.cut_off = ""
        """Why it was ended at once although nothing is known against it; empty: it was not."""

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def up(self) -> int:
        """Descriptor that becomes readable with messages and at the trainer's end."""
        return self._up

    def send(self, message: Message) -> None:
        """Send an order as soon as the pipe takes it."""
        self._waiting += encode(message)
        self.push()

    def push(self) -> None:
        """Write as much of the waiting orders as the pipe takes; a dead reader is ignored."""
        try:
            while self._waiting:
                del self._waiting[: os.write(self._down, self._waiting)]
        except BlockingIOError:
            return
        except OSError:
            self._waiting.clear()

    def read(self) -> list[Ready | RunMessage]:
        """Return the messages that have arrived.

        Raises:
            ProtocolError: If something else arrived; the trainer must be killed.
        """
        try:
            data = os.read(self._up, READ_BYTES)
        except BlockingIOError:
            return []
        self.is_silent = not data
        return [decode_up(line) for line in self._lines.feed(data)]

    def poll(self) -> Death | None:
        """Return how the process ended, None while it lives."""
        code = self._process.poll()
        return None if code is None else Death(code)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def ask_where(self) -> None:
        """Have the trainer write into its log what each of its threads is doing."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)

    def cut(self, reason: str) -> None:
        """End the process group at once; safe in other threads, as long as nobody buries it."""
        if self._process.poll() is None:
            self.cut_off = reason
            self.signal(signal.SIGKILL)

    def bury(self) -> Death:
        """Kill the process group, reap the process and close the pipes.

        Call ``last_words`` before. A process that has closed its pipe gets a moment to end by
        itself, so that its own exit code is told and not our signal. One that does not end even
        when killed is left to the system.
        """
        if self.is_silent:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        self.signal(signal.SIGKILL)
        try:
            code = self._process.wait(BURY_SECONDS)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
            log.error(
                "the trainer (pid %d) did not end within %.0f s of being killed; it may still hold "
                "memory of its device",
                self.pid,
                BURY_SECONDS,
            )
        if self._is_open:
            self._is_open = False
            os.close(self._down)
            os.close(self._up)
        return Death(code)

    def last_words(self) -> list[Ready | RunMessage]:
        """Return everything that a dead trainer had written and nobody has read.

        Raises:
            ProtocolError: If something else than messages arrived.
        """
        words: list[Ready | RunMessage] = []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._up, READ_BYTES):
                words.extend(decode_up(line) for line in self._lines.feed(data))
            self.is_silent = True
        return words
