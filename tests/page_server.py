"""A real page server as a process, for tests in a browser; no worker beside it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.live_studio import READY_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def page_server(home: Path) -> Iterator[str]:
    """Start the web application as people do, and stop it by its process id.

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
    with (home / "server.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "app", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            over = wait_for(lambda: answers(address) or server.poll() is not None, READY_SECONDS)
            assert over, "the page did not answer in time"
            assert server.poll() is None, (home / "server.log").read_text(errors="replace")[-3000:]
            yield address
        finally:
            server.terminate()
            server.wait(timeout=30)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=5):
            return True
    except OSError:
        return False
