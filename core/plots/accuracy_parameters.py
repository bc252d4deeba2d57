"""Accuracy against trainable parameters, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from core.plots._style import escape, figure, mark, say_empty
from core.statistics.intervals import Summary, mean_std

TITLE = "Accuracy and trainable parameters"


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
    for label in dict.fromkeys(point.label for point in info.points):
        style, name = mark(label), escape(label)
        own = [point for point in info.points if point.label == label]
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
    chart.update_xaxes(type="log", dtick=_ticks(info), exponentformat="SI")
    return chart


def _ticks(info: Info) -> int | str:
    """Label powers of ten, and over a shorter range steps between them, so that it is readable."""
    counts = [point.num_trainable for point in info.points]
    span = max(counts) / min(counts)
    return 1 if span > 100 else "D2" if span > 10 else "D1"
