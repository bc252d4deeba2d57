"""The form of New experiment, made from the recipe's own models.

A field is described once, by its model: title, description, type and bounds. This module turns
models into ``FormField`` rows; ``app/form_values.py`` turns what was entered into a recipe and
back, and ``app/components/fields.py`` draws the rows with Gradio.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.backbones.spec import BackboneChoice
from core.methods import METHODS, Control, LearningRates
from core.recipe import Recipe
from core.recipe_parts import TaskChoice, Training, Tuning
from core.regimes import REGIMES
from core.tasks import TASKS

Kind = Literal["integer", "number", "text", "switch", "choice", "choices", "lines"]
Values = dict[str, Any]

SIMPLE_TRAINING = ("max_updates", "max_tokens", "batch_size")
OWN_PLACES = (
    "kind", "learning_rates", "num_virtual_tokens", "position", "length", "representation",
    "cut_from", "pool_to_match",
)  # fmt: skip
FORM_DEFAULTS = {"training.max_updates": 200, "training.max_tokens": 64}
DEFAULT_METHODS = ("prompt_tuning", "adap_ins_pos")
DATA_SEEDS, INIT_SEEDS = "0-4", "0, 1"
"""What few-shot studies usually cross: draws of examples, and initial weights."""


@dataclass(frozen=True)
class FormField:
    """One control of the form.

    Attributes:
        path: Name among the form's values, and dotted field of the recipe where it has one.
        title: Label.
        help: What it means, with the unit.
        kind: How it is entered.
        default: Value of a new form.
        choices: Label and value of each choice.
        optional: True when it may be left empty.
        field: Field of the recipe that errors name, when it is not ``path``.
    """

    path: str
    title: str
    help: str
    kind: Kind
    default: Any = None
    choices: tuple[tuple[str, str | int], ...] = ()
    optional: bool = False
    field: str = ""


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Strip ``| None`` from a type; tell whether it was there."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return annotation, False


def _field(name: str, info: FieldInfo, prefix: str) -> FormField | None:
    annotation, optional = _unwrap(info.annotation)
    kinds: dict[Any, Kind] = {int: "integer", float: "number", bool: "switch", str: "text"}
    kind: Kind | None = kinds.get(annotation)
    path = f"{prefix}{name}"
    default = FORM_DEFAULTS.get(path, info.get_default())
    choices: tuple[tuple[str, str | int], ...] = ()
    if get_origin(annotation) is tuple and get_origin(get_args(annotation)[0]) is Literal:
        kind, annotation, default = "choices", get_args(annotation)[0], list(default)
    if get_origin(annotation) is Literal:
        kind = kind or "choice"
        choices = tuple((_words(value), value) for value in get_args(annotation))
        if len(choices) < 2:
            return None
    if kind is None or not info.title:
        return None
    return FormField(path, info.title, info.description or "", kind, default, choices, optional)


def _words(value: object) -> str:
    return str(value).replace("_", " ")


def fields_of(
    model: type[BaseModel], prefix: str = "", *, besides: Sequence[str] = ()
) -> Iterator[FormField]:
    """Describe a model's fields, those of nested models included; one without a title is inner.

    Args:
        model: A part of the recipe.
        prefix: Put before each path, with its dot.
        besides: Names that stand elsewhere in the form.
    """
    for name, info in model.model_fields.items():
        if name in besides:
            continue
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            for inner in fields_of(info.annotation, f"{prefix}{name}."):
                title = f"{info.title or name}: {inner.title.lower()}"
                yield replace(inner, title=title)
            continue
        found = _field(name, info, prefix)
        if found is not None:
            yield found


def method_choices() -> tuple[tuple[str, str], ...]:
    """Label and value of each method of the form: kinds, the paper's names, then the controls."""
    plain = [(f"{METHODS[kind].TITLE} · {kind}", kind) for kind in METHODS if is_offered(kind)]
    named = [
        (f"{_axes(axes)} · {alias}", alias)
        for config in METHODS.values()
        for alias, axes in config.ALIASES.items()
        if alias not in config.CONTROLS
    ]
    told = [(f"Control: {found.title.lower()} · {alias}", alias) for alias, found in controls()]
    return (*plain, *named, *told)


def controls() -> tuple[tuple[str, Control], ...]:
    """Names of the controls, and what each shows."""
    return tuple(item for config in METHODS.values() for item in config.CONTROLS.items())


def names_of(kind: str) -> tuple[str, ...]:
    """Values of the form's methods that take the settings of a kind."""
    return (*((kind,) if is_offered(kind) else ()), *METHODS[kind].ALIASES)


def is_offered(kind: str) -> bool:
    """Tell whether a kind is offered by itself; one whose plain form has a name by names alone."""
    return METHODS[kind](kind=kind).label == kind


def _axes(axes: Mapping[str, object]) -> str:
    words = {"task": "per task", "instance": "per input"}
    names = {"position": "Position", "representation": "vectors"}
    parts = [
        f"{names.get(name, name)} {words[str(value)]}"
        for name, value in axes.items()
        if str(value) in words
    ]
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def training_fields() -> tuple[tuple[FormField, ...], tuple[FormField, ...]]:
    """Fields of the training part: the simple ones and the others."""
    every = {item.path: item for item in fields_of(Training, "training.")}
    simple = tuple(every[f"training.{name}"] for name in SIMPLE_TRAINING)
    rest = (
        *(item for path, item in every.items() if path.split(".")[1] not in SIMPLE_TRAINING),
        *fields_of(Tuning, "tuning."),
        *(item for item in fields_of(Recipe) if item.path == "selection"),
    )
    return simple, rest


