"""Look of all charts: one colour, dash and symbol a method, readable on light and dark ground."""

from __future__ import annotations

import re
from typing import NamedTuple

import plotly.graph_objects as go

NEUTRAL = "#7d8592"
GRID = "rgba(128, 136, 148, 0.22)"
CLEAR = "rgba(0, 0, 0, 0)"
OUTLINED = "outlined"
"""Meta of marks that the page outlines in its text colour, which stands out in both themes."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")


class Mark(NamedTuple):
    """How a method is drawn.

    Attributes:
        color: Hex colour with a contrast of at least 3 on white and on the dark ground.
        dash: Plotly's name of the line pattern.
        symbol: Plotly's name of the marker.
    """

    color: str
    dash: str
    symbol: str


# Hues keep apart for the common colour deficiencies together with dash and symbol; warm colours
# are the methods that choose, cool ones those that do not.
METHOD_MARKS: dict[str, Mark] = {
    "fine-tuning": Mark("#7f7f7f", "longdash", "square"),
    "linear-probe": Mark("#a0785a", "dot", "x"),
    "prompt-tuning": Mark("#2b7fc4", "dash", "diamond"),
    "p-tuning-v2": Mark("#0b9a72", "dashdot", "cross"),
    "p-tuning": Mark("#2f9aa6", "longdash", "star-diamond"),
    "lora": Mark("#6a7f96", "solid", "bowtie"),
    "bitfit": Mark("#8d8a3c", "dot", "asterisk"),
    "smop": Mark("#a85fc0", "longdash", "hourglass"),
    "dynamic-prompt": Mark("#3a9bd0", "longdashdot", "hexagon"),
    "adap-pos": Mark("#bf8300", "dash", "triangle-up"),
    "adap-ins-pos": Mark("#d9601a", "solid", "circle"),
    "adap-ins-vec": Mark("#c46a9b", "dot", "triangle-down"),
    "adap-len": Mark("#8f7a3e", "longdashdot", "triangle-left"),
    "adap-ins-len": Mark("#c25b4b", "longdashdot", "triangle-right"),
    "adap-pos-ins-vec": Mark("#8b6bd6", "dashdot", "star"),
    "adap-ins-vec-pos": Mark("#d0406f", "solid", "pentagon"),
    "random-cut": Mark("#b0706a", "dash", "hexagon2"),
    "random-slot": Mark("#b0706a", "longdashdot", "hexagon2"),
    "fixed-best": Mark("#4a9459", "solid", "diamond-tall"),
    "capacity": Mark("#5b7bd0", "dot", "diamond-wide"),
}
OTHER_COLORS = ("#5f8a3a", "#6b7fb0", "#b5654a", "#3f9490", "#9a7d2e", "#a667b5")


def slug(label: str) -> str:
    """Return the part of a label that fixes its colour: without remarks in brackets."""
    return re.sub(r"[_ ]", "-", re.sub(r"\s*[(\[].*$", "", label))


def mark(label: str) -> Mark:
    """Return a method's colour, dash and symbol, the same in every chart and on every page.

    A label with a remark in brackets keeps the colour of its method and gets an open symbol and
    another dash, which depend on its text; of an unknown label the colour does as well.
    """
    name, number = slug(label), _digest(label)
    known = METHOD_MARKS.get(name)
    if known is None:
        return Mark(
            OTHER_COLORS[number % len(OTHER_COLORS)],
            DASHES[number % len(DASHES)],
            SYMBOLS[number % len(SYMBOLS)],
        )
    if not label.endswith((")", "]")):
        return known
    others = [dash for dash in DASHES if dash != known.dash]
    symbol = SYMBOLS[number // len(others) % len(SYMBOLS)]
    return Mark(known.color, others[number % len(others)], f"{symbol}-open")


def transparent(color: str, opacity: float) -> str:
    """Turn ``#rrggbb`` into an rgba() of this opacity, 0 to 1."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def css() -> str:
    """Write the marks as CSS variables, so that pages and charts show the same colours."""
    lines = ["/* Written by core.plots._style.css(); a test compares the two. */", ":root {"]
    lines += [f"  --method-{name}: {style.color};" for name, style in METHOD_MARKS.items()]
    lines += [f"  --other-{i}: {color};" for i, color in enumerate(OTHER_COLORS)]
    return "\n".join([*lines, "}", ""])


def figure(x_title: str, y_title: str, *, percent: bool = False) -> go.Figure:
    """Make an empty figure that fits both themes; the page puts in its text and grid colours."""
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 8},
    }
    return go.Figure(
        layout={
            "template": "none",
            "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR,
            "font": {"color": NEUTRAL, "size": 12},
            "margin": {"l": 52, "r": 12, "t": 12, "b": 44},
            "showlegend": True,
            "legend": {"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top"},
            "hovermode": "closest",
            "xaxis": {**axis, "title": {"text": x_title, "standoff": 8}},
            "yaxis": {
                **axis,
                "title": {"text": y_title, "standoff": 8},
                "tickformat": ".1~%" if percent else "",
            },
        }
    )


def share_range(low: float, high: float) -> list[float]:
    """Choose the ends of an axis of shares: a margin around the values, hardly beyond 100 %.

    Plotly's own choice for equal values would be 0 to 200 % around 100 %.

    Args:
        low: Smallest value that is drawn; correlations go down to -1.
        high: Largest value that is drawn.
    """
    margin = max(0.08 * (high - low), 0.02)
    floor = 0.0 if low >= 0 else -1.0
    return [max(low - margin, floor - 0.03), min(high + margin, 1.03)]


def say_empty(chart: go.Figure, text: str) -> go.Figure:
    """Write into a figure without data what will appear there."""
    chart.update_xaxes(visible=False)
    chart.update_yaxes(visible=False)
    chart.add_annotation(
        text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 14}
    )
    return chart


def escape(text: str) -> str:
    """Make a name harmless in plotly's text, which knows a few HTML tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _digest(label: str) -> int:
    """Return the number that ``methodColor`` in ``app/static/methods.js`` makes of a label."""
    total = 0
    for sign in label:
        total = (total * 31 + ord(sign)) & 0xFFFFFFFF
    return total
