"""From an example's fields to the rows that a backbone reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.data.examples import Segments
from core.tasks import TaskSpec


def choices_of(spec: TaskSpec, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of an example's choices; none where classes are predicted."""
    if spec.kind == "classes":
        return ()
    if spec.choice_fields:
        return tuple(str(fields[name]) for name in spec.choice_fields)
    return tuple(str(choice) for choice in fields["choices"])


def render(spec: TaskSpec, fields: Mapping[str, Any], template: str = "") -> tuple[Segments, ...]:
    """Make the rows of one example: one, or one a choice.

    Args:
        spec: The task.
        fields: Fields of one example after ``flatten``, or as a person typed them.
        template: Name of a template; empty: the task's default.

    Raises:
        KeyError: If a field that the template needs is missing, or there is no such template.
        ValueError: If the fields do not fit together.
    """
    segments = spec.segments(template)
    rows: list[Mapping[str, Any]] = [
        {**fields, "choice": choice} for choice in choices_of(spec, fields)
    ]
    made: list[Segments] = []
    for row in rows or [fields]:
        known = spec.derive(row)
        made.append(tuple(segment.format_map(known) for segment in segments))
    return tuple(made)
