"""Record of everything outside a run's configuration that its numbers may depend on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from core.backbones.load import Backbone
from core.data.examples import TaskData

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


LABELS = {
    "torch": "torch",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "device": "device",
    "threads": "threads",
    "cpu": "processor",
    "cpu_capability": "processor capability",
    "dtype": "precision",
}
"""What the last digits of a number may depend on, in the order and the words of a notice."""


def conditions(backbone: Backbone) -> dict[str, str | int]:
    """Return what each checkpoint notes of the process, by the keys of ``LABELS``; JSON-safe."""
    kind = backbone.device.type
    return {
        **{name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "device": torch.cuda.get_device_name(backbone.device) if kind == "cuda" else kind,
        "threads": torch.get_num_threads(),
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "dtype": _precision(backbone),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name each condition that changed, with both values; what was not noted is passed over."""
    return ", ".join(
        f"{label} {before[name]} → {now[name]}"
        for name, label in LABELS.items()
        if name in before and before[name] != now[name]
    )


def environment_of(backbone: Backbone, tasks: Mapping[str, TaskData]) -> dict[str, Any]:
    """Describe versions, machine, weights and data of a run; JSON-safe.

    Args:
        backbone: The backbone it was trained on.
        tasks: Its tasks by name.
    """
    device = str(backbone.device)
    if backbone.device.type == "cuda":
        device = f"{device} ({torch.cuda.get_device_name(backbone.device)})"
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": device,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dtype": _precision(backbone),
        "weights_sha256": backbone.weights_sha256,
        "data": {name: _sources(data) for name, data in tasks.items()},
    }


def _sources(data: TaskData) -> dict[str, Any]:
    """Say which files a task was read from, and which data version they are."""
    return {
        "data_version": data.version,
        "dev_source": data.dev_source,
        "test_source": data.test_source,
        "extra": {name: extra.version for name, extra in data.extra.items()},
    }


def _precision(backbone: Backbone) -> str:
    return str(backbone.dtype).removeprefix("torch.")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
