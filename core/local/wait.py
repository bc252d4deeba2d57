"""Waiting: for signals, for a page that answers, for a free port."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import FrameType
from typing import Any

from core.errors import ConfigError
from core.states import ENDED, RunState

TICK_SECONDS = 0.1
UNENDED = tuple(state.value for state in RunState if state not in ENDED)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Counts Ctrl-C, TERM and HUP; the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        self.count = 0
        self.number = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def hurry(self) -> bool:
        """Tell whether the person asked twice."""
        return self.count > 1

    def sleep(self, seconds: float = TICK_SECONDS) -> None:
        """Sleep, but not past a request."""
        deadline = time.monotonic() + seconds
        while not self and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, TICK_SECONDS))

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.count += 1
        self.number = number


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn stop signals into a request for the time of the block."""
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def claim_port(host: str, port: int) -> int:
    """Check that a port can be listened on, or choose a free one for 0.

    Raises:
        ConfigError: If another program has it or the address is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigError(
            f"The page cannot listen on {host} port {port}: {error.strerror}.",
            hint=f"Choose another port, for example --port {port + 1 if port < 65535 else 7860}, "
            "or stop the program that uses it.",
        ) from error


def page_url(host: str, port: int) -> str:
    """Address for a browser on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    if ":" in shown and not shown.startswith("["):
        shown = f"[{shown}]"
    return f"http://{shown}:{port}"


def page_answers(url: str, seconds: float = 1.0) -> bool:
    """Tell whether the page's health route answers; proxies are left aside."""
    try:
        with _open(f"{url}/healthz", seconds) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def trains_demo(url: str, seconds: float = 5.0) -> bool:
    """Tell whether the page has a demo study with runs that wait or train."""
    try:
        with _open(f"{url}/api/home", seconds) as answer:
            demo = json.load(answer)["demo"]
        return demo is not None and any(demo["states"].get(state) for state in UNENDED)
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return False


def _open(url: str, seconds: float) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(url, timeout=seconds)
