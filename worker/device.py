"""What a worker trains on, found without torch: device, threads and the trainer's environment."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ConfigError
from worker.memory import MEBIBYTE, machine_memory

PROBE_SECONDS = 5.0
PRIVATE_VARIABLES = ("STUDIO_DATABASE_URL", "STUDIO_BROKER_URL")
"""Passwords that the trainer has no use for: it writes to no database and no broker."""


@dataclass(frozen=True)
class Device:
    """Where a trainer computes.

    Attributes:
        name: What the trainer is told: ``cpu`` or ``cuda``.
        label: What people read, for example ``NVIDIA H100 (cuda:1)`` or ``cpu, 2 threads``.
        threads: CPU threads of the trainer.
        visible: Value of ``CUDA_VISIBLE_DEVICES`` that leaves exactly this device; empty on CPU.
        memory_bytes: Its memory; 0 when it is not known.
        facts: For the page of workers.
    """

    name: str
    label: str
    threads: int
    visible: str = ""
    memory_bytes: int = 0
    facts: Mapping[str, str | int] = field(default_factory=dict)


def find_device(wanted: str = "auto", threads: int = 0) -> Device:
    """Choose the device of a worker.

    Args:
        wanted: ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>``.
        threads: CPU threads of the trainer; 0: one for each core that this process may use.

    Raises:
        ConfigError: If ``wanted`` is none of these, or no such GPU is here.
    """
    count = threads or usable_cores()
    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        raise ConfigError(
            f"'{wanted}' is no device; give auto, cpu, cuda or cuda:<number>", field="device"
        )
    gpus = _gpus() if kind != "cpu" and _torch_knows_cuda() else []
    index = int(number or 0)
    if kind == "cuda" and index >= len(gpus):
        raise ConfigError(
            f"'{wanted}' was asked for, but {len(gpus)} NVIDIA GPUs can be used here",
            field="device",
            hint="Give --device cpu, or check nvidia-smi and that torch was installed with CUDA.",
        )
    facts: dict[str, str | int] = {"cores": usable_cores(), "threads": count}
    facts["machine"] = platform.machine()
    if not gpus:
        label = f"cpu, {count} threads"
        return Device("cpu", label, count, memory_bytes=machine_memory(), facts=facts)
    gpu = gpus[index]
    facts["gpu"] = gpu.title
    return Device("cuda", f"{gpu.title} (cuda:{index})", count, gpu.uuid, gpu.memory_bytes, facts)


def trainer_environment(device: Device, base: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of a trainer; libraries read these values when they are loaded.

    Args:
        device: Where it computes.
        base: Environment of the supervisor.
    """
    environment = {key: base[key] for key in base if key not in PRIVATE_VARIABLES}
    threads = str(device.threads)
    environment |= {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # Waiting threads sleep: spinning ones would take the cores from page and predictor.
        "OMP_WAIT_POLICY": "PASSIVE",
        # Tokenisation happens once, and threads that are forked after it warn.
        "TOKENIZERS_PARALLELISM": "false",
        # Needed before CUDA starts for repeatable matrix products.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": device.visible,
    }
    return environment


def usable_cores() -> int:
    """Count the cores that this process may use; a container's quota counts."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def _quota() -> int | None:
    """Cores that the control group allows, rounded up; None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
    except (OSError, ValueError):
        return None
    return None if quota == "max" else math.ceil(int(quota) / int(period))


def _torch_knows_cuda() -> bool:
    """Tell from the installed version alone whether torch was built for CPUs only."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


@dataclass(frozen=True)
class _Gpu:
    index: str
    uuid: str
    memory_bytes: int
    title: str


def _gpus() -> list[_Gpu]:
    """NVIDIA GPUs that this process may use."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",", 3)] for line in answer.stdout.splitlines()]
    found = [_Gpu(row[0], row[1], _mebibytes(row[2]), row[3]) for row in rows if len(row) == 4]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return found
    wanted = [part.strip() for part in allowed.split(",") if part.strip()]
    return [
        gpu for part in wanted for gpu in found if part == gpu.index or gpu.uuid.startswith(part)
    ]


def _mebibytes(text: str) -> int:
    """Bytes of a number of MiB; 0 for a device that does not tell."""
    return int(text) * MEBIBYTE if text.isdigit() else 0
