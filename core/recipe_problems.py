"""What is wrong with a recipe, in the words of its own fields."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from core.errors import ConfigError
from core.methods import ALIASES, METHODS
from core.recipe import Recipe
from core.recipe_checks import PROBLEM
from core.regimes import REGIMES

NEAR = 0.7
LONGEST = 300
SAID_IN_FULL = ("value_error", PROBLEM)
"""Types of problems whose text comes from the studio itself."""

PLAIN = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "string_type": "must be text",
}
"""Words for the problems of single values, by type; the others are told as the library does."""

EXAMPLES = {
    "backbones": "minilm or {name: minilm}",
    "learning_rates": "{prompt: 0.03, head: 0.01}",
    "methods": "prompt_tuning or {kind: prompt_tuning, num_virtual_tokens: 20}",
    "regimes": "full_data or {kind: few_shot, k: 16}",
    "seeds": "{data: [0], init: [0, 1]}",
    "tasks": "desk or {name: desk}",
    "temperature": "{start: 1.0, end: 0.5}",
    "training": "{max_updates: 200, batch_size: 16}",
    "tuning": "{protocol: tuned, trials: 4}",
}
"""Right forms of what is written as keys with values, by the field that it is or stands in."""


def problems_of(error: ValidationError) -> list[ConfigError]:
    """Translate all problems; a list is not also called too short when its entries are wrong."""
    items = error.errors()
    places = [item["loc"] for item in items]

    def has_wrong_entry(place: tuple[int | str, ...]) -> bool:
        return any(len(other) > len(place) and other[: len(place)] == place for other in places)

    return [
        _problem(item)
        for item in items
        if not (item["type"] == "too_short" and has_wrong_entry(item["loc"]))
    ]


def _problem(error: Any) -> ConfigError:
    place = [part for part in error["loc"] if part not in METHODS and part not in REGIMES]
    field = ".".join(str(part) for part in place)
    return ConfigError(_message(error), field=field)


def _message(error: Any) -> str:
    kind, place, context = error["type"], error["loc"], error.get("ctx", {})
    if kind in SAID_IN_FULL:
        return re.sub(r"^(Value error|Assertion failed), ", "", str(error["msg"]))
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _unknown_kind(place, context.get("tag"))
    if kind == "missing":
        described = _model_at(place[:-1]).model_fields[str(place[-1])].description or ""
        about = f" ({described[:1].lower()}{described[1:].rstrip('.')})" if described else ""
        return f"is missing and must be given{about}"
    if kind == "tuple_type":
        return "must be a list; write it as [entry, entry] or one entry a line after '- '"
    if kind == "too_short":
        return "at least one entry is needed"
    message = PLAIN.get(kind, "").format(**context) or _choices(kind, context) or str(error["msg"])
    if kind in ("model_type", "model_attributes_type"):
        message = _right_form(place)
    message = message.replace("Input should be", "must be")
    return f"{message}, got {error['input']!r}"[:LONGEST]


def _choices(kind: str, context: Mapping[str, Any]) -> str:
    return f"must be {context['expected']}".replace("'", "") if kind == "literal_error" else ""


def _right_form(place: Sequence[int | str]) -> str:
    names = [str(part) for part in place if part in EXAMPLES]
    example = f", such as {EXAMPLES[names[-1]]}" if names else ""
    return f"must be written as keys with values{example}"


def _near(word: str, known: Sequence[str]) -> str:
    """Name the known word that is meant; empty where none is near."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=NEAR)), "")


def _unknown_kind(place: Sequence[int | str], tag: object) -> str:
    known = REGIMES if "regimes" in place or "regime" in place else METHODS
    names = sorted([*known, *(ALIASES if known is METHODS else ())])
    if tag is None:
        return f"names no kind; write kind: and one of {', '.join(names)}"
    near = _near(str(tag), names)
    meant = f"did you mean {near}? " if near else ""
    return f"unknown kind '{tag}'; {meant}known: {', '.join(names)}"


def _unknown_key(place: Sequence[int | str]) -> str:
    """Name the known key that is meant, or all of them where none is near."""
    known = list(_model_at(place[:-1]).model_fields)
    if near := _near(str(place[-1]), known):
        return f"unknown key; did you mean {near}?"
    return f"unknown key; known: {', '.join(known)}"


def _model_at(place: Sequence[int | str]) -> type[BaseModel]:
    """Find the part of a recipe at a place."""
    model: type[BaseModel] = Recipe
    for part in place:
        field = model.model_fields.get(str(part))
        if part in METHODS:
            model = METHODS[str(part)]
        elif part in REGIMES:
            model = REGIMES[str(part)]
        elif field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
