"""What sets runs of one method apart whose settings differ, in words for a row of the table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

MOST_NAMED = 3
LONGEST_VALUE = 24
SEEDS = ("seeds", "schema_version")
RATES = ("method", "learning_rates")


class Settings(NamedTuple):
    """Settings that runs of a method had in one column.

    Attributes:
        label: Label of the method.
        column: Task, backbone and regime: settings are compared within it.
        digest: Names the settings, seeds left out.
        config: A run's config as it is stored.
    """

    label: str
    column: Hashable
    digest: str
    config: Mapping[str, Any]


def clashing(found: Iterable[tuple[str, Hashable, str]]) -> set[str]:
    """Return the labels that stand for several settings in one column.

    Args:
        found: Label, column and digest of each run.
    """
    digests: dict[tuple[str, Hashable], set[str]] = defaultdict(set)
    for label, column, digest in found:
        digests[label, column].add(digest)
    return {label for (label, _), several in digests.items() if len(several) > 1}


def tell_apart(every: Iterable[Settings]) -> dict[tuple[str, str], str]:
    """Say of each label's settings what others of the label have otherwise.

    A field is named when it differs within a column; then it is named in every column, so that
    equal settings share a row.

    Returns:
        Words such as ``max_updates 40`` by label and digest; empty where no field differs.
    """
    by_label: dict[str, list[tuple[Settings, dict[tuple[str, ...], Any]]]] = defaultdict(list)
    for settings in every:
        by_label[settings.label].append((settings, _flat(settings.config)))
    told = {}
    for label, members in by_label.items():
        fields = _differing(members)
        for settings, flat in members:
            told[label, settings.digest] = _words(flat, fields)
    return told


def _differing(
    members: list[tuple[Settings, dict[tuple[str, ...], Any]]],
) -> list[tuple[str, ...]]:
    columns: dict[Hashable, list[dict[tuple[str, ...], Any]]] = defaultdict(list)
    for settings, flat in members:
        columns[settings.column].append(flat)
    found: dict[tuple[str, ...], None] = {}
    for flats in columns.values():
        for path in dict.fromkeys(path for flat in flats for path in flat):
            # A config of an older version lacks fields that came later: nothing is known of them.
            values = [flat[path] for flat in flats if path in flat]
            if any(value != values[0] for value in values):
                found[path] = None
    return list(found)


def _words(flat: Mapping[tuple[str, ...], Any], fields: list[tuple[str, ...]]) -> str:
    named = [_word(path, flat[path]) for path in fields if path in flat]
    more = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _word(path: tuple[str, ...], value: object) -> str:
    if path[:2] == RATES:
        name = f"{path[-1]} rate"
    elif path[0] == "method" and len(path) > 2:
        name = f"{path[-2]} {path[-1]}"
    else:
        name = path[-1] if path[-1] not in ("name", "kind", "folder") else path[-2]
    if value is None or value == "":
        return f"{name} unset"
    if isinstance(value, float):
        return f"{name} {value:g}"
    text = value if isinstance(value, str) else json.dumps(value)
    # Paths differ at their end.
    return f"{name} {text if len(text) <= LONGEST_VALUE else '…' + text[1 - LONGEST_VALUE :]}"


def _flat(config: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Put nested fields beside each other under their paths; seeds are no settings."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in config.items():
        if not path and name in SEEDS:
            continue
        if isinstance(value, Mapping) and value:
            found |= _flat(value, (*path, name))
        else:
            found[*path, name] = value
    return found
