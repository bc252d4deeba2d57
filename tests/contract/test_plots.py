"""What every plot keeps: it draws from nothing, from one row, and from rows with gaps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.methods import METHODS
from core.plots import (
    DRAW,
    PREPARE,
    TITLES,
    accuracy_parameters,
    audit_bars,
    choice_histogram,
    comparison_bars,
    learning_curve,
)
from core.plots._style import METHOD_MARKS, OTHER_COLORS, css, mark, share_range, slug

NAME = "<img src=x onerror=alert(1)>"
GAP = math.nan

ROWS: dict[str, list[Any]] = {
    "learning_curve": [
        learning_curve.Row("prompt_tuning", [1, 2, 3], [0.1, GAP, 0.5]),
        learning_curve.Row("prompt_tuning", [1, 3, 5], [0.3, 0.4, math.inf]),
        learning_curve.Row(NAME, [2], [GAP]),
        learning_curve.Row("p_tuning_v2", [], []),
    ],
    "comparison_bars": [
        comparison_bars.Row("prompt_tuning", "desk", 0.8, "0/0", 0.3),
        comparison_bars.Row("prompt_tuning", "desk", GAP, "0/1", 0.3),
        comparison_bars.Row("adap_pos", "rte", 0.6),
        comparison_bars.Row(NAME, NAME, GAP),
    ],
    "accuracy_parameters": [
        accuracy_parameters.Row("prompt_tuning", "desk", 0.8, 3840),
        accuracy_parameters.Row("prompt_tuning", "desk", 0.7, 3840),
        accuracy_parameters.Row("adap_pos", "desk", GAP, 3840),
        accuracy_parameters.Row(NAME, "desk", 0.5, GAP),
    ],
    "audit_bars": [
        audit_bars.Row("own choice", 0.8, "own"),
        audit_bars.Row("shuffled", GAP),
        audit_bars.Row(NAME, 0.7, "fixed"),
        audit_bars.Row(NAME, 0.9, "best_each"),
    ],
    "choice_histogram": [
        choice_histogram.Row(20, [1, 2, 7]),
        choice_histogram.Row(10, [5, 5]),
        choice_histogram.Row(30, [0, 0, 0]),
        choice_histogram.Row(40, [GAP, 1, 1]),
    ],
}


def drawn(name: str, rows: Sequence[Any]) -> dict[str, Any]:
    """Draw and read back as the page gets it."""
    content: dict[str, Any] = json.loads(DRAW[name](PREPARE[name](rows)).to_json())
    return content


def test_every_plot_has_rows_here() -> None:
    assert set(ROWS) == set(PREPARE) == set(DRAW) == set(TITLES)


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize(
    "choose",
    [
        pytest.param(lambda rows: [], id="no rows"),
        pytest.param(lambda rows: rows[:1], id="one row"),
        pytest.param(lambda rows: rows[-1:], id="one strange row"),
        pytest.param(lambda rows: rows, id="gaps"),
        pytest.param(lambda rows: iter(rows), id="an iterator"),
    ],
)
def test_every_plot_draws(name: str, choose: Callable[[list[Any]], Any]) -> None:
    content = drawn(name, choose(ROWS[name]))
    assert (
        content["layout"]["paper_bgcolor"]
        == content["layout"]["plot_bgcolor"]
        == "rgba(0, 0, 0, 0)"
    )
    if not content["data"]:
        assert content["layout"]["annotations"], "an empty chart says why it is empty"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_names_are_never_markup(name: str) -> None:
    assert "<img" not in json.dumps(drawn(name, ROWS[name]))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_preparing_leaves_the_rows_alone(name: str) -> None:
    before = repr(ROWS[name])
    PREPARE[name](ROWS[name])
    assert repr(ROWS[name]) == before


def test_the_learning_curve_averages_on_common_steps() -> None:
    rows = [
        learning_curve.Row("prompt_tuning", [0, 10], [0.0, 1.0]),
        learning_curve.Row("prompt_tuning", [0, 5, 10], [0.0, 0.1, 0.6]),
    ]
    (curve,) = learning_curve.prepare(rows).curves
    assert curve.steps.tolist() == [0, 5, 10]
    assert curve.band.mean.tolist() == pytest.approx([0.0, 0.3, 0.8])


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    steps = list(range(5000))
    (curve,) = learning_curve.prepare([learning_curve.Row("a", steps, steps)]).curves
    assert curve.steps.size <= learning_curve.MAX_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (0, 4999)


def test_bars_hold_mean_and_every_seed() -> None:
    rows = [comparison_bars.Row("a", "desk", value, str(value)) for value in (0.7, 0.9, GAP)]
    (bar,) = comparison_bars.prepare(rows).bars
    assert bar.summary.mean == pytest.approx(0.8)
    assert bar.seeds == (("0.7", 0.7), ("0.9", 0.9))


def test_cut_shares_sum_to_one() -> None:
    info = choice_histogram.prepare(ROWS["choice_histogram"][:2])
    assert info.steps.tolist() == [10, 20]
    assert info.shares.sum(axis=0).tolist() == [1.0, 1.0]
    assert info.shares[:, 0].tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("choice", "names", "labels"),
    [
        ("cut", ("0", "1", "2"), ["0 postfix", "1", "2 prefix"]),
        ("slot", ("front", "50 %", "end"), ["front", "50 %", "end"]),
        ("length", ("1", "2", "3"), ["1", "2", "3"]),
        ("pool", (), ["0", "1", "2"]),
    ],
)
def test_choices_stand_under_their_names(
    choice: str, names: tuple[str, ...], labels: list[str]
) -> None:
    rows = [choice_histogram.Row(10, [1, 0, 3])]
    chart = choice_histogram.draw(choice_histogram.prepare(rows, choice=choice, names=names))
    assert list(chart.layout.yaxis.ticktext) == labels
    assert [line[0] for line in chart.data[0].text] == list(names or labels)


def test_every_method_has_a_mark_of_its_own() -> None:
    labels = {alias for config in METHODS.values() for alias in config.ALIASES} | set(METHODS)
    assert {slug(label) for label in labels} <= set(METHOD_MARKS)
    marks = [mark(label) for label in sorted(labels)]
    assert len({style.color for style in marks}) == len(marks)
    assert len({(style.dash, style.symbol) for style in marks}) == len(marks)


def test_a_remark_in_brackets_keeps_the_colour_and_changes_the_line() -> None:
    plain, cut = mark("prompt_tuning"), mark("prompt_tuning (cut 3)")
    assert plain.color == cut.color
    assert plain.dash != cut.dash
    assert plain.symbol != cut.symbol
    settings = [mark(f"prompt_tuning [max_updates {updates}]") for updates in (20, 40, 80)]
    assert len({(style.dash, style.symbol) for style in settings}) == 3
    assert mark("something else") == mark("something else")


def test_a_place_at_random_is_marked_under_all_its_names() -> None:
    cut, slot = (
        METHODS["dynamic_prompt"](kind="dynamic_prompt", position="random", place=place).label
        for place in ("cut", "slot")
    )
    assert slug(cut) == slug("random cut") == "random-cut"  # as it was written once
    assert mark(cut) == mark("random cut") == METHOD_MARKS["random-cut"]
    assert mark(slot).color == mark(cut).color


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ground", ["#ffffff", "#151b26"])
def test_colours_are_seen_on_both_grounds(ground: str) -> None:
    for color in (*(style.color for style in METHOD_MARKS.values()), *OTHER_COLORS):
        light, dark = sorted((luminance(color), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_the_style_sheet_has_the_same_colours() -> None:
    folder = Path(__file__).parents[2] / "app" / "static"
    assert (folder / "methods.css").read_text("utf-8") == css()


@pytest.mark.parametrize(
    ("counts", "labels"),
    [
        ((4224, 5379), ["4k", "5k", "6k"]),
        ((1e4, 1e4), ["9k", "10k", "11k"]),
        ((1e4, 5e5), ["10k", "20k", "50k", "100k", "200k", "500k"]),
        ((1e3, 2e7), ["1k", "10k", "100k", "1M", "10M"]),
    ],
)
def test_the_axis_of_parameters_has_whole_counts(
    counts: tuple[float, float], labels: list[str]
) -> None:
    rows = [
        accuracy_parameters.Row(name, "desk", 0.8, n) for name, n in zip("ab", counts, strict=True)
    ]
    axis = accuracy_parameters.draw(accuracy_parameters.prepare(rows)).layout.xaxis
    assert list(axis.ticktext) == labels
    assert 10 ** axis.range[0] < min(counts) <= max(counts) < 10 ** axis.range[1]


def test_shares_of_all_right_do_not_stretch_the_axis() -> None:
    points = [accuracy_parameters.Row("a", "desk", 1.0, 1e4)]
    curves = [learning_curve.Row("a", [1, 2], [1.0, 1.0])]
    for chart in (
        accuracy_parameters.draw(accuracy_parameters.prepare(points)),
        learning_curve.draw(learning_curve.prepare(curves)),
    ):
        low, high = chart.layout.yaxis.range
        assert 0.9 < low < 1.0 < high < 1.05
    assert share_range(-0.2, 0.4)[0] < -0.2
