"""Reading recipes: from mappings, YAML text, files and the shipped folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from core.errors import ConfigError, RecipeErrors
from core.recipe import Recipe
from core.recipe_problems import problems_of

RECIPES_FOLDER = Path(__file__).parent / "recipes"


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
        raise RecipeErrors(problems_of(error)) from error


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
