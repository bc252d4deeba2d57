"""What a choice is worth: bars of own and other choices, dots of every fixed one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from core.plots._style import NEUTRAL, OUTLINED, escape, figure, mark, say_empty, transparent
from core.wording import percent

TITLE = "What the choice is worth"
EVERY = "every fixed choice"


class Row(NamedTuple):
    """A row of the audit.

    Attributes:
        label: Its name.
        value: Metric; NaN for none.
        kind: ``own``, ``best_each`` (biased), ``fixed`` (a dot), or another word.
    """

    label: str
    value: float
    kind: str = ""


class Info(NamedTuple):
    """What is drawn: bars from the first to the last, dots, name of the metric, the method."""

    bars: tuple[Row, ...]
    dots: tuple[Row, ...]
    x_title: str
    method: str


def prepare(rows: Iterable[Row], *, x_title: str = "accuracy", method: str = "") -> Info:
    """Sort rows into bars and dots; gaps are left out.

    Args:
        rows: The audit of one axis.
        x_title: Name of the metric.
        method: Label of the run's method, whose colour its own choice has.
    """
    known = [row for row in rows if math.isfinite(row.value)]
    return Info(
        tuple(row for row in known if row.kind != "fixed"),
        tuple(row for row in known if row.kind == "fixed"),
        x_title,
        method,
    )


def draw(info: Info) -> go.Figure:
    """Draw bars to the right, the own choice on top, and a line of dots below."""
    chart = figure(info.x_title, "", percent=False)
    if not info.bars and not info.dots:
        return say_empty(chart, "No audit yet")
    color = mark(info.method).color if info.method else NEUTRAL
    chart.add_bar(
        x=[row.value for row in info.bars],
        y=[escape(row.label) for row in info.bars],
        orientation="h",
        width=0.62,
        marker={
            "color": [
                color if row.kind == "own" else transparent(NEUTRAL, 0.45) for row in info.bars
            ],
            "line": {"color": [_edge(row, color) for row in info.bars], "width": 1.5},
            "pattern": {"shape": ["/" if row.kind == "best_each" else "" for row in info.bars]},
        },
        text=[percent(row.value) for row in info.bars],
        textposition="outside",
        cliponaxis=False,
        showlegend=False,
        hovertemplate="%{x:.1%}<extra>%{y}</extra>",
    )
    if info.dots:
        chart.add_scatter(
            x=[row.value for row in info.dots],
            y=[EVERY] * len(info.dots),
            mode="markers",
            marker={"size": 7, "color": transparent(NEUTRAL, 0.7), "line": {"width": 1}},
            meta=OUTLINED,
            showlegend=False,
            customdata=[escape(row.label) for row in info.dots],
            hovertemplate="%{x:.1%}<extra>%{customdata}</extra>",
        )
    low = min(0.0, *(row.value for row in (*info.bars, *info.dots)))
    chart.update_xaxes(
        range=[low, 1.08], tickformat=".0%", tickvals=[-1, -0.5, 0, 0.25, 0.5, 0.75, 1]
    )
    chart.update_yaxes(autorange="reversed", showgrid=False, type="category")
    chart.update_layout(showlegend=False, hovermode="closest")
    return chart


def _edge(row: Row, color: str) -> str:
    return color if row.kind == "own" else NEUTRAL
