"""A real page server as a process, for tests in a browser; no worker beside it."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import socket
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.live_studio import READY_SECONDS, wait_for

# One process reads the page's modules, which takes most of a start, and forks into each server.
ENTRY = "app.__main__"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([ENTRY])


@contextlib.contextmanager
def page_server(home: Path) -> Iterator[str]:
    """Start the web application by its own entry point, and stop it as people do.

    Yields:
        Its address.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    # The workers in the database are no processes; they must not be held for lost meanwhile.
    quiet = {"STUDIO_DEMO": "false", "STUDIO_LEASE_SECONDS": "3600"}
    environment = os.environ | {"STUDIO_HOME": str(home)} | quiet
    log = home / "server.log"
    server = FORKS.Process(target=serve, args=(port, dict(environment), log))
    server.start()
    try:
        over = wait_for(lambda: answers(address) or not server.is_alive(), READY_SECONDS)
        assert over, "the page did not answer in time"
        assert server.is_alive(), log.read_text(errors="replace")[-3000:]
        yield address
    finally:
        server.terminate()
        server.join(timeout=30)
        assert not server.is_alive(), "the page did not stop in time"
        server.close()


def serve(port: int, environment: Mapping[str, str], log: Path) -> None:
    """Be the server: what is written goes to the log, as do the last words of a failure."""
    os.environ.update(environment)
    with log.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    importlib.import_module(ENTRY).main(["--port", str(port)])


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5):
            return True
    except OSError:
        return False
