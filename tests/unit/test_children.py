"""Children: restarted when they die, stopped with all that they started."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.local.children import MAX_LOG_BYTES, Child, Family, how_ended

SLEEPER = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
    " start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def child(script: str, name: str = "worker") -> Child:
    return Child(name, [sys.executable, "-c", script])


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_a_killed_child_is_started_again_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    family = Family([child(SLEEPER)], os.environ, tmp_path, told.append)
    family.start()
    try:
        first = family.identities()["worker"][0]
        os.kill(first, signal.SIGKILL)

        def is_back() -> bool:
            family.tend()
            return family.identities().get("worker", (first, 0.0))[0] != first

        assert wait_for(is_back)
        assert len(told) == 1
        assert "SIGKILL" in told[0]
        assert "0.5 s" in told[0]
    finally:
        family.stop()


def test_a_child_that_cannot_be_started_again_is_tried_later(tmp_path: Path) -> None:
    told: list[str] = []
    lost = Child("worker", [str(tmp_path / "no such program")])
    family = Family([lost], os.environ, tmp_path, told.append)
    for _ in range(3):
        assert family.tend() is False
    assert (lost.deaths, len(told)) == (1, 1)
    assert "No such file" in told[0]
    assert lost.due > time.monotonic()


def test_the_pause_doubles_up_to_a_bound() -> None:
    sleeper = child(SLEEPER)
    pauses = []
    for deaths in (1, 2, 3, 6, 7, 50):
        sleeper.deaths = deaths
        pauses.append(sleeper.pause())
    assert pauses == [0.5, 1.0, 2.0, 16.0, 30.0, 30.0]


def test_stopping_ends_stubborn_children_and_their_children(tmp_path: Path) -> None:
    family = Family([child(STUBBORN)], os.environ, tmp_path, lambda text: None)
    family.start()
    pid = family.identities()["worker"][0]
    log = family.log_path("worker")
    assert wait_for(lambda: log.read_text().strip().isdigit())
    grandchild = int(log.read_text())
    began = time.monotonic()
    family.stop(grace_seconds=0.5)
    assert time.monotonic() - began < 3
    assert not psutil.pid_exists(pid)
    gone = not psutil.pid_exists(grandchild)
    assert gone or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_a_second_request_ends_the_grace(tmp_path: Path) -> None:
    family = Family([child(STUBBORN)], os.environ, tmp_path, lambda text: None)
    family.start()
    assert wait_for(lambda: family.log_path("worker").stat().st_size > 0)
    began = time.monotonic()
    family.stop(grace_seconds=30, hurry=lambda: True)
    assert time.monotonic() - began < 3


def test_what_others_need_is_stopped_last(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time, pathlib\n"
        "def end(*_):\n"
        "    with open(sys.argv[1], 'a') as file: file.write(sys.argv[2])\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    order = tmp_path / "order"
    command = [sys.executable, "-c", script, str(order)]
    children = [Child("b", [*command, "b"], stops_last=True), Child("w", [*command, "w"])]
    family = Family(children, os.environ, tmp_path, lambda text: None)
    family.start()
    for each in children:
        assert wait_for(lambda name=each.name: "ready" in family.log_tail(name))  # type: ignore[misc]
    family.stop()
    assert order.read_text() == "wb"


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    family = Family([child("print('new')")], os.environ, tmp_path, lambda text: None)
    family.start()
    assert wait_for(lambda: "new" in family.log_tail("worker"))
    family.stop()
    assert (tmp_path / "worker.log.1").stat().st_size > MAX_LOG_BYTES


@pytest.mark.parametrize(("code", "words"), [(-9, "signal SIGKILL"), (3, "code 3")])
def test_the_way_of_ending_is_named(code: int, words: str) -> None:
    assert words in how_ended(code)
