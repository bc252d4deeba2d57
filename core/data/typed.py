"""From what a person types to the rows that a backbone reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import Formatter

from core.data.examples import Segments
from core.data.render import render
from core.errors import InputError
from core.tasks import TaskSpec
from core.texts import check_texts

START, END = "\ue000", "\ue001"
"""Characters of Unicode's private use area, which no text uses."""

Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TypedInput:
    """A typed input.

    Attributes:
        rows: What the backbone reads: one row, or one a choice.
        filled: Of each row's segments the parts that came from fields: first character and the one
            after the last. The rest are words of the template.
    """

    rows: tuple[Segments, ...]
    filled: tuple[tuple[Places, ...], ...]

    def is_typed(self, row: int, segment: int, start: int, end: int) -> bool:
        """Tell whether a part of a row came from what was typed.

        Args:
            row: Index of the row.
            segment: Index of its segment; -1 for what stands in none.
            start: First character.
            end: The character after the last.
        """
        return segment >= 0 and any(
            start < last and end > first for first, last in self.filled[row][segment]
        )


def why_not_typed(spec: TaskSpec) -> str:
    """Say why nobody can type an input of a task; empty where one can."""
    if spec.typed_fields:
        return ""
    return f"An input of {spec.title} cannot be typed: its choices come marked in the data's files."


def typed_input(spec: TaskSpec, texts: Sequence[str], template: str = "") -> TypedInput:
    """Make the rows of one typed input exactly as training made those of its examples.

    Args:
        spec: The task.
        texts: Typed texts in the order of ``spec.typed_fields``.
        template: Name of a template; empty: the task's default.

    Raises:
        InputError: If the task cannot be typed, a text is missing, empty or much too long, or the
            texts do not fit together (a word that is not in its sentence).
    """
    names = spec.typed_fields
    if not names:
        raise InputError(why_not_typed(spec))
    check_texts(texts, names)
    fields = dict(zip(names, texts, strict=True))
    try:
        rows = render(spec, fields, template)
    except ValueError as error:
        raise InputError(f"{spec.title}: {error}.", hint="Change what was typed.") from error
    except KeyError as error:
        raise InputError(
            f"{spec.title}: the template's {error.args[0]} cannot be made from these texts.",
            hint="Does each sentence hold the word?",
        ) from error
    segments = tuple(map(_marking, spec.segments(template)))
    marked = render(replace(spec, templates={"marked": segments}), fields, "marked")
    return TypedInput(rows, tuple(tuple(map(_filled, row)) for row in marked))


def plain_input(names: Sequence[str], texts: Sequence[str]) -> TypedInput:
    """Make the row of a typed input of one's own data: the bare texts, whatever their columns.

    Args:
        names: Columns of the texts.
        texts: Typed texts in their order.

    Raises:
        InputError: If a text is missing, empty or much too long.
    """
    check_texts(texts, names)
    return TypedInput((tuple(texts),), (tuple(((0, len(text)),) for text in texts),))


def _marking(segment: str) -> str:
    """Set marks round every field of a format string."""
    return "".join(
        literal.replace("{", "{{").replace("}", "}}")
        + ("" if name is None else f"{START}{{{name}}}{END}")
        for literal, name, _spec, _conversion in Formatter().parse(segment)
    )


def _filled(marked: str) -> Places:
    """Find what stands between marks, as places in the text without them."""
    places: list[tuple[int, int]] = []
    length = 0
    for number, part in enumerate(marked.replace(END, START).split(START)):
        if number % 2:
            places.append((length, length + len(part)))
        length += len(part)
    return tuple(places)
