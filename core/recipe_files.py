"""Reading recipes: from mappings, YAML text, files and the shipped folder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from core.errors import ConfigError, RecipeErrors
from core.methods import ALIASES, METHODS
from core.recipe import Recipe
from core.recipe_checks import PROBLEM
from core.regimes import REGIMES

RECIPES_FOLDER = Path(__file__).parent / "recipes"
NEAR = 0.7


def _unknown_key(place: Sequence[int | str]) -> str:
    """Name the known key that is meant, or all of them where none is near."""
    known = _known_keys(place[:-1])
    near = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=NEAR)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known: {', '.join(known)}"


def _known_keys(place: Sequence[int | str]) -> list[str]:
    """Keys of the part of a recipe at a place."""
    model: type[BaseModel] = Recipe
    for part in place:
        field = model.model_fields.get(str(part))
        if part in METHODS:
            model = METHODS[str(part)]
        elif part in REGIMES:
            model = REGIMES[str(part)]
        elif field is not None:
            model = next(_models_in(field.annotation), model)
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _problem(error: Any) -> ConfigError:
    place = [part for part in error["loc"] if part not in METHODS and part not in REGIMES]
    field = ".".join(str(part) for part in place)
    message = re.sub(r"^(Value error|Assertion failed), ", "", str(error["msg"]))
    if error["type"] == "extra_forbidden":
        message = _unknown_key(error["loc"])
    elif error["type"] == "union_tag_invalid":
        known = METHODS if "methods" in error["loc"] or "method" in error["loc"] else REGIMES
        names = sorted([*known, *(ALIASES if known is METHODS else ())])
        message = f"unknown kind '{error['ctx']['tag']}'; known: {', '.join(names)}"
    elif error["type"] == "tuple_type":
        message = "must be a list; write it as [entry, entry] or one entry a line after '- '"
    elif error["type"] == "too_short":
        message = "at least one entry is needed"
    elif "input" in error and error["type"] not in ("missing", "value_error", PROBLEM):
        message = f"{message}, got {error['input']!r}"[:300]
    return ConfigError(message, field=field)


def _problems(error: ValidationError) -> list[ConfigError]:
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


def parse_recipe(content: object) -> Recipe:
    """Check a recipe given as a mapping.

    Raises:
        RecipeErrors: With every problem at once, each with its field.
    """
    if not isinstance(content, Mapping):
        raise RecipeErrors([ConfigError("a recipe is a mapping of keys to values")])
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeErrors(_problems(error)) from error


def read_yaml(text: str) -> object:
    """Read YAML or JSON text.

    Raises:
        RecipeErrors: With line and column of what is wrong.
    """
    try:
        return yaml.safe_load(text)
    except (ValueError, RecursionError) as error:
        raise RecipeErrors([ConfigError(f"not a readable recipe: {error}")]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        detail = getattr(error, "problem", None) or str(error)
        raise RecipeErrors([ConfigError(f"{place}not valid YAML: {detail}")]) from error


def parse_recipe_text(text: str) -> Recipe:
    """Check a recipe given as YAML or JSON text; see ``parse_recipe``."""
    return parse_recipe(read_yaml(text))


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the studio, by name."""
    return {path.stem: path for path in sorted(RECIPES_FOLDER.glob("*.yaml"))}


def load_recipe(reference: str) -> Recipe:
    """Load a shipped recipe by name, or a YAML file by path.

    Raises:
        RecipeErrors: If there is none, or it has problems.
    """
    shipped = shipped_recipes()
    path = shipped.get(reference, Path(reference))
    if not path.is_file():
        known = ", ".join(shipped) or "none"
        raise RecipeErrors(
            [ConfigError(f"no recipe '{reference}': neither a file nor shipped ({known})")]
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeErrors([ConfigError(f"{path} is not UTF-8 text")]) from error
    except OSError as error:
        raise RecipeErrors([ConfigError(f"{path} cannot be read: {error.strerror}")]) from error
    return parse_recipe_text(text)
