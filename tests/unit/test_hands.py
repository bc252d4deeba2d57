"""Hands of a command: who does the work when another process has the home folder."""

from __future__ import annotations

import contextlib
import errno
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, StoreError
from core.local import hands, up
from core.local.children import Child
from core.local.hands import Hands
from core.local.lock import HomeLock
from core.local.wait import StopRequest, trains_demo
from core.settings import Settings
from core.store import workers
from core.store.migrate import require_head, upgrade
from core.store.session import Store


@pytest.fixture
def owner(home: Path) -> Iterator[HomeLock]:
    """Another process's hold of the home folder."""
    lock = HomeLock(home)
    assert lock.acquire()
    yield lock
    lock.release()


def hands_of(home: Path, role: str = "train") -> Hands:
    return Hands(Settings(home=home), StopRequest(), lambda text: None, role)


def test_a_guest_waits_for_the_tables_of_an_owner_that_just_began(
    home: Path, owner: HomeLock
) -> None:
    owner.write("up", "http://127.0.0.1:7860")
    guest = hands_of(home)
    later = threading.Timer(0.4, upgrade, (guest.settings.sqlalchemy_url,))
    later.start()
    guest.take()
    later.join()
    require_head(guest.settings.sqlalchemy_url)
    assert (guest.url, guest.are_ours) == ("http://127.0.0.1:7860", False)


def test_a_guest_does_not_wait_for_ever(
    home: Path, owner: HomeLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "TABLES_SECONDS", 0.2)
    owner.write("up", "http://127.0.0.1:7860")
    with pytest.raises(StoreError, match="migration"):
        hands_of(home).take()


@pytest.mark.parametrize(
    ("kind", "children", "role", "own"),
    [
        ("run", {"worker": (1, 0.0)}, "predict", True),
        ("run", {"predictor": (1, 0.0)}, "predict", False),
        ("run", {"worker": (1, 0.0)}, "train", False),
        ("up", {}, "predict", False),
    ],
)
def test_a_predictor_is_started_beside_an_owner_that_has_none(
    home: Path,
    owner: HomeLock,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    children: dict[str, tuple[int, float]],
    role: str,
    own: bool,
) -> None:
    monkeypatch.setattr(
        hands, "worker_child", lambda name: Child(name, [sys.executable, "-c", "input()"])
    )
    owner.write(kind, "", children)
    before = owner.path.read_text()
    guest = hands_of(home, role)
    upgrade(guest.settings.sqlalchemy_url)
    try:
        guest.take()
        assert guest.are_ours is own
        guest.tend()
        assert owner.path.read_text() == before
    finally:
        guest.release()


@pytest.mark.parametrize(
    ("url", "children", "others", "says"),
    [
        ("", {"predictor": (1, 0.0)}, False, []),
        ("", {"worker": (1, 0.0)}, False, ["the command that did this work has stopped; it goes"]),
        ("http://127.0.0.1:1", {}, False, ["the studio at http://127.0.0.1:1 has stopped; it"]),
        ("", {"worker": (1, 0.0)}, True, []),
    ],
    ids=["predict had it", "run had it", "up had it", "others serve"],
)
def test_taking_over_is_told_only_where_the_owner_did_the_work(
    home: Path,
    owner: HomeLock,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    children: dict[str, tuple[int, float]],
    others: bool,
    says: list[str],
) -> None:
    idle = [Child("worker", [sys.executable, "-c", "input()"])]
    monkeypatch.setattr(hands, "workshop", lambda *_: idle)
    monkeypatch.setattr(hands, "upgrade_in_child", lambda *_: None)
    owner.write("up" if url else "run", url, children)
    told: list[str] = []
    settings = Settings(home=home)
    upgrade(settings.sqlalchemy_url)
    guest = Hands(settings, StopRequest(), told.append, queue="night")
    if others:
        store = Store(settings.sqlalchemy_url)
        with contextlib.closing(store), store.write() as session:
            workers.register(
                session, name="w", role="train", host="h", pid=1, queues=["default", "night"]
            )
    try:
        guest.take()
        guest.tend()
        assert (told, guest.are_ours, guest.url) == ([], False, url)
        # A worker that nobody has to start is on its way where no other one had the work.
        assert guest.will_serve("default")
        assert guest.will_serve("night") is ("predictor" in children)
        owner.release()
        guest.tend()
        assert guest.are_ours
        assert guest.url == ""
        assert guest.will_serve("night")
        assert [text[: len(start)] for text, start in zip(told, says, strict=True)] == says
    finally:
        guest.release()


def test_a_full_disk_is_a_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(HomeLock, "write", refuse)
    taken = hands_of(home)
    with pytest.raises(ConfigError, match="No space left"):
        taken.take()
    taken.release()
    monkeypatch.setenv("STUDIO_HOME", str(home))
    with pytest.raises(ConfigError, match="No space left"):
        up.up("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"demo": {"states": {"succeeded": 3, "running": 1}}}', True),
        (b'{"demo": {"states": {"succeeded": 4}}}', False),
        (b'{"demo": null}', False),
        (b"no JSON", False),
    ],
)
def test_the_demo_is_promised_only_while_it_trains(body: bytes, told: bool) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert trains_demo(f"http://127.0.0.1:{server.server_port}") is told
        thread.join()
