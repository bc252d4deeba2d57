"""From a recipe to the values of the form, where the form can show all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from app.form_values import method_entry, recipe_from_values
from app.forms import FORM_DEFAULTS, Values, default_values, last_part, method_choices
from core.backbones.spec import BACKBONES
from core.errors import RecipeErrors
from core.methods import ALIASES, METHODS, MethodConfig
from core.recipe import Recipe


def values_from_recipe(recipe: Recipe, tasks: Sequence[str]) -> Values | None:
    """Fill the form from a recipe; None when the form cannot show all of it.

    Args:
        recipe: Any valid recipe.
        tasks: Names of the tasks that the form offers.
    """
    values = default_values(tasks)
    values |= dict.fromkeys(FORM_DEFAULTS)
    values |= _flat(recipe.training.model_dump(mode="json"), "training.")
    values |= _flat(recipe.tuning.model_dump(mode="json"), "tuning.")
    values |= {
        "name": recipe.name,
        "question": recipe.question,
        "selection": recipe.selection,
        "init_from": recipe.init_from,
        "seeds.data": ", ".join(map(str, recipe.seeds.data)),
        "seeds.init": ", ".join(map(str, recipe.seeds.init)),
    }
    _show_tasks(recipe, tasks, values)
    _show_backbones(recipe, values)
    _show_regimes(recipe, values)
    _show_methods(recipe, values)
    try:
        again = recipe_from_values(values)
    except RecipeErrors:
        return None
    return values if _same(again, recipe) else None


def _same(one: Recipe, other: Recipe) -> bool:
    def content(recipe: Recipe) -> set[str]:
        return {config.canonical_json() for config in recipe.runs()}

    rest = one.tuning == other.tuning and one.init_from == other.init_from
    return rest and content(one) == content(other)


def _flat(content: Mapping[str, Any], prefix: str) -> Values:
    found: Values = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _show_tasks(recipe: Recipe, tasks: Sequence[str], values: Values) -> None:
    known = [task for task in recipe.tasks if not task.folder]
    named = [f"{task.name}@{task.dataset}" if task.dataset else task.name for task in known]
    values["tasks"] = [name for name in named if name in tasks]
    values["template"] = next((task.template for task in known if task.template), "")
    values["diagnostics"] = any(task.diagnostics for task in known)
    for task in [task for task in recipe.tasks if task.folder][:1]:
        values["own.text_fields"] = ", ".join(task.text_fields)
        for path, value in _flat(task.model_dump(mode="json"), "own.").items():
            if path in values and path != "own.text_fields":
                values[path] = value


def _show_backbones(recipe: Recipe, values: Values) -> None:
    values["backbones"] = [choice.name for choice in recipe.backbones if choice.name in BACKBONES]
    for choice in recipe.backbones:
        shown = choice.model_dump(mode="json", exclude={"name"})
        if not choice.name:
            values |= _flat(shown, "backbone.")
        elif choice.pooling:
            values["backbone.pooling"] = choice.pooling
        values["backbone.read_out"] = choice.read_out


def _show_regimes(recipe: Recipe, values: Values) -> None:
    values["regimes"] = list(dict.fromkeys(regime.kind for regime in recipe.regimes))
    for regime in reversed(recipe.regimes):
        shown = _flat(regime.model_dump(mode="json", exclude={"kind"}), f"{regime.kind}.")
        values |= {path: value for path, value in shown.items() if path in values}
    shots = [str(r.model_dump()["k"]) for r in recipe.regimes if r.kind == "few_shot"]
    values["few_shot.k"] = ", ".join(shots) or default_values()["few_shot.k"]


def _show_methods(recipe: Recipe, values: Values) -> None:
    """Show each method by its name; one whose settings the form cannot hold goes to the text."""
    entries = yaml.safe_load(recipe.to_yaml())["methods"]
    offered = {value for _, value in method_choices()}
    further: list[Any] = []
    filled: set[str] = set()
    tokens: int | None = None
    values["methods"] = []
    for method, entry in zip(recipe.methods, entries, strict=True):
        name, trial = _form_name(method), values
        wanted = getattr(method, "num_virtual_tokens", None)
        if method.kind not in filled and tokens in (None, wanted):
            trial = values | _method_values(method, values)
        if name in offered and _reads_as(method, name, trial):
            values |= trial
            values["methods"].append(name)
            filled.add(method.kind)
            tokens = wanted if tokens is None else tokens
        else:
            further.append(entry)
    if further:
        values["methods.more"] = yaml.safe_dump(
            further, sort_keys=False, allow_unicode=True, default_flow_style=None
        )


def _method_values(method: MethodConfig, values: Mapping[str, Any]) -> Values:
    shown = method.model_dump(mode="json")
    found: Values = {}
    if "num_virtual_tokens" in shown:
        found["num_virtual_tokens"] = shown["num_virtual_tokens"]
    rates = method.default_rates.model_dump()
    for path, value in _flat(shown, f"method.{method.kind}.").items():
        if path in values:
            is_default = "learning_rates" in path and rates.get(last_part(path)) == value
            found[path] = None if is_default else value
    return found


def _reads_as(method: MethodConfig, name: str, values: Mapping[str, Any]) -> bool:
    """Tell whether the form's values give exactly this method."""
    try:
        read = METHODS[method.kind].model_validate(method_entry(name, values))
    except ValidationError:
        return False
    return read.resolved() == method.resolved()


def _form_name(method: MethodConfig) -> str:
    shown = method.model_dump(mode="json")
    for alias, axes in ALIASES.items():
        if all(shown.get(name) == value for name, value in axes.items()):
            return alias
    return method.kind
