"""The embedded broker: a real Valkey on a socket that only this user reaches."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest
import redis

from core.errors import QueueError
from core.local.broker import answers, broker_child, prepare_socket_folder
from core.local.children import Family
from core.settings import Settings


def test_it_answers_on_the_socket_alone_and_leaves_nothing(home: Path) -> None:
    settings = Settings(home=home)
    child = broker_child(settings)
    assert child is not None
    family = Family([child], os.environ, home / "logs", lambda text: None)
    family.start()
    try:
        deadline = time.monotonic() + 10
        while not answers(settings.socket_path) and time.monotonic() < deadline:
            time.sleep(0.02)
        client = redis.Redis(unix_socket_path=str(settings.socket_path))
        assert client.set("key", "value")
        assert client.config_get("port") == {b"port": b"0"} or client.config_get("port") == {
            "port": "0"
        }
        assert stat.S_IMODE(settings.socket_path.stat().st_mode) == 0o700
        client.close()
    finally:
        family.stop()
    assert not answers(settings.socket_path)
    assert {path.name for path in home.iterdir()} <= {"logs", "broker.sock"}


def test_an_outside_broker_needs_no_child(home: Path) -> None:
    assert broker_child(Settings(home=home, broker_url="redis://127.0.0.1:6379/0")) is None


def test_a_long_home_gets_a_private_folder_for_the_socket(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ("x" * 100))
    folder = settings.socket_path.parent
    prepare_socket_folder(settings.socket_path, settings.home_path)
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o755)
        with pytest.raises(QueueError, match="not a private folder"):
            prepare_socket_folder(settings.socket_path, settings.home_path)
    finally:
        folder.rmdir()


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(QueueError):
        prepare_socket_folder(tmp_path / "link" / "broker.sock", tmp_path / "home")


def test_silence_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert not answers(path)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen(1)
        assert not answers(path, seconds=0.1)
