"""From the values of the form to a recipe; ``form_filling`` goes the other way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import ConfigError, RecipeErrors
from core.methods import ALIASES, METHODS
from core.recipe import Recipe
from core.recipe_files import parse_recipe, read_yaml
from core.tasks import TASKS


def recipe_from_values(values: Mapping[str, Any]) -> Recipe:
    """Read the form as a recipe.

    Raises:
        RecipeErrors: With every problem, each with its field.
    """
    problems: list[ConfigError] = []
    methods = [method_entry(name, values) for name in values.get("methods") or ()]
    content: dict[str, Any] = {
        "name": (values.get("name") or "").strip() or _auto_name(values),
        "question": values.get("question") or "",
        "tasks": [*_tasks(values), *_own_task(values, problems)],
        "methods": [*methods, *_further_methods(values, problems)],
        "backbones": _backbones(values),
        "regimes": _regimes(values, problems),
        "seeds": {
            "data": _integers(values, "seeds.data", problems),
            "init": _integers(values, "seeds.init", problems),
        },
        "training": _section(values, "training."),
        "tuning": _section(values, "tuning."),
        "selection": values.get("selection") or "dev",
        "init_from": (values.get("init_from") or "").strip(),
    }
    try:
        recipe = parse_recipe(content)
    except RecipeErrors as error:
        told = {problem.field for problem in problems}
        # An unreadable k leaves no regime, which is no second mistake; the same with tasks.
        told |= {"regimes"} if "few_shot.k" in told else set()
        told |= {"tasks"} if "own.name" in told else set()
        told |= {"methods"} if "methods.more" in told else set()
        more = [problem for problem in error.problems if problem.field not in told]
        raise RecipeErrors([*problems, *more]) from error
    if problems:
        raise RecipeErrors(problems)
    return recipe


def _auto_name(values: Mapping[str, Any]) -> str:
    tasks = [str(value).partition("@")[0] for value in values.get("tasks") or ()]
    tasks += [values["own.name"]] if values.get("own.name") else []
    methods = list(values.get("methods") or ())
    shown = " and ".join(methods) if len(methods) <= 2 else f"{len(methods)} methods"
    return f"{shown or 'Methods'} on {', '.join(tasks) or 'a task'}"[:120]


def _section(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Collect filled values below a prefix; an empty one leaves the model's default."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        if not path.startswith(prefix) or value is None or value in ("", []):
            continue
        place = found
        *parents, name = path.removeprefix(prefix).split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tasks(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the chosen tasks: declared ones by name, added data sets as ``name@version``."""
    found: list[dict[str, Any]] = []
    for value in values.get("tasks") or ():
        name, _, version = str(value).partition("@")
        spec = None if version else TASKS.get(name)
        entry: dict[str, Any] = {"name": name}
        if version:
            entry["dataset"] = version
        if spec and values.get("template") in spec.templates:
            entry["template"] = values["template"]
        if spec and spec.diagnostics and values.get("diagnostics"):
            entry["diagnostics"] = True
        found.append(entry)
    return found


def method_entry(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of a method, by its kind or one of the paper's names."""
    axes = dict(ALIASES.get(name, {"kind": name}))
    kind = str(axes["kind"])
    entry = {**axes, **_section(values, f"method.{kind}.")}
    config = METHODS.get(kind)
    if config is not None and "num_virtual_tokens" in config.model_fields:
        tokens = values.get("num_virtual_tokens")
        entry["num_virtual_tokens"] = _plain(tokens) if tokens is not None else 10
    return entry


def _further_methods(values: Mapping[str, Any], problems: list[ConfigError]) -> list[Any]:
    """Read entries as a recipe has them; text that is no list is a problem of its field."""
    text = str(values.get("methods.more") or "")
    if not text.strip():
        return []
    try:
        found = read_yaml(text)
    except RecipeErrors as error:
        problems += [ConfigError(one.message, field="methods.more") for one in error.problems]
        return []
    if isinstance(found, list):
        return found
    advice = "write each method on a line of its own after '- '"
    problems.append(ConfigError(f"must be a list; {advice}", field="methods.more"))
    return []


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
    # How it is read out is chosen once for all backbones.
    read = {name: own.pop(name) for name in ("pooling", "read_out") if own.get(name)}
    found = [{"name": name, **read} for name in values.get("backbones") or ()]
    return [*found, {**own, **read}] if own else found


def _regimes(values: Mapping[str, Any], problems: list[ConfigError]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in values.get("regimes") or ():
        entry = {"kind": kind, **_section(values, f"{kind}.")}
        if entry.get("draw") == "fewglue":
            # Its examples are fixed; what was typed for a draw does not apply.
            found.append({"kind": kind, "draw": entry["draw"]})
        elif kind == "few_shot":
            found += [{**entry, "k": k} for k in _shots(values, problems)]
        else:
            found.append(entry)
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
        if place >= len(chosen):
            return "methods.more" if number else "methods"
        if name in ("", "kind"):
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
        kinds = [str(entry["kind"]) for entry in _regimes(recipe_values, [])]
        place = int(number) if number.isdecimal() else len(kinds)
        path = f"{kinds[place]}.{name}" if place < len(kinds) else ""
        return path if path in recipe_values else "regimes"
    if field == "training":  # both lengths given
        return "training.epochs"
    if part == "seeds":
        return ".".join(field.split(".")[:2])
    return field
