from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.log_tail import SHOWN_BYTES, read_tail
from core.store.views import WorkerRow
from worker.device import find_device, trainer_environment
from worker.identity import Identity, dead_workers, own_identity
from worker.memory import machine_memory
from worker.trainer_logs import KEPT_SECONDS, TrainerLogs


def test_a_device_that_is_no_device_is_refused_with_the_choices() -> None:
    for wanted in ("gpu", "cuda:x", "cpu0"):
        with pytest.raises(ConfigError, match="give auto, cpu, cuda"):
            find_device(wanted)
    assert find_device("cpu", threads=3).threads == 3
    assert find_device("cpu").memory_bytes == machine_memory() > 10**8


def test_only_the_wanted_gpu_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho '0, GPU-aaa, [N/A], First'\necho '1, GPU-bbb, 81559, Second, big'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0+cu130")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    second = find_device("cuda:1")
    assert (second.name, second.visible) == ("cuda", "GPU-bbb")
    assert "Second, big" in second.label
    assert second.memory_bytes == 81559 << 20
    assert find_device("cuda:0").memory_bytes == 0
    assert trainer_environment(second, {})["CUDA_VISIBLE_DEVICES"] == "GPU-bbb"
    with pytest.raises(ConfigError, match="2 NVIDIA GPUs"):
        find_device("cuda:2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert find_device("auto").visible == "GPU-bbb"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_device("auto").name == "cpu"
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0+cpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert find_device("auto").name == "cpu"


def test_the_trainer_gets_no_password() -> None:
    base = {"STUDIO_DATABASE_URL": "x", "STUDIO_BROKER_URL": "x", "HF_HOME": "/h"}
    environment = trainer_environment(find_device("cpu", 2), base)
    assert environment["HF_HOME"] == "/h"
    assert environment["OMP_NUM_THREADS"] == "2"
    assert not {"STUDIO_DATABASE_URL", "STUDIO_BROKER_URL"} & set(environment)


def make_row(me: Identity, **changes: Any) -> WorkerRow:
    values: dict[str, Any] = {
        "id": "w", "name": "w", "role": "train", "host": me.host, "pid": me.pid, "device": "cpu",
        "info": me.info, "hb_seq": 7, "state": "alive", "started_at": datetime.now(UTC),
        "seconds_silent": 0.0,
    }  # fmt: skip
    return WorkerRow(**{**values, **changes})


def test_only_workers_that_are_surely_gone_are_called_dead() -> None:
    me = own_identity()
    parent = os.getppid()
    cases = {
        "itself": (make_row(me), False),
        "living": (make_row(me, pid=parent, info={"boot_id": me.boot_id}), False),
        "reused pid": (make_row(me, pid=parent, info={**me.info, "started": "1"}), True),
        "gone": (make_row(me, pid=2**22 + 1, info={"boot_id": me.boot_id}), True),
        "before the reboot": (make_row(me, pid=parent, info={"boot_id": "old"}), True),
        "earlier with this pid": (make_row(me, info={**me.info, "started": "1"}), True),
        "elsewhere": (make_row(me, host="other", pid=2**22 + 1), False),
    }
    for name, (row, is_dead) in cases.items():
        assert bool(dead_workers([row], me)) is is_dead, name


def test_a_log_that_grows_too_large_keeps_its_end(tmp_path: Path) -> None:
    logs = TrainerLogs(tmp_path / "logs", max_bytes=1000, kept_files=3)
    path = logs.new("a")
    with path.open("ab", buffering=0) as trainer:
        trainer.write(b"x" * 2000 + b"end\n")
        logs.cut(path)
        trainer.write(b"later\n")
    text = path.read_text()
    assert len(text) < 1000
    assert text.startswith("[cut at 1000 bytes")
    assert text.endswith("end\nlater\n")


def test_only_so_many_logs_are_kept(tmp_path: Path) -> None:
    logs = TrainerLogs(tmp_path, kept_files=3)
    for number in range(6):
        path = logs.new(f"{number}")
        os.utime(path, (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "group-3.log", "group-4.log", "group-5.log",
    ]  # fmt: skip


def test_logs_of_the_last_day_stay_and_a_vanished_one_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = TrainerLogs(tmp_path, kept_files=1)
    for name, age in (("young", 60), ("old", KEPT_SECONDS + 60), ("gone", KEPT_SECONDS + 90)):
        path = logs.path(name)
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    looked = Path.stat

    def stat(path: Path, **how: bool) -> os.stat_result:
        if path.name == "group-gone.log":
            path.unlink(missing_ok=True)
        return looked(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    logs.new("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["group-new.log", "group-young.log"]


def test_the_end_of_a_log_is_shown_as_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "group-a.log"
    path.touch()
    assert read_tail(path) == read_tail(tmp_path / "nothing") == ""
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    path.write_bytes(
        lines + b"\x1b[31mred\x1b[0m \xff\xfe\x00\n10%\r20%\r\nlast: \xe2\x80\xaeabc\n"
    )
    tail = read_tail(path)
    assert len(tail.encode()) <= SHOWN_BYTES + 8
    assert tail.startswith("line ")
    assert tail.endswith("\nred \ufffd\ufffd\n20%\nlast: abc\n")
