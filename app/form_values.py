"""Between the values of the form and a recipe, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.forms import FORM_DEFAULTS, Values, default_values, last_part
from core.backbones.spec import BACKBONES
from core.errors import ConfigError, RecipeErrors
from core.methods import ALIASES, METHODS, MethodConfig
from core.recipe import Recipe
from core.recipe_files import parse_recipe


def recipe_from_values(values: Mapping[str, Any]) -> Recipe:
    """Read the form as a recipe.

    Raises:
        RecipeErrors: With every problem, each with its field.
    """
    problems: list[ConfigError] = []
    methods = [_method_entry(name, values) for name in values.get("methods") or ()]
    content: dict[str, Any] = {
        "name": (values.get("name") or "").strip() or _auto_name(values),
        "question": values.get("question") or "",
        "tasks": [*(values.get("tasks") or ()), *_own_task(values, problems)],
        "methods": methods,
        "backbones": _backbones(values),
        "regimes": _regimes(values, problems),
        "seeds": {
            "data": _integers(values, "seeds.data", problems),
            "init": _integers(values, "seeds.init", problems),
        },
        "training": _section(values, "training."),
        "tuning": _section(values, "tuning."),
        "selection": values.get("selection") or "dev",
    }
    try:
        recipe = parse_recipe(content)
    except RecipeErrors as error:
        told = {problem.field for problem in problems}
        # An unreadable k leaves no regime, which is no second mistake; the same with tasks.
        told |= {"regimes"} if "few_shot.k" in told else set()
        told |= {"tasks"} if "own.name" in told else set()
        more = [problem for problem in error.problems if problem.field not in told]
        raise RecipeErrors([*problems, *more]) from error
    if problems:
        raise RecipeErrors(problems)
    return recipe


def _auto_name(values: Mapping[str, Any]) -> str:
    tasks = [
        *(values.get("tasks") or ()),
        *([values["own.name"]] if values.get("own.name") else ()),
    ]
    methods = list(values.get("methods") or ())
    shown = " and ".join(methods) if len(methods) <= 2 else f"{len(methods)} methods"
    return f"{shown or 'Methods'} on {', '.join(tasks) or 'a task'}"[:120]


def _section(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Collect filled values below a prefix; an empty one leaves the model's default."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        if not path.startswith(prefix) or value is None or value == "":
            continue
        place = found
        *parents, name = path.removeprefix(prefix).split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _method_entry(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    axes = dict(ALIASES.get(name, {"kind": name}))
    kind = str(axes["kind"])
    entry = {**axes, **_section(values, f"method.{kind}.")}
    config = METHODS.get(kind)
    if config is not None and "num_virtual_tokens" in config.model_fields:
        tokens = values.get("num_virtual_tokens")
        entry["num_virtual_tokens"] = _plain(tokens) if tokens is not None else 10
    return entry


def _own_task(values: Mapping[str, Any], problems: list[ConfigError]) -> list[dict[str, Any]]:
    own = _section(values, "own.")
    if not own.get("name") and not own.get("folder"):
        return []
    if not own.get("name"):
        problems.append(ConfigError("the folder's task needs a name for tables", field="own.name"))
        return []
    texts = str(own.pop("text_fields", ""))
    own["text_fields"] = [part.strip() for part in texts.split(",") if part.strip()]
    return [own]


def _backbones(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    own = _section(values, "backbone.")
    pooling = {"pooling": own.pop("pooling")} if own.get("pooling") else {}
    found = [{"name": name, **pooling} for name in values.get("backbones") or ()]
    return [*found, {**own, **pooling}] if own else found


def _regimes(values: Mapping[str, Any], problems: list[ConfigError]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in values.get("regimes") or ():
        if kind == "few_shot":
            found += [{"kind": kind, "k": k} for k in _shots(values, problems)]
        elif kind == "full_data" and values.get("full_data.max_train") not in (None, ""):
            found.append({"kind": kind, "max_train": _plain(values["full_data.max_train"])})
        else:
            found.append({"kind": kind})
    return found


def _shots(values: Mapping[str, Any], problems: list[ConfigError]) -> list[int]:
    """Read the examples of each label; none at all is a problem of its own."""
    path, advice = "few_shot.k", "write 8 or 8, 16, 32"
    before = len(problems)
    found = _integers(values, path, problems, advice)
    if not found and len(problems) == before:
        problems.append(ConfigError(f"no number is given; {advice}", field=path))
    return found


def _integers(
    values: Mapping[str, Any],
    path: str,
    problems: list[ConfigError],
    advice: str = "write 0, 1, 2 or 0-4",
) -> list[int]:
    """Read ``0, 1, 2`` or ``0-4`` as whole numbers."""
    text = str(values.get(path) or "")
    found: list[int] = []
    for part in text.replace(";", ",").split(","):
        piece = part.strip()
        low, dash, high = piece.partition("-")
        if piece.isdecimal():
            found.append(int(piece))
        elif dash and low.strip().isdecimal() and high.strip().isdecimal():
            found += range(int(low), min(int(high), int(low) + 100) + 1)
        elif piece:
            problems.append(ConfigError(f"'{piece}' is not a whole number; {advice}", field=path))
    return list(dict.fromkeys(found))


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

    return content(one) == content(other) and one.tuning == other.tuning


def _flat(content: Mapping[str, Any], prefix: str) -> Values:
    found: Values = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _show_tasks(recipe: Recipe, tasks: Sequence[str], values: Values) -> None:
    values["tasks"] = [task.name for task in recipe.tasks if task.name in tasks and not task.folder]
    own = [task for task in recipe.tasks if task.folder]
    for task in own[:1]:
        values |= _flat(task.model_dump(mode="json", exclude={"text_fields"}), "own.")
        values["own.text_fields"] = ", ".join(task.text_fields)
    values.pop("own.data_version", None)


def _show_backbones(recipe: Recipe, values: Values) -> None:
    values["backbones"] = [choice.name for choice in recipe.backbones if choice.name in BACKBONES]
    for choice in recipe.backbones:
        shown = choice.model_dump(mode="json", exclude={"name"})
        if not choice.name:
            values |= _flat(shown, "backbone.")
        elif choice.pooling:
            values["backbone.pooling"] = choice.pooling


def _show_regimes(recipe: Recipe, values: Values) -> None:
    values["regimes"] = list(dict.fromkeys(regime.kind for regime in recipe.regimes))
    few_shot = [regime for regime in recipe.regimes if regime.kind == "few_shot"]
    shots = [str(regime.model_dump()["k"]) for regime in few_shot]
    values["few_shot.k"] = ", ".join(shots) or values["few_shot.k"]
    for regime in recipe.regimes:
        if regime.kind == "full_data":
            values["full_data.max_train"] = regime.model_dump()["max_train"]


def _show_methods(recipe: Recipe, values: Values) -> None:
    values["methods"] = [_form_name(method) for method in recipe.methods]
    for method in recipe.methods:
        shown = method.model_dump(mode="json")
        if "num_virtual_tokens" in shown:
            values["num_virtual_tokens"] = shown["num_virtual_tokens"]
        rates = method.default_rates.model_dump()
        for path, value in _flat(shown, f"method.{method.kind}.").items():
            if path in values:
                is_default = "learning_rates" in path and rates.get(last_part(path)) == value
                values[path] = None if is_default else value


def _form_name(method: MethodConfig) -> str:
    shown = method.model_dump(mode="json")
    for alias, axes in ALIASES.items():
        if all(shown.get(name) == value for name, value in axes.items()):
            return alias
    return method.kind


def form_path(field: str, recipe_values: Mapping[str, Any]) -> str:
    """Find the form's control for a field that an error names; "" when there is none.

    Args:
        field: Dotted field of the recipe, for example ``methods.1.cut``.
        recipe_values: Values of the form.
    """
    part, _, rest = field.partition(".")
    number, _, name = rest.partition(".")
    if part == "methods":
        chosen = list(recipe_values.get("methods") or ())
        place = int(number) if number.isdecimal() else len(chosen)
        if place >= len(chosen) or not name:
            return "methods"
        kind = str(ALIASES.get(chosen[place], {"kind": chosen[place]})["kind"])
        return name if name == "num_virtual_tokens" else f"method.{kind}.{name}"
    if part == "tasks":
        chosen = list(recipe_values.get("tasks") or ())
        is_own = number.isdecimal() and int(number) >= len(chosen)
        return f"own.{name or 'folder'}" if is_own else "tasks"
    if part == "backbones":
        chosen = list(recipe_values.get("backbones") or ())
        is_own = number.isdecimal() and int(number) >= len(chosen)
        return f"backbone.{name or 'path'}" if is_own else "backbones"
    if part == "regimes":
        return {"k": "few_shot.k", "max_train": "full_data.max_train"}.get(name, "regimes")
    if field == "training":  # both lengths given
        return "training.epochs"
    if part == "seeds":
        return ".".join(field.split(".")[:2])
    return field
