"""Strict reading of JSONL files: every problem named with its line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.data.examples import Example, normalised
from core.errors import DataError
from core.tasks import TaskSpec

LONGEST_TEXT = 100_000
MOST_LABELS = 256


class Row(NamedTuple):
    """One JSON object and where it stands.

    Attributes:
        line: Number of the line in its file, from 1.
        fields: The object.
    """

    line: int
    fields: Mapping[str, Any]


def file_digest(path: Path) -> str:
    """Sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_rows(path: Path) -> list[Row]:
    """Read one JSON object a line; lines end at the newline character only.

    Raises:
        DataError: Naming file and line of what is not UTF-8, not JSON or not an object.
    """
    rows: list[Row] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path.name}, line {number}: not valid UTF-8 at byte {error.start + 1}.",
                hint="Save the file as UTF-8.",
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path.name}, line {number}: not valid JSON ({error}).",
                hint="Each line must be one JSON object.",
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path.name}, line {number}: not a JSON object.")
        rows.append(Row(number, row))
    if not rows:
        raise DataError(f"{path.name} holds no examples.", hint="Check the file.")
    return rows


def raw_label(value: object) -> str:
    """Text of a label: JSON booleans as true and false, numbers as digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def labels_of(rows: Sequence[Row], spec: TaskSpec, path: Path) -> tuple[str, ...]:
    """Classes of a task: the declared ones, else those that occur in train, sorted.

    Raises:
        DataError: If there is only one class or far too many.
    """
    if spec.labels:
        return spec.labels
    field = spec.label_field
    found = {raw_label(row.fields[field]) for row in rows if row.fields.get(field) is not None}
    if len(found) < 2:
        what = f"only label '{next(iter(found))}'" if found else "no label"
        raise DataError(
            f"{path.name}: {what} in field '{spec.label_field}'; a task needs at least two.",
            hint="Name the right field with label_field.",
        )
    if len(found) > MOST_LABELS:
        raise DataError(
            f"{path.name}: {len(found)} different labels in field '{spec.label_field}', at most "
            f"{MOST_LABELS} are allowed.",
            hint="Is this the label field?",
        )
    return tuple(sorted(found))


def _field(row: Row, name: str, place: str) -> object:
    if name not in row.fields:
        raise DataError(
            f"{place}: no field '{name}'; the line has {', '.join(sorted(row.fields)) or 'none'}."
        )
    value = row.fields[name]
    if value is None or isinstance(value, (list, dict)):
        raise DataError(
            f"{place}: field '{name}' is {json.dumps(value)[:60]}, neither text nor number."
        )
    return value


def to_examples(
    rows: Sequence[Row], spec: TaskSpec, labels: Sequence[str], path: Path
) -> tuple[Example, ...]:
    """Turn rows into examples.

    Raises:
        DataError: Naming the line of a missing field, an empty or overlong text, an unknown label.
    """
    index = {label: number for number, label in enumerate(labels)}
    examples: list[Example] = []
    for row in rows:
        place = f"{path.name}, line {row.line}"
        texts = {name: str(_field(row, name, place)) for name in spec.text_fields}
        for name, text in texts.items():
            if not text.strip():
                raise DataError(f"{place}: field '{name}' is empty.")
            if len(text) > LONGEST_TEXT:
                raise DataError(
                    f"{place}: field '{name}' has {len(text):,} characters, at most "
                    f"{LONGEST_TEXT:,} are allowed."
                )
        raw = raw_label(_field(row, spec.label_field, place))
        label = spec.label_map.get(raw, raw)
        if label not in index:
            raise DataError(
                f"{place}: label '{raw}' is none of {', '.join(labels)}.",
                hint="Does the file belong to this task?",
            )
        segments = tuple(template.format_map(texts) for template in spec.segments)
        group = str(_field(row, spec.group_field, place)) if spec.group_field else ""
        key = normalised(group or "\x1f".join(texts.values()))
        examples.append(Example(segments, index[label], key))
    return tuple(examples)
