"""Memory of machine, control group, trainer and GPU, measured without waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.states import Outcome
from worker import memory
from worker.active import Group
from worker.deaths import judge
from worker.memory import MemoryMeter, kills_for_memory, machine_memory, process_memory
from worker.trainer_process import Death

HOLDER = "x = b'x' * (64 << 20); print(flush=True); input()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HOLDER!r}], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
child.stdout.readline()
print(flush=True)
input()
"""


def groups(monkeypatch: pytest.MonkeyPatch, folder: Path, own: str) -> None:
    own_file = folder / "own"
    own_file.write_text(own)
    monkeypatch.setattr(memory, "CGROUPS", folder)
    monkeypatch.setattr(memory, "OWN_CGROUPS", own_file)


@pytest.mark.parametrize(
    ("own", "place", "limit", "events"),
    [
        ("0::/job/one\n", "job/one", "memory.max", "memory.events"),
        ("4:cpu:/x\n5:memory:/job\n", "memory/job", "memory.limit_in_bytes", "memory.oom_control"),
        ("0::/elsewhere\n", "", "memory.max", "memory.events"),
    ],
)
def test_a_control_group_limits_what_there_is_and_counts_what_it_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, place: str, limit: str, events: str
) -> None:
    unlimited = machine_memory()
    groups(monkeypatch, tmp_path, own)
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text("max\n")
    assert machine_memory() >= unlimited
    (folder / limit).write_text("300000000\n")
    assert machine_memory() == 300_000_000
    (folder / events).write_text("oom 9\noom_kill 4\n")
    assert kills_for_memory() == 4


def test_without_control_groups_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups(monkeypatch, tmp_path, "")
    monkeypatch.setattr(memory, "VMSTAT", tmp_path / "vmstat")
    assert kills_for_memory() == 0
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 2\n")
    assert kills_for_memory() == 2


def test_a_process_is_measured_with_its_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        used, highest = process_memory(parent.pid)
        assert 64 << 20 < used <= highest < 400 << 20
        alone, _ = process_memory(os.getpid())
        assert alone > used
        parent.communicate(b"\n")
    assert process_memory(parent.pid) == (0, 0)


def dead(memory_meter: MemoryMeter, code: int = -signal.SIGKILL) -> tuple[Outcome, str]:
    group = Group("g", {}, 1, Path("log"), sent=True)
    verdict = judge(group, Death(code), "", memory_meter)
    return verdict.outcome, verdict.detail


def test_a_kill_near_the_limit_is_told_as_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    used, _ = process_memory(os.getpid())
    meter = MemoryMeter(limit=used)
    assert dead(meter) == (Outcome.CRASHED, "The trainer was ended by SIGKILL from outside.")
    meter.look(os.getpid(), 0.0)
    assert meter.used >= used // 2
    outcome, detail = dead(meter)
    assert outcome is Outcome.OUT_OF_MEMORY
    assert "was killed when memory ran out (it used " in detail
    assert dead(meter, 3)[0] is dead(meter, -signal.SIGSEGV)[0] is Outcome.CRASHED
    meter.start()
    assert dead(meter)[0] is Outcome.CRASHED
    monkeypatch.setattr(memory, "kills_for_memory", lambda: 10**6)
    outcome, detail = dead(meter)
    assert (outcome, "killed by the system" in detail) == (Outcome.OUT_OF_MEMORY, True)


def test_a_gpu_is_asked_now_and_then_and_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, asked = tmp_path / "nvidia-smi", tmp_path / "asked"
    program.write_text(f'#!/bin/sh\necho "$@" >> {asked}\necho " 2048"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    meter = MemoryMeter("GPU-bbb")
    deadline = time.monotonic() + 20
    while not meter.used and time.monotonic() < deadline:
        meter.look(None, 100.0)
        time.sleep(0.01)
    assert meter.used == 2 << 30
    for now in (100.0, 105.0, 109.0):
        meter.look(None, now)
    assert len(asked.read_text().splitlines()) == 1
    assert "--id=GPU-bbb" in asked.read_text()
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    before = time.monotonic()
    meter.look(None, 111.0)
    meter.look(None, 112.0)
    assert time.monotonic() - before < 5.0
    assert meter.used == 2 << 30
    meter.close()


def test_an_answer_whose_pipe_stays_open_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nsleep 5 &\necho 2048\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    meter = MemoryMeter("GPU-bbb")
    before = time.monotonic()
    for _ in range(100):
        meter.look(None, 100.0)
        time.sleep(0.01)
    assert time.monotonic() - before < 4.0
    meter.close()
