"""Means, intervals, paired tests and the table, against numbers worked out by hand."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from core.statistics.export import CSV_HEAD, caption, remarks, to_csv, to_latex, to_markdown
from core.statistics.intervals import band, mean_std, t_interval
from core.statistics.paired import holm, paired_difference, sign_flip_p, what_n_can_show
from core.statistics.proportion import wilson
from core.statistics.table import Column, build_table


@dataclass(frozen=True)
class Run:
    """A run as the store gives it."""

    method_label: str = "prompt_tuning"
    value: float | None = 0.5
    data_seed: int = 0
    init_seed: int = 0
    task: str = "desk"
    backbone: str = "minilm"
    regime: str = "full_data"
    config_hash: str = ""
    role: str = "final"
    state: str = "succeeded"
    selection: str = "dev"
    flags: tuple[str, ...] = ()
    apart: str = ""
    num_trainable: Mapping[str, int] = field(default_factory=lambda: {"prompt": 90, "head": 10})

    @property
    def run_id(self) -> str:
        """Readable identifier."""
        return f"{self.method_label}-{self.task}-{self.data_seed}-{self.init_seed}"

    @property
    def method_kind(self) -> str:
        """Kind without remarks."""
        return self.method_label.split(" ")[0]

    @property
    def result(self) -> dict[str, Any] | None:
        """Numbers of dev alone."""
        if self.value is None:
            return None
        return {
            "dev": {"accuracy": self.value},
            "majority": {"dev": 0.4},
            "counts": {"dev": 50},
            "flags": list(self.flags),
        }


def test_mean_and_sample_deviation() -> None:
    summary = mean_std([0.7, 0.8, 0.9])
    assert summary.mean == pytest.approx(0.8)
    assert summary.std == pytest.approx(0.1)
    assert summary.n == 3


def test_gaps_are_not_counted_and_one_value_has_no_deviation() -> None:
    assert mean_std([math.nan, 0.5, math.inf])[0::2] == (0.5, 1)
    assert math.isnan(mean_std([0.5]).std)
    assert math.isnan(mean_std([]).mean)


def test_wilson_interval_of_the_textbook() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_t_interval_with_two_degrees_of_freedom() -> None:
    # 4.302653 * 0.1 / sqrt(3)
    low, high = t_interval([0.7, 0.8, 0.9])
    assert low == pytest.approx(0.8 - 0.248414, abs=1e-5)
    assert high == pytest.approx(0.8 + 0.248414, abs=1e-5)
    assert math.isnan(t_interval([0.7]).low)


def test_band_has_no_width_where_one_run_is_left_and_a_gap_where_none_is() -> None:
    result = band([[0.7, 0.5, math.nan], [0.8, math.nan, math.nan], [0.9, math.nan, math.nan]])
    assert result.mean[0] == pytest.approx(0.8)
    assert result.high[0] == pytest.approx(0.9)
    assert result.low[1] == result.high[1] == 0.5
    assert np.isnan(result.mean[2])
    assert result.n.tolist() == [3, 1, 0]


def test_sign_flip_p_counts_patterns() -> None:
    # Of the 8 patterns of (1, 2, 3) sums of 6 in size: +++ and ---.
    assert sign_flip_p([1, 2, 3]) == pytest.approx(2 / 8)
    # Sums of at least 4: 6, -6, 4 (-1), -4.
    assert sign_flip_p([-1, 2, 3]) == pytest.approx(4 / 8)
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert math.isnan(sign_flip_p([]))


def test_sign_flip_p_of_many_pairs_is_drawn_and_never_zero() -> None:
    p = sign_flip_p([0.1] * 20)
    assert 0 < p < 1e-3


def test_sign_flip_test_keeps_its_level() -> None:
    generator = np.random.default_rng(1)
    rejected = [sign_flip_p(generator.normal(size=8).tolist()) <= 0.05 for _ in range(600)]
    assert 0.02 < np.mean(rejected) < 0.08


def test_what_n_can_show() -> None:
    assert "n = 2" in what_n_can_show(2)
    assert "cannot go below p = 0.5;" in what_n_can_show(2)
    assert "cannot go below p = 0.25; n = 6 seeds are needed" in what_n_can_show(3)
    assert "can go down to p = 0.031" in what_n_can_show(6)
    assert "nothing can be tested" in what_n_can_show(0)


def test_paired_difference_uses_shared_seeds_only() -> None:
    result = paired_difference({1: 0.9, 2: 0.8, 3: 0.1}, {2: 0.6, 1: 0.8, 9: 0.0})
    assert result.difference.n == 2
    assert result.difference.mean == pytest.approx(0.15)
    assert result.p == 0.5
    assert "p = 0.5" in result.sentence


def test_one_pair_has_no_p() -> None:
    result = paired_difference({1: 0.9}, {1: 0.6})
    assert result.difference.n == 1
    assert math.isnan(result.p)
    assert "nothing can be tested" in result.sentence


def test_cells_average_seeds_and_rank_the_two_best() -> None:
    runs = [
        *(Run("a", value, init_seed=i) for i, value in enumerate([0.7, 0.8, 0.9])),
        *(Run("b", 0.9, init_seed=i) for i in range(2)),
        *(Run("c", 0.1, init_seed=i) for i in range(2)),
    ]
    table = build_table(runs)
    column = Column("desk", "minilm", "full_data")
    assert table.columns == (column,)
    assert [row.label for row in table.rows] == ["a", "b", "c"]
    assert [row.cells[column].rank for row in table.rows] == [2, 1, 0]
    assert table.rows[0].cells[column].summary.mean == pytest.approx(0.8)
    assert table.rows[0].cells[column].values == {(0, 0): 0.7, (0, 1): 0.8, (0, 2): 0.9}
    assert table.majority[column] == 0.4
    assert table.rows[0].num_trainable == (100,)


def test_a_single_seed_is_neither_best_nor_second() -> None:
    runs = [Run("a", 0.99)]
    runs += [
        Run(name, value, init_seed=i) for name, value in (("b", 0.8), ("c", 0.7)) for i in (0, 1)
    ]
    column = Column("desk", "minilm", "full_data")
    ranks = {row.label: row.cells[column].rank for row in build_table(runs).rows}
    assert ranks == {"a": 0, "b": 1, "c": 2}
    alone = build_table([Run("a", 0.9), Run("b", 0.8)])
    assert {row.cells[column].rank for row in alone.rows} == {0}


def test_flagged_runs_stay_in_the_mean_and_are_counted_apart_from_failed_ones() -> None:
    runs = [
        Run(value=0.9),
        Run(value=0.5, init_seed=1, flags=("collapsed", "at chance")),
        Run(value=0.9, init_seed=2, flags=("still rising",)),
        Run(value=None, init_seed=3, state="failed"),
        Run(value=None, init_seed=4, state="cancelled"),
        Run(value=None, init_seed=5, state="running"),
        Run(value=0.9, init_seed=6, role="trial"),
    ]
    (row,) = build_table(runs).rows
    (cell,) = row.cells.values()
    assert cell.summary.n == 3
    assert cell.summary.mean == pytest.approx(2.3 / 3)
    assert (cell.failed, cell.flagged, cell.ended, cell.waiting) == (1, 1, 4, 1)
    assert remarks(cell) == ["1 not ended", "failed 1/4", "flagged 1/4"]
    said = caption(build_table(runs))
    assert "Failed: ended with an error" in said
    assert "Flagged: succeeded, but looks unfitted, at chance or collapsed" in said
    assert "lagged" not in caption(build_table(runs[:1]))
    assert cell.flags == {"collapsed": 1, "at chance": 1, "still rising": 1}
    assert len(cell.run_ids) == 6


def test_the_caption_counts_its_runs() -> None:
    done = [Run(value=0.9, init_seed=seed) for seed in (0, 1)]
    waiting = [Run(value=None, init_seed=2, state="running")]
    told = [
        (waiting, "over seeds (no run has a result yet);"),
        (done[:1], "over n = 1 run;"),
        (done, "over n = 2 runs;"),
    ]
    for runs, said in told:
        assert said in caption(build_table(runs))


def test_a_seed_that_was_run_twice_counts_once() -> None:
    runs = [Run(value=None, state="failed"), Run(value=0.8), Run(value=None, state="queued")]
    (row,) = build_table(runs).rows
    (cell,) = row.cells.values()
    assert (cell.summary.n, cell.ended, cell.failed) == (1, 1, 0)


def test_equal_labels_with_other_settings_get_rows_of_their_own() -> None:
    runs = [Run(value=0.9, config_hash="aa"), Run(value=0.3, config_hash="bb")]
    rows = build_table(runs).rows
    assert [row.label for row in rows] == ["prompt_tuning", "prompt_tuning [settings 2]"]
    assert {row.method_label for row in rows} == {"prompt_tuning"}


def test_what_sets_settings_apart_names_their_rows_in_every_column() -> None:
    runs = [
        Run(value=0.9, config_hash="aa", apart="max_updates 20"),
        Run(value=0.3, config_hash="bb", apart="max_updates 40"),
        Run(value=0.5, config_hash="cc", apart="max_updates 40", task="rte"),
    ]
    rows = build_table(runs).rows
    assert {row.label: len(row.cells) for row in rows} == {
        "prompt_tuning [max_updates 20]": 1,
        "prompt_tuning [max_updates 40]": 2,
    }
    assert {row.method_label for row in rows} == {"prompt_tuning"}


def test_averages_need_every_column() -> None:
    runs = [Run("a", 0.8), Run("a", 0.6, task="rte"), Run("b", 0.9), Run("c", 0.1, task="rte")]
    rows = {row.label: row for row in build_table(runs).rows}
    assert rows["a"].average == pytest.approx(0.7)
    assert math.isnan(rows["b"].average)
    assert rows["a"].average_rank == 0


def test_averages_need_one_regime_and_one_number_of_seeds() -> None:
    regimes = [Run("a", 0.8), Run("a", 0.6, task="rte", regime="few_shot (k = 8)")]
    sizes = [Run("a", 0.8), Run("a", 0.8, init_seed=1), Run("a", 0.6, task="rte")]
    for runs in (regimes, sizes):
        (row,) = build_table(runs).rows
        assert math.isnan(row.average)


def test_no_runs_give_an_empty_table() -> None:
    table = build_table([])
    assert (table.rows, table.columns) == ((), ())
    assert "no run" in to_latex(table)


def test_csv_holds_the_numbers_and_disarms_formulas() -> None:
    table = build_table([Run('=HYPERLINK("x")', 0.75), Run('=HYPERLINK("x")', 0.85, init_seed=1)])
    head, line = csv.reader(io.StringIO(to_csv(table)))
    assert tuple(head) == CSV_HEAD
    cells = dict(zip(head, line, strict=True))
    assert cells["method"] == '\'=HYPERLINK("x")'
    assert (cells["mean"], cells["std"], cells["n"]) == ("0.8", "0.0707107", "2")


def test_paper_practice_stands_apart_and_is_said_in_every_export() -> None:
    paper = [Run(value=0.9, selection="paper_practice", init_seed=seed) for seed in (0, 1)]
    assert "chosen on dev." in to_markdown(build_table([Run()]))
    alone = build_table(paper)
    for text in (to_markdown(alone), to_latex(alone)):
        assert "chosen on the reported split itself" in text
        assert "chosen on dev" not in text
    mixed = build_table([Run(), *paper])
    assert [len(row.cells) for row in mixed.rows] == [2]
    heads = to_markdown(mixed).splitlines()[0].split(" | ")
    assert ["paper practice" in head for head in heads] == [False, False, True]
    lines = list(csv.DictReader(io.StringIO(to_csv(mixed))))
    assert [line["selection"] for line in lines] == ["dev", "paper_practice"]


def test_markdown_marks_the_best_and_escapes_names() -> None:
    runs = [Run("a|b", 0.9), Run("a|b", 0.7, init_seed=1), Run("<i>", 0.5, flags=("collapsed",))]
    runs += [Run("<i>", 0.5, init_seed=1), Run("single", 0.99)]
    lines = to_markdown(build_table(runs)).splitlines()
    assert lines[0] == r"| method | desk, full\_data |"
    assert lines[2] == r"| a\|b | **80.0 ± 14.1** |"
    assert lines[3] == r"| \<i\> | *50.0 ± 0.0* (flagged 1/2) |"
    assert lines[4] == "| single | 99.0 (n = 1) |"
    assert lines[5] == "| majority class | 40.0 |"


def test_a_cell_without_a_number_says_why() -> None:
    runs = [
        Run("a", None, state="running"),
        Run("b", None, state="failed"),
        Run("c", None, state="cancelled"),
    ]
    lines = to_markdown(build_table(runs)).splitlines()[2:5]
    assert lines == ["| a | – (1 not ended) |", "| b | – (failed 1/1) |", "| c | – |"]


def test_a_mean_below_the_linear_probe_is_shown_as_such() -> None:
    values = {"linear_probe": (0.6, 0.7), "above": (0.9, 0.5), "below": (0.6, 0.6), "none": ()}
    runs = [
        Run(name, value, init_seed=seed)
        for name, found in values.items()
        for seed, value in enumerate(found or (None,))
    ]
    runs += [Run("below", 0.1, task="cb"), Run("linear_probe", 0.5, init_seed=2, regime="few_shot")]
    table = build_table(runs)
    marked = {(r.label, c.task) for r in table.rows for c, x in r.cells.items() if x.is_below_probe}
    assert marked == {("below", "desk")}, "of its own task and regime, whose mean is 65"
    lines = to_markdown(table).splitlines()
    assert [line for line in lines if "below probe" in line] == [lines[4]]
    assert "Below probe: " in to_latex(table)
    assert "Below probe: " not in to_latex(build_table([Run(), Run("linear_probe")]))


def test_latex_escapes_and_underlines_the_second() -> None:
    pairs = (("p_tuning_v2", 0.9), ("100 %", 0.8))
    text = to_latex(build_table([Run(*pair, init_seed=i) for pair in pairs for i in range(2)]))
    assert r"p\_tuning\_v2 & \textbf{90.0 $\pm$ 0.0} \\" in text
    assert r"100 \% & \underline{80.0 $\pm$ 0.0} \\" in text
    assert text.count(r"\midrule") == 2


def test_holm_multiplies_by_the_comparisons_that_are_left() -> None:
    assert holm([0.01, math.nan, 0.04, 0.03])[0::2] == pytest.approx([0.03, 0.06])
    assert holm([0.01, math.nan, 0.04, 0.03])[3] == pytest.approx(0.06)
    assert math.isnan(holm([math.nan])[0])
