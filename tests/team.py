"""The team's set-up without containers: the commands of docker-compose.yml on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.compose import compose
from tests.live_studio import wait_for
from tests.services import (
    free_tcp_port,
    postgres_database,
    postgres_tcp_server,
    redis_tcp_server,
)

PASSWORDS = {"POSTGRES_PASSWORD": "pg0f0neday", "REDIS_PASSWORD": "rd0f0neday"}
READY_SECONDS = 90.0
QUICK = {
    "STUDIO_DEMO": "0",
    "STUDIO_OFFLINE": "1",
    "STUDIO_THREADS": "1",
    "STUDIO_POLL_SECONDS": "1",
    "STUDIO_BEAT_SECONDS": "0.5",
    "STUDIO_LEASE_SECONDS": "6",
}


@dataclass
class Team:
    """PostgreSQL, Redis, and processes that each have a home folder of their own.

    Attributes:
        folder: Where the home folders and logs are.
        database_url: PostgreSQL with a password over TCP.
        broker_url: Redis with a password over TCP.
        artifacts: Folder that all share.
    """

    folder: Path
    database_url: str
    broker_url: str
    artifacts: Path
    port: int = field(default_factory=free_tcp_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.port}"

    def home(self, name: str) -> Path:
        """Home folder of one machine."""
        return self.folder / name

    def environment(self, service: Mapping[str, Any], name: str) -> dict[str, str]:
        """What compose sets, with the addresses of the servers here."""
        wanted = {key: str(value) for key, value in service["environment"].items()}
        wanted |= {
            "STUDIO_HOME": str(self.home(name)),
            "STUDIO_DATA_DIR": "",
            "STUDIO_DATABASE_URL": self.database_url,
            "STUDIO_BROKER_URL": self.broker_url,
            "STUDIO_ARTIFACTS_URL": self.artifacts.as_uri(),
        }
        return {**os.environ, **wanted, **QUICK, "OMP_NUM_THREADS": "1"}

    def command(self, words: Sequence[str]) -> list[str]:
        """Command of compose for the Python of this test and a port of this machine."""
        program, *rest = words
        assert program == "studio"
        here = {"0.0.0.0": "127.0.0.1", "7860": str(self.port)}
        return [sys.executable, "-P", "-m", "core.cli", *(here.get(word, word) for word in rest)]

    def start(self, service: str, name: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Start the command of a service."""
        said = compose({**PASSWORDS, **variables})["services"][service]
        name = name or service
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                self.command(said["command"]),
                env=self.environment(said, name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.processes[name]

    def is_healthy(self, service: str, name: str = "") -> bool:
        """Do what compose does to see whether a service is well."""
        said = compose(PASSWORDS)["services"][service]
        words = said["healthcheck"]["test"][1:]
        here = [word.replace(":7860/", f":{self.port}/") for word in words]
        command = [sys.executable, *here[1:]] if here[0] == "python" else self.command(here)
        return self.call(command, name or service, said).returncode == 0

    def run(self, words: Sequence[str], name: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end on one machine."""
        said = compose(PASSWORDS)["services"]["migrate"]
        return self.call(self.command(words), name, said)

    def call(
        self, command: Sequence[str], name: str, said: Mapping[str, Any]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(command),
            env=self.environment(said, name),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def log(self) -> str:
        """Last words of all processes."""
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.rglob("*.log"))
        )

    def get(self, path: str, **query: str | int | bool) -> Any:
        """Ask the API."""
        answer = httpx.get(f"{self.url}{path}", params=query, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Tell the API something."""
        answer = httpx.post(f"{self.url}{path}", json=dict(body), timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def page_is_ready(self) -> None:
        """Wait until the page answers that it can be used."""

        def ready() -> bool:
            assert self.processes["app"].poll() is None, self.log()
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
            return False

        assert wait_for(ready, READY_SECONDS), self.log()

    def wait_states(self, study: str, wanted: str, seconds: float) -> list[dict[str, Any]]:
        """Wait until all runs of a study are in a state; return them."""

        def runs() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.get(f"/api/studies/{study}")["runs"]
            return found

        def reached() -> bool:
            return {run["state"] for run in runs()} == {wanted}

        assert wait_for(reached, seconds), f"{runs()}\n{self.log()}"
        return runs()

    def stop(self, names: Sequence[str], seconds: float = 20.0) -> dict[str, int]:
        """Ask processes to end, as compose does; return their exit codes."""
        for name in names:
            self.processes[name].send_signal(signal.SIGTERM)
        return {name: self.processes[name].wait(seconds) for name in names}

    def close(self) -> None:
        """Kill whatever is left."""
        for process in self.processes.values():
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Start the servers of a team and migrate the database; the rest is started by the test."""
    folder.mkdir(exist_ok=True)
    with (
        postgres_tcp_server(PASSWORDS["POSTGRES_PASSWORD"]) as server,
        postgres_database(server) as database,
        redis_tcp_server(PASSWORDS["REDIS_PASSWORD"]) as broker,
    ):
        us = Team(folder, database, broker.url, folder / "shared")
        try:
            assert us.start("migrate").wait(60) == 0, us.log()
            yield us
        finally:
            us.close()
