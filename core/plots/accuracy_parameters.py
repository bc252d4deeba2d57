"""Accuracy against trainable parameters, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from core.plots._style import escape, figure, mark, say_empty, share_range
from core.statistics.intervals import Summary, mean_std

TITLE = "Accuracy and trainable parameters"
AROUND = 1.15
"""Least factor between the outermost counts and the ends of their axis."""


class Row(NamedTuple):
    """Value of one run.

    Attributes:
        label: Method's label.
        column: Name of task and regime.
        value: Metric, 0 to 1; NaN for none.
        num_trainable: Trainable parameters, a count; NaN when unknown.
    """

    label: str
    column: str
    value: float
    num_trainable: float


class Point(NamedTuple):
    """One method in one column."""

    label: str
    column: str
    num_trainable: float
    summary: Summary


class Info(NamedTuple):
    """What is drawn: points and the name of the metric."""

    points: tuple[Point, ...]
    y_title: str


def prepare(rows: Iterable[Row], *, y_title: str = "accuracy") -> Info:
    """Average the runs of each method and column; runs without a count are left out."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if math.isfinite(row.value) and math.isfinite(row.num_trainable) and row.num_trainable > 0:
            groups.setdefault((row.label, row.column), []).append(row)
    points = tuple(
        Point(
            label,
            column,
            mean_std(row.num_trainable for row in members).mean,
            mean_std(row.value for row in members),
        )
        for (label, column), members in groups.items()
    )
    return Info(points, y_title)


def draw(info: Info) -> go.Figure:
    """Draw a mark a method and column on a logarithmic axis of parameters."""
    chart = figure("trainable parameters", info.y_title, percent=True)
    if not info.points:
        return say_empty(chart, "No results yet")
    points = info.points
    for label in dict.fromkeys(point.label for point in points):
        style, name = mark(label), escape(label)
        own = [point for point in points if point.label == label]
        spreads = [0.0 if math.isnan(p.summary.std) else p.summary.std for p in own]
        chart.add_scatter(
            x=[point.num_trainable for point in own],
            y=[point.summary.mean for point in own],
            error_y={"type": "data", "array": spreads, "color": style.color, "thickness": 1.2},
            customdata=[[escape(p.column), p.summary.n] for p in own],
            mode="markers",
            marker={"symbol": style.symbol, "size": 11, "color": style.color},
            name=name,
            hovertemplate="%{y:.1%}, %{x:,} parameters<br>%{customdata[0]}, "
            "n = %{customdata[1]}<extra>" + name + "</extra>",
        )
    counts = [point.num_trainable for point in points]
    around = max(AROUND, (max(counts) / min(counts)) ** 0.05)
    low, high = min(counts) / around, max(counts) * around
    ticks = ticks_between(low, high)
    chart.update_xaxes(
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[short_count(tick) for tick in ticks],
    )
    spread = [(p.summary.mean, 0.0 if math.isnan(p.summary.std) else p.summary.std) for p in points]
    ends = [mean + sign * std for mean, std in spread for sign in (-1, 1)]
    chart.update_yaxes(range=share_range(min(ends), max(ends)))
    return chart


def ticks_between(low: float, high: float) -> list[float]:
    """Choose at most about eight round counts for a logarithmic axis.

    Args:
        low: Left end, above 0.
        high: Right end.
    """
    if high / low < 8:
        rough = (high - low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(n for n in (1, 2, 5, 10) if n * power >= rough)
        return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digits = (1, 2, 5) if high / low < 400 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**power for power in powers for digit in digits]
    return [tick for tick in found if low <= tick <= high]


def short_count(count: float) -> str:
    """Write a count briefly and whole: 850, 4.5k, 20M."""
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.4g}{sign}"
    return f"{count:.4g}"
