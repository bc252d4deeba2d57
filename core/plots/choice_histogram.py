"""Choices while training: the share of the dev examples for each cut, slot, length or prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.plots._style import figure, say_empty

TITLE = "Choices while training"
AXES = {
    "cut": "cut (vectors before the input)",
    "slot": "place of the prompt",
    "length": "vectors that are used",
    "pool": "prompt of the pool",
}


class Row(NamedTuple):
    """Counts at one evaluation.

    Attributes:
        step: Updates done.
        counts: Examples that took each choice.
    """

    step: int
    counts: Sequence[float]


class Info(NamedTuple):
    """What is drawn.

    Attributes:
        steps: Updates, shape (evaluations,).
        shares: Share of the examples, shape (choices, evaluations); NaN where there were none.
        choice: Which of ``AXES``.
        names: What the choices are called.
    """

    steps: NDArray[np.int64]
    shares: NDArray[np.float64]
    choice: str
    names: Sequence[str]


def prepare(rows: Iterable[Row], *, choice: str = "cut", names: Sequence[str] = ()) -> Info:
    """Turn counts into shares; shorter rows are filled up with zeros.

    Args:
        rows: Counts.
        choice: Which of ``AXES``.
        names: What the choices are called; choices beyond them are numbered from 0.
    """
    ordered = sorted(rows, key=lambda row: row.step)
    num_choices = max((len(row.counts) for row in ordered), default=0)
    table = np.zeros((num_choices, len(ordered)))
    for place, row in enumerate(ordered):
        counts = np.nan_to_num(np.asarray(row.counts, dtype=np.float64))
        total = counts.sum()
        table[: counts.size, place] = counts / total if total > 0 else np.nan
    steps = np.array([row.step for row in ordered], dtype=np.int64)
    known = list(names)[:num_choices]
    return Info(steps, table, choice, [*known, *map(str, range(len(known), num_choices))])


def draw(info: Info) -> go.Figure:
    """Draw a heat map: updates to the right, choices upwards."""
    chart = figure("updates", AXES[info.choice])
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
        text=[[name] * len(info.steps) for name in info.names],
        hovertemplate=f"update %{{x}}: {info.choice} %{{text}} for %{{z:.1%}}<extra></extra>",
    )
    every = max(1, round(last / 10))
    ticks = sorted({*range(0, last, every), last})
    ends = {0: "0 postfix", last: f"{last} prefix"} if info.choice == "cut" else {}
    labels = [ends.get(tick, info.names[tick]) for tick in ticks]
    chart.update_yaxes(tickvals=ticks, ticktext=labels, showgrid=False)
    chart.update_xaxes(type="category", nticks=8, showgrid=False)
    return chart