def method_fields(kind: str) -> tuple[FormField, ...]:
    """Settings of one kind of method, learning rates included."""
    config = METHODS[kind]
    # The paper's names fix the axes, and a cut fits only one of them.
    besides = OWN_PLACES if is_offered(kind) else (*OWN_PLACES, "cut")
    settings = fields_of(config, f"method.{kind}.", besides=besides)
    rates = (
        _rate_field(item, getattr(config.DEFAULT_RATES, last_part(item.path)))
        for item in fields_of(LearningRates, f"method.{kind}.learning_rates.")
        if getattr(config.DEFAULT_RATES, last_part(item.path)) is not None
    )
    return (*settings, *rates)


def _rate_field(field: FormField, default: float) -> FormField:
    return replace(
        field,
        title=f"Learning rate, {field.title.lower()}",
        help=f"{field.help} Empty: {default:g} at the other defaults.",
    )


def last_part(path: str) -> str:
    """Return what stands behind the last dot."""
    return path.rsplit(".", 1)[-1]


def regime_fields(kind: str) -> tuple[FormField, ...]:
    """Settings of one regime; a single one says in its title what it belongs to."""
    every = [
        replace(item, kind="text", help=f"{item.help} Several with commas between.", default="16")
        if item.path == "few_shot.k"
        else item
        for item in fields_of(REGIMES[kind], f"{kind}.")
    ]
    if len(every) == 1:
        title = f"{REGIMES[kind].TITLE}: {every[0].title.lower()}"
        return (replace(every[0], title=title),)
    # What takes a row of its own stands last.
    return tuple(sorted(every, key=lambda item: item.kind == "choices"))


def template_field() -> FormField:
    """Choice of the template of all tasks that have one of this name."""
    names = dict.fromkeys(name for spec in TASKS.values() for name in spec.templates)
    described = TaskChoice.model_fields["template"]
    shown = tuple((_words(name), name) for name in names)
    return FormField(
        "template",
        "Input template",
        "How fields become the input. Tasks that lack it keep their own.",
        "choice",
        described.get_default(),
        (("each task's default", ""), *shown),
    )


def diagnostics_field() -> FormField:
    """Switch of the diagnostic sets of the tasks that have them."""
    described = TaskChoice.model_fields["diagnostics"]
    return FormField(
        "diagnostics",
        described.title or "",
        described.description or "",
        "switch",
        described.get_default(),
    )


def tasks_with_templates() -> tuple[str, ...]:
    """Tasks whose input can be written in several ways."""
    return tuple(name for name, spec in TASKS.items() if len(spec.templates) > 1)


def tasks_with_diagnostics() -> tuple[str, ...]:
    """Tasks whose runs may be scored on further sets."""
    return tuple(name for name, spec in TASKS.items() if spec.diagnostics)


def further_fields() -> tuple[FormField, ...]:
    """Where a study's runs start from, and methods whose settings differ from the form's."""
    start = next(item for item in fields_of(Recipe) if item.path == "init_from")
    more = FormField(
        "methods.more",
        "Further methods",
        "As in a recipe, one entry after each “- ”: a second variant of a method, for example "
        "{kind: p_tuning_v2, prefix_projection: true}.",
        "lines",
        "",
    )
    return start, more


def own_task_fields() -> tuple[FormField, ...]:
    """Fields of a task of one's own."""
    keep = ("name", "folder", "label_field", "group_field")
    every = {item.path: item for item in fields_of(TaskChoice, "own.")}
    texts = TaskChoice.model_fields["text_fields"]
    described = FormField(
        "own.text_fields",
        texts.title or "",
        "One or two names with a comma between; empty: found by the usual names.",
        "text",
        "",
    )
    name, folder, label, group = (every[f"own.{name}"] for name in keep)
    return (
        replace(name, help="Name in tables.", default=""),
        folder,
        described,
        replace(label, help="Empty: label.", default=""),
        group,
    )


def own_backbone_fields() -> tuple[FormField, ...]:
    """Fields of a backbone from the Hub or a folder."""
    return _backbone_fields("hub", "revision", "path")


def read_out_fields() -> tuple[FormField, ...]:
    """Fields that hold for every chosen backbone: what is read out of it."""
    return _backbone_fields("read_out", "pooling")


def _backbone_fields(*names: str) -> tuple[FormField, ...]:
    every = {item.path: item for item in fields_of(BackboneChoice, "backbone.")}
    return tuple(every[f"backbone.{name}"] for name in names)


def default_values(tasks: Sequence[str] = ("desk",)) -> Values:
    """Values of a fresh form: a small, fair comparison that trains in minutes."""
    simple, rest = training_fields()
    every = [*simple, *rest, *own_task_fields(), *own_backbone_fields(), *read_out_fields()]
    every += [item for kind in METHODS for item in method_fields(kind)]
    every += [item for kind in REGIMES for item in regime_fields(kind)]
    every += [*further_fields(), template_field(), diagnostics_field()]
    values: Values = {item.path: item.default for item in every}
    values |= {
        "name": "",
        "question": "",
        "tasks": list(tasks[:1]),
        "backbones": ["minilm"],
        "regimes": ["full_data"],
        "methods": list(DEFAULT_METHODS),
        "num_virtual_tokens": 10,
        "seeds.init": "0, 1",
        "seeds.data": "0",
    }
    return values


def regime_choices() -> tuple[tuple[str, str], ...]:
    """Label and value of each regime."""
    kinds = sorted(REGIMES, key=lambda kind: (kind != "full_data", kind))
    return tuple((REGIMES[kind].TITLE, kind) for kind in kinds)
