"""Reading nested fields of a line: what is wrong is said in words, the reader adds the place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 40


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:SHOWN]


def _found(fields: Mapping[str, Any], name: str) -> object:
    if name not in fields:
        raise ValueError(f"no field '{name}'; there are {', '.join(sorted(fields)) or 'none'}")
    return fields[name]


def text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be text; it may be empty.

    Raises:
        ValueError: If it is missing or no text.
    """
    value = _found(fields, name)
    if not isinstance(value, str):
        raise ValueError(f"field '{name}' is {_shown(value)}, not text")
    return value


def whole_number(fields: Mapping[str, Any], name: str) -> int:
    """Return a field that must be a whole number of 0 or more.

    Raises:
        ValueError: If it is missing or something else.
    """
    value = _found(fields, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"field '{name}' is {_shown(value)}, not a whole number of 0 or more")
    return value


def mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a field that must be an object.

    Raises:
        ValueError: If it is missing or something else.
    """
    value = _found(fields, name)
    if not isinstance(value, dict):
        raise ValueError(f"field '{name}' is {_shown(value)}, not an object")
    return value


def mappings(fields: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """Return a field that must be a list of objects, at least one.

    Raises:
        ValueError: If it is missing, empty or something else.
    """
    value = _found(fields, name)
    if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
        raise ValueError(f"field '{name}' is {_shown(value)}, not a list of objects")
    return value
