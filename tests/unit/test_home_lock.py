"""The lock of a home folder: who has it, and what a killed owner leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.local.lock import HomeLock, LockInfo, boot_id, is_held, live_info, read_info, stop_orphans


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = HomeLock(tmp_path), HomeLock(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_the_file_names_the_living_owner(tmp_path: Path) -> None:
    lock = HomeLock(tmp_path)
    assert live_info(tmp_path) is None
    assert lock.acquire()
    lock.write("up", "http://127.0.0.1:7860", {"web": (1, 2.0)})
    lock.write("up", "http://127.0.0.1:7861", {"web": (1, 2.0)})
    info = live_info(tmp_path)
    assert info is not None
    assert (info.pid, info.kind, info.url) == (os.getpid(), "up", "http://127.0.0.1:7861")
    assert info.children == {"web": (1, 2.0)}
    lock.release()
    assert live_info(tmp_path) is None


def test_a_stale_file_is_not_held(tmp_path: Path) -> None:
    lock = HomeLock(tmp_path)
    assert lock.acquire()
    lock.write("up", "http://127.0.0.1:7860")
    text = lock.path.read_text()
    lock.release()
    lock.path.write_text(text)
    assert read_info(tmp_path) is not None
    assert not is_held(tmp_path)
    assert live_info(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": 1}', '{"children": 3}'])
def test_an_unreadable_file_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "up.lock").write_text(content)
    assert read_info(tmp_path) is None


@pytest.fixture
def orphan() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def info_of(process: subprocess.Popen[bytes]) -> LockInfo:
    started = psutil.Process(process.pid).create_time()
    return LockInfo(1, "up", "", boot_id(), 0.0, {"worker": (process.pid, started)})


def test_orphans_of_a_killed_owner_are_stopped(orphan: subprocess.Popen[bytes]) -> None:
    assert stop_orphans(info_of(orphan)) == ["worker"]
    orphan.poll()
    assert not psutil.pid_exists(orphan.pid)


@pytest.mark.parametrize("change", ["boot", "start"])
def test_another_process_with_the_same_id_is_left_alone(
    orphan: subprocess.Popen[bytes], change: str
) -> None:
    info = info_of(orphan)
    if change == "boot":
        info = replace(info, boot_id="another")
    else:
        info = replace(info, children={"worker": (orphan.pid, time.time() - 3600)})
    assert stop_orphans(info) == []
    assert orphan.poll() is None
    orphan.kill()
    orphan.wait()
