"""Tasks: one file each with a SPEC; ``files`` describes a plain folder of one's own."""

from __future__ import annotations

import sys

from core.registry import discover
from core.tasks._spec import TaskSpec

TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in discover(sys.modules[__name__], "SPEC", besides=("bundled", "files")).values()
}

__all__ = ["TASKS", "TaskSpec"]
