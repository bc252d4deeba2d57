"""What docker-compose.yml says, with its variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<kind>:-|:\?)?(?P<rest>[^}]*)\}")


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """Read the file; a variable without a default must be given."""
    content: dict[str, Any] = _filled(yaml.safe_load(TEXT), variables)
    return content


def _filled(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, variables) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, variables) for value in part]
    if not isinstance(part, str):
        return part

    def value(found: re.Match[str]) -> str:
        if found["kind"] == ":-":
            return variables.get(found["name"], found["rest"])
        return variables[found["name"]]

    return VARIABLE.sub(value, part)
