"""Choices while training: which share of the dev examples takes which cut or prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.plots._style import figure, say_empty

TITLE = "Chosen cuts"


class Row(NamedTuple):
    """Counts at one evaluation.

    Attributes:
        step: Updates done.
        counts: Examples that took each choice: a cut from 0 to l, or a prompt of the pool.
    """

    step: int
    counts: Sequence[float]


class Info(NamedTuple):
    """What is drawn.

    Attributes:
        steps: Updates, shape (evaluations,).
        shares: Share of the examples, shape (choices, evaluations); NaN where there were none.
        choice: ``cut`` or ``pool``.
    """

    steps: NDArray[np.int64]
    shares: NDArray[np.float64]
    choice: str


def prepare(rows: Iterable[Row], *, choice: str = "cut") -> Info:
    """Turn counts into shares; shorter rows are filled up with zeros."""
    ordered = sorted(rows, key=lambda row: row.step)
    num_cuts = max((len(row.counts) for row in ordered), default=0)
    table = np.zeros((num_cuts, len(ordered)))
    for place, row in enumerate(ordered):
        counts = np.nan_to_num(np.asarray(row.counts, dtype=np.float64))
        total = counts.sum()
        table[: counts.size, place] = counts / total if total > 0 else np.nan
    return Info(np.array([row.step for row in ordered], dtype=np.int64), table, choice)


def draw(info: Info) -> go.Figure:
    """Draw a heat map: updates to the right, choices upwards."""
    is_cut = info.choice == "cut"
    chart = figure("updates", "cut (vectors before the input)" if is_cut else "prompt of the pool")
    if not info.steps.size or not info.shares.size:
        return say_empty(chart, "No choices yet")
    last = info.shares.shape[0] - 1
    chart.add_heatmap(
        x=[str(step) for step in info.steps],
        y=list(range(last + 1)),
        z=info.shares,
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        colorbar={"thickness": 10, "tickformat": ".0%", "outlinewidth": 0},
        hovertemplate=f"update %{{x}}: {info.choice} %{{y}} for %{{z:.1%}}<extra></extra>",
    )
    every = max(1, round(last / 10))
    ticks = sorted({*range(0, last, every), last})
    names = {0: "0 postfix", last: f"{last} prefix"} if is_cut else {}
    chart.update_yaxes(
        tickvals=ticks, ticktext=[names.get(tick, str(tick)) for tick in ticks], showgrid=False
    )
    chart.update_xaxes(type="category", nticks=8, showgrid=False)
    return chart
