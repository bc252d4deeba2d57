"""``studio run`` on a small recipe, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.live_studio import command, environment
from tests.tiny import make_tiny_bert

SMALL: dict[str, Any] = {
    "name": "small",
    "tasks": ["desk"],
    "methods": ["linear_probe", {"kind": "adap_pos", "num_virtual_tokens": 2}],
    "regimes": [{"kind": "full_data", "max_train": 64}],
    "seeds": {"init": [0, 1]},
    "training": {"max_updates": 4, "batch_size": 4, "max_tokens": 32, "evaluations": 1},
}

OVER_SEEDS = "standard deviation"
"""Stands above a table of several seeds."""


def write_recipe(home: Path, **changes: Any) -> Path:
    """Write the recipe on a tiny backbone: what counts is what processes do, not the weights."""
    backbone = home / "tiny"
    if not backbone.is_dir():
        make_tiny_bert(backbone)
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "backbones": [{"path": str(backbone)}], **changes}))
    return path


def studio(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        command(*arguments), env=environment(home), capture_output=True, text=True, timeout=280
    )
