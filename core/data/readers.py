"""Strict reading of JSONL files: every problem named with its line."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.data.examples import Example, normalised
from core.data.render import choices_of, render
from core.errors import DataError
from core.tasks import TASKS, TaskSpec

LONGEST_TEXT = 100_000
LONGEST_LINE = 8 * 2**20
MOST_LABELS = 256
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UNKNOWN = -1


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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large a number")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field '{next(n for n in names if names.count(n) > 1)}' stands twice")
    return found


def _parse(line: bytes, place: str) -> dict[str, Any]:
    if line.startswith(BYTE_ORDER_MARK):
        raise DataError(
            f"{place}: begins with a byte order mark.", hint="Save the file as UTF-8 without BOM."
        )
    try:
        row = json.loads(
            line.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_without_repeats,
        )
        if b"\\u" in line:
            # Half a surrogate pair is JSON, but no text that could be stored or tokenised.
            json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: not valid UTF-8 at byte {error.start + 1}.", hint="Save the file as UTF-8."
        ) from error
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: holds half of a surrogate pair, which is no text.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place}: not valid JSON ({error}).", hint="Each line must be one JSON object."
        ) from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: not a JSON object.", hint="Each line must be one JSON object.")
    return row


def iterate_rows(path: Path) -> Iterator[Row]:
    """Read one JSON object a line; lines end at the newline character only.

    Raises:
        DataError: Naming file and line of what is too long, not UTF-8, not JSON or not an object.
    """
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            place = f"{path.name}, line {number}"
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{place}: longer than {LONGEST_LINE // 2**20} MiB.",
                    hint="Each line must be one JSON object, one example.",
                )
            if line.strip():
                yield Row(number, _parse(line, place))


def read_rows(path: Path) -> list[Row]:
    """Read all lines of a file, at least one; raises as ``iterate_rows`` does."""
    rows = list(iterate_rows(path))
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
    if spec.labels or spec.kind == "choices":
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


def _field(fields: Mapping[str, Any], name: str) -> object:
    if name not in fields:
        raise ValueError(f"no field '{name}'; the line has {', '.join(sorted(fields)) or 'none'}")
    value = fields[name]
    if value is None or isinstance(value, (list, dict)):
        raise ValueError(f"field '{name}' is {json.dumps(value)[:60]}, neither text nor number")
    return value


def _check_text(name: str, text: str) -> None:
    if not text.strip():
        raise ValueError(f"field '{name}' is empty")
    if len(text) > LONGEST_TEXT:
        raise ValueError(
            f"field '{name}' has {len(text):,} characters, at most {LONGEST_TEXT:,} are allowed"
        )


def _answer(
    fields: Mapping[str, Any], spec: TaskSpec, index: Mapping[str, int], *, hidden: bool
) -> tuple[int, tuple[int, ...]]:
    """Class index and right choices of an example; -1 and none where the label is hidden."""
    source = "right" if spec.kind == "choices" and not index else spec.label_field
    if hidden and fields.get(source) is None:
        return UNKNOWN, ()
    if source == "right":
        if "right" not in fields:
            raise ValueError("a query has no answers")
        return fields["right"][0], tuple(fields["right"])
    raw = raw_label(_field(fields, spec.label_field))
    label = index.get(spec.label_map.get(raw, raw))
    if label is None:
        raise ValueError(f"label '{raw}' is none of {', '.join(index)}")
    return label, (label,) if spec.kind == "choices" else ()


def _example(
    fields: Mapping[str, Any],
    spec: TaskSpec,
    index: Mapping[str, int],
    template: str,
    *,
    hidden: bool,
) -> Example:
    texts = {name: str(_field(fields, name)) for name in spec.text_fields}
    for name, text in texts.items():
        _check_text(name, text)
    label, right = _answer(fields, spec, index, hidden=hidden)
    group = str(_field(fields, spec.group_field)) if spec.group_field else ""
    question = str(_field(fields, spec.question_field)) if spec.question_field else ""
    number = fields.get("idx")
    return Example(
        rows=render(spec, {**fields, **texts}, template),
        label=label,
        group=normalised(group or "\x1f".join(texts.values())),
        right=right,
        choices=choices_of(spec, fields),
        question=question,
        id="" if number is None else canonical_id(number),
        typed=tuple(str(fields[name]) for name in spec.typed_fields),
    )


def canonical_id(number: object) -> str:
    """Write an official identifier as canonical JSON."""
    return json.dumps(number, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def to_examples(
    rows: Sequence[Row],
    spec: TaskSpec,
    labels: Sequence[str],
    path: Path,
    *,
    template: str = "",
    hidden: bool = False,
) -> tuple[Example, ...]:
    """Turn rows into examples.

    Args:
        rows: Lines of one file.
        spec: The task.
        labels: Its classes in index order.
        path: The file, for messages.
        template: Name of the template that makes the rows; empty: the default.
        hidden: Whether a label may be missing, as in the official test files.

    Raises:
        DataError: Naming the line of a missing field, an empty or overlong text, an unknown label,
            a span that is not where the file says, and the task that the line looks like.
    """
    index = {label: number for number, label in enumerate(labels)}
    examples: list[Example] = []
    for row in rows:
        try:
            examples += [
                _example(fields, spec, index, template, hidden=hidden)
                for fields in spec.flatten(row.fields)
            ]
        except ValueError as error:
            raise DataError(
                f"{path.name}, line {row.line}: {error}.", hint=_remedy(row.fields, spec)
            ) from error
    return tuple(examples)


def _fits(fields: Mapping[str, Any], spec: TaskSpec) -> bool:
    index = {label: number for number, label in enumerate(spec.labels)}
    try:
        for example in spec.flatten(fields):
            _example(example, spec, index, "", hidden=False)
    except ValueError:
        return False
    return True


def looks_like(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Titles of the official tasks that a line could belong to."""
    official = (spec for spec in TASKS.values() if spec.suite in ("superglue", "diagnostic"))
    return tuple(spec.title for spec in official if _fits(fields, spec))


def _remedy(fields: Mapping[str, Any], spec: TaskSpec) -> str:
    others = [title for title in looks_like(fields) if title != spec.title]
    if others:
        return (
            f"The line looks like one of {' or '.join(others)}: a file of another task in the "
            f"folder of {spec.title}?"
        )
    return "Does the file belong to this task?" if spec.suite != "own" else ""
