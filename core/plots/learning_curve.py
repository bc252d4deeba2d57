"""Learning curves: mean ± standard deviation over seeds, one curve a method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.plots._style import NEUTRAL, escape, figure, mark, say_empty, share_range, transparent
from core.statistics.intervals import Band, band

TITLE = "Learning curves"
MAX_POINTS = 400


class Row(NamedTuple):
    """Curve of one run.

    Attributes:
        label: Method's label.
        steps: Updates, ascending.
        values: Value at each step, NaN for a gap.
    """

    label: str
    steps: Sequence[float]
    values: Sequence[float]


class Curve(NamedTuple):
    """Mean curve of one method.

    Attributes:
        label: Method's label.
        steps: Updates, shape (points,).
        band: Mean, ends and number of runs at each step.
    """

    label: str
    steps: NDArray[np.float64]
    band: Band


class Info(NamedTuple):
    """What is drawn.

    Attributes:
        curves: One a method.
        y_title: Name of the value.
        percent: True when values are shares.
        majority: Share of the most frequent label, NaN when there is no such line.
    """

    curves: tuple[Curve, ...]
    y_title: str
    percent: bool
    majority: float


def prepare(
    rows: Iterable[Row],
    *,
    y_title: str = "dev accuracy",
    percent: bool = True,
    majority: float = math.nan,
) -> Info:
    """Average the runs of each method on a common grid of steps."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if len(row.steps):
            groups.setdefault(row.label, []).append(row)
    curves = tuple(_curve(label, members) for label, members in groups.items())
    return Info(curves, y_title, percent, majority)


def draw(info: Info) -> go.Figure:
    """Draw a line a method, its band behind it, and the majority line."""
    chart = figure("updates", info.y_title, percent=info.percent)
    if not info.curves:
        return say_empty(chart, "No evaluations yet")
    for curve in info.curves:
        style, name = mark(curve.label), escape(curve.label)
        if curve.band.n.max() > 1:
            chart.add_scatter(
                x=np.concatenate([curve.steps, curve.steps[::-1]]),
                y=np.concatenate([curve.band.high, curve.band.low[::-1]]),
                fill="toself",
                fillcolor=transparent(style.color, 0.15),
                line={"width": 0},
                mode="lines",
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
                name=f"{name}: one standard deviation",
            )
        chart.add_scatter(
            x=curve.steps,
            y=curve.band.mean,
            customdata=curve.band.n,
            mode="lines+markers" if curve.steps.size <= 30 else "lines",
            line={"color": style.color, "dash": style.dash, "width": 2},
            marker={"symbol": style.symbol, "size": 7, "color": style.color},
            legendgroup=name,
            name=name,
            hovertemplate="%{y:.3f} at update %{x}, n = %{customdata}<extra>" + name + "</extra>",
        )
    if info.percent:
        shown = np.concatenate([part for c in info.curves for part in (c.band.low, c.band.high)])
        shown = np.append(shown[np.isfinite(shown)], info.majority)
        if np.isfinite(shown).any():
            low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
            chart.update_yaxes(range=share_range(low, high))
    if math.isfinite(info.majority):
        chart.add_hline(
            y=info.majority,
            line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
            annotation={"text": "majority class", "font": {"size": 11}},
            annotation_position="bottom right",
        )
    return chart


def _curve(label: str, members: Sequence[Row]) -> Curve:
    grid = np.unique(np.concatenate([np.asarray(row.steps, dtype=np.float64) for row in members]))
    if grid.size > MAX_POINTS:
        grid = grid[np.unique(np.linspace(0, grid.size - 1, MAX_POINTS).astype(int))]
    return Curve(label, grid, band(np.stack([_on_grid(row, grid) for row in members])))


def _on_grid(row: Row, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read a run's curve at other steps: linear between its points, nothing beyond or in gaps."""
    steps = np.asarray(row.steps, dtype=np.float64)
    values = np.asarray(row.values, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    return np.interp(grid, steps, values, left=np.nan, right=np.nan)
