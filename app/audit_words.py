"""What an audit of choices found, in words, for the Run page and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.metrics import TITLES
from core.plots import audit_bars

LABELS = {
    "own": "own choice",
    "mixture": "mixture",
    "modal": "most frequent",
    "mean": "mean weights",
    "shuffled": "shuffled",
    "uniform": "at random",
    "best_fixed": "best fixed",
    "best_each": "best of each",
}
AXES = {
    "cut": "Where the prompt goes",
    "slot": "Where the prompt goes",
    "length": "How long the prompt is",
    "pool": "Which prompts are mixed",
}
MEANING = (
    "Own minus shuffled above 0 means that choices fit the examples they were made for: "
    "shuffling keeps how often each is taken and changes only who gets it. It does not mean that "
    "choosing beats one fixed choice (see best fixed), nor that a run trained with one would be "
    "worse: these vectors were trained with the choices they were given."
)


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        kind: As in ``core.training.audit``.
        label: Its name.
        note: What to know about it.
        metrics: Its numbers by name.
    """

    kind: str
    label: str
    note: str
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Described:
    """One axis of a task's audit.

    Attributes:
        title: What was chosen, and of which task where there are several.
        about: How it was scored.
        metric: Name of the metric that decides.
        lines: The table without fixed choices.
        fixed: Every fixed choice.
        gains: Label of the other row, the difference, and the ends of its interval.
        told: A sentence on mutual information.
        names: Names of the choices.
        classes: Names of the classes.
        by_class: Rows of each class that took each choice.
    """

    title: str
    about: str
    metric: str
    lines: tuple[Line, ...]
    fixed: tuple[Line, ...]
    gains: tuple[tuple[str, float | None, float | None, float | None], ...]
    told: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    by_class: tuple[tuple[int, ...], ...]


def described(entries: Sequence[Mapping[str, Any]]) -> list[Described]:
    """Describe the entries of an audit; see ``core.training.audit``."""
    several = len({entry["task"] for entry in entries}) > 1
    return [_describe(entry, several) for entry in entries]


def bars(one: Described) -> list[audit_bars.Row]:
    """Return what the chart of one axis draws."""
    rows = [
        audit_bars.Row(line.label, _number(line.metrics.get(one.metric)), line.kind)
        for line in one.lines
    ]
    return rows + [
        audit_bars.Row(line.label, _number(line.metrics.get(one.metric)), "fixed")
        for line in one.fixed
    ]


def _describe(entry: Mapping[str, Any], several: bool) -> Described:
    axis, names = str(entry["axis"]), tuple(map(str, entry["names"]))
    examples, whole = int(entry["examples"]), int(entry["of"])
    scored = f"all {whole:,} dev examples"
    if examples < whole:
        scored = f"{examples:,} of {whole:,} dev examples, evenly from all classes"
    metric = str(entry["metric"])
    lines = [_line(axis, names, row) for row in entry["rows"]]
    others = {"modal": LABELS["modal"], "mean": LABELS["mean"], "shuffled": LABELS["shuffled"]}
    return Described(
        title=AXES[axis] + (f", {entry['task']}" if several else ""),
        about=f"{TITLES.get(metric, metric).capitalize()} on {scored}; every other choice of the "
        "run stays its own.",
        metric=metric,
        lines=tuple(line for line in lines if line.kind != "fixed"),
        fixed=tuple(line for line in lines if line.kind == "fixed"),
        gains=tuple(
            (others[gain["over"]], gain["value"], gain["low"], gain["high"])
            for gain in entry["gains"]
        ),
        told=_told(axis, entry["information"]),
        names=names,
        classes=tuple(map(str, entry["classes"])),
        by_class=tuple(tuple(counts) for counts in entry["by_class"]),
    )


def _line(axis: str, names: Sequence[str], row: Mapping[str, Any]) -> Line:
    kind, place = str(row["row"]), row.get("choice")
    chosen = "" if place is None else choice_name(axis, names[int(place)])
    if kind == "fixed":
        return Line(kind, chosen, "", row["metrics"])
    draws = row.get("draws", 1)
    note = {
        "own": "what the run does",
        "mixture": f"answers under all {row.get('passes')} choices, weighed by their probabilities",
        "modal": f"{chosen} for all",
        "mean": "the mean of all examples' weights for all",
        "shuffled": f"own choices between examples, mean of {draws} shuffles",
        "uniform": f"mean of {draws} draws" if draws > 1 else "all prompts weigh the same",
        "best_fixed": f"{chosen} for all; chosen on these very examples",
        "best_each": "biased upwards: chosen for each example by its right answer",
    }[kind]
    return Line(kind, LABELS[kind], note, row["metrics"])


def choice_name(axis: str, name: str) -> str:
    """Name a choice with what it is a choice of."""
    if axis == "length":
        return f"{name} vector{'' if name == '1' else 's'}"
    return f"{'prompt' if axis == 'pool' else axis} {name}"


def _told(axis: str, found: Mapping[str, Any]) -> str:
    what = "the prompt with the largest weight" if axis == "pool" else "the choice"
    nats, chance = _number(found["nats"]), _number(found["chance"])
    return (
        f"Mutual information of {what} and the class: {nats:.3f} nats, of which chance "
        f"alone gives {chance:.3f} (with few examples it is never 0); p = {found['p']:.3g}."
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
