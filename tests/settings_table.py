"""The README's table of what a dynamic prompt can be told.

``.venv/bin/python -m tests.settings_table`` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.methods import METHODS

README = Path(__file__).resolve().parents[1] / "README.md"
KIND = "dynamic_prompt"
HEAD = "| setting | values | default | meaning |"


def _values(schema: dict[str, Any]) -> str:
    """Say what a field may hold, by its JSON schema."""
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return ", ".join(found for part in schema["anyOf"] if (found := _values(part)))
    if schema.get("type") in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        start = "above" if "exclusiveMinimum" in schema else "from"
        end = "below" if "exclusiveMaximum" in schema else "to"
        return f"{start} {low}" + (f" {end} {high}" if high is not None else "")
    if schema.get("type") == "array":
        return f"a list of: {_values(schema['items'])}"
    return ""


def rows() -> Iterator[str]:
    """Write a row for each setting, the nested ones of the temperature beside the others."""
    config = METHODS[KIND]
    schema = config.model_json_schema()
    parts = schema["$defs"]
    named = [(name, field) for name, field in schema["properties"].items() if name != "kind"]
    plain = config(kind=KIND)
    default = {
        **plain.model_dump(mode="json"),
        "learning_rates": plain.default_rates.model_dump(mode="json"),
    }
    for name, field in named:
        inner = parts.get(field.get("$ref", "").rpartition("/")[2])
        if inner is None:
            yield _row(name, field, default[name])
            continue
        for part, each in inner["properties"].items():
            yield _row(f"{name}.{part}", each, default[name][part])


def _row(name: str, schema: dict[str, Any], default: object) -> str:
    shown = "" if default is None else f"`{json.dumps(default).replace(chr(34), '')}`"
    return f"| `{name}` | {_values(schema)} | {shown} | {schema['description']} |"


def table() -> str:
    """Return the table as Markdown."""
    return "\n".join([HEAD, "| --- | --- | --- | --- |", *rows()])


def main() -> None:
    """Put the table into the README in place of the one that stands there."""
    text = README.read_text(encoding="utf-8")
    start = text.index(HEAD)
    end = text.index("\n\n", start)
    README.write_text(text[:start] + table() + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
