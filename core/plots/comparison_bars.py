"""Bars of the means with a dot a seed and the majority line of every column."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from core.plots._style import NEUTRAL, OUTLINED, escape, figure, mark, say_empty, transparent
from core.statistics.intervals import Summary, mean_std
from core.wording import percent

TITLE = "Means and seeds"
GROUP_WIDTH = 0.84


class Row(NamedTuple):
    """Value of one run.

    Attributes:
        label: Method's label.
        column: Name of task and regime.
        value: Metric, 0 to 1; NaN for none.
        seed: Name of the seed pair.
        majority: Share of the most frequent label of the column, NaN when unknown.
    """

    label: str
    column: str
    value: float
    seed: str = ""
    majority: float = math.nan


class Bar(NamedTuple):
    """One method in one column: mean, spread, and each (seed, value)."""

    label: str
    column: str
    summary: Summary
    seeds: tuple[tuple[str, float], ...]


class Info(NamedTuple):
    """What is drawn: labels and columns in order, bars, majority by column, name of the metric."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    bars: tuple[Bar, ...]
    majority: dict[str, float]
    y_title: str


def prepare(rows: Iterable[Row], *, y_title: str = "accuracy") -> Info:
    """Group the values to bars; gaps are left out."""
    groups: dict[tuple[str, str], list[Row]] = {}
    majority: dict[str, float] = {}
    for row in rows:
        groups.setdefault((row.label, row.column), []).append(row)
        if math.isfinite(row.majority):
            majority[row.column] = row.majority
    bars = tuple(
        Bar(
            label,
            column,
            mean_std(row.value for row in members),
            tuple((row.seed, row.value) for row in members if math.isfinite(row.value)),
        )
        for (label, column), members in groups.items()
    )
    labels = tuple(dict.fromkeys(label for label, _ in groups))
    columns = tuple(dict.fromkeys(column for _, column in groups))
    return Info(labels, columns, bars, majority, y_title)


def draw(info: Info) -> go.Figure:
    """Draw the bars side by side in each column."""
    chart = figure("", info.y_title, percent=True)
    if not any(bar.summary.n for bar in info.bars):
        return say_empty(chart, "No results yet")
    width = GROUP_WIDTH / len(info.labels)
    for place, label in enumerate(info.labels):
        offset = (place + 0.5) * width - GROUP_WIDTH / 2
        _add_method(chart, info, label, offset, 0.86 * width)
    _add_majority(chart, info)
    # Above the bars: names of many columns are written aslant and would run into it below them.
    above = {"y": 1.02, "yanchor": "bottom"}
    chart.update_layout(bargap=0, barmode="overlay", legend=above)
    chart.update_xaxes(
        tickvals=list(range(len(info.columns))),
        ticktext=[escape(column).replace(", ", "<br>") for column in info.columns],
        range=[-0.5, len(info.columns) - 0.5],
        showgrid=False,
    )
    chart.update_yaxes(rangemode="tozero")
    return chart


def _add_method(chart: go.Figure, info: Info, label: str, offset: float, width: float) -> None:
    style, name = mark(label), escape(label)
    own = [bar for bar in info.bars if bar.label == label and bar.summary.n]
    places = [info.columns.index(bar.column) + offset for bar in own]
    chart.add_bar(
        x=places,
        y=[bar.summary.mean for bar in own],
        width=width,
        marker={
            "color": transparent(style.color, 0.5),
            "line": {"color": style.color, "width": 1.5},
        },
        name=name,
        legendgroup=name,
        customdata=[_spread(bar.summary) for bar in own],
        hovertemplate="%{y:.1%}%{customdata}<extra>" + name + "</extra>",
    )
    dots = [
        (place + _jitter(number, len(bar.seeds), width), value, seed)
        for bar, place in zip(own, places, strict=True)
        for number, (seed, value) in enumerate(bar.seeds)
    ]
    chart.add_scatter(
        x=[x for x, _, _ in dots],
        y=[y for _, y, _ in dots],
        customdata=[escape(seed) for _, _, seed in dots],
        mode="markers",
        marker={
            "symbol": style.symbol,
            "size": 7,
            "color": style.color,
            "line": {"width": 1.5, "color": NEUTRAL},
        },
        name=name,
        legendgroup=name,
        showlegend=False,
        meta=OUTLINED,
        hovertemplate="%{y:.1%} %{customdata}<extra>" + name + "</extra>",
    )


def _add_majority(chart: go.Figure, info: Info) -> None:
    known = [i for i, column in enumerate(info.columns) if column in info.majority]
    if not known:
        return
    chart.add_scatter(
        x=[x for i in known for x in (i - 0.46, i + 0.46, None)],
        y=[y for i in known for y in (*[info.majority[info.columns[i]]] * 2, None)],
        mode="lines",
        line={"color": NEUTRAL, "dash": "dot", "width": 2},
        name="majority class",
        hovertemplate="%{y:.1%}<extra>majority class</extra>",
    )


def _spread(summary: Summary) -> str:
    return f" ± {percent(summary.std)} (n = {summary.n})" if summary.n > 1 else " (n = 1)"


def _jitter(number: int, count: int, width: float) -> float:
    return 0.0 if count < 2 else (number / (count - 1) - 0.5) * 0.5 * width
