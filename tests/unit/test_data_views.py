"""Histograms, samples and draws behind the page Data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.data_actions import name_from
from app.data_views import (
    MOST_BINS,
    MOST_SAMPLED,
    Asked,
    draw,
    histogram,
    measure,
    regime_of,
    sample_places,
)
from core.data.tokens import length_class
from core.errors import DataError, InputError
from core.recipe_parts import TaskChoice
from core.settings import Settings


@pytest.mark.parametrize("cut", [8, 13, 64, 128, 500])
@pytest.mark.parametrize("counted", [[5], [3, 3, 9], list(range(2, 400, 3)), [7, 900]])
def test_a_histogram_counts_every_input_once_and_no_bar_crosses_the_cut(
    counted: list[int], cut: int
) -> None:
    bars = histogram(counted, cut)
    assert sum(bar.count for bar in bars) == len(counted)
    assert len(bars) <= MOST_BINS + 1
    for bar in bars:
        assert bar.count == sum(bar.low <= length <= bar.high for length in counted)
        assert not bar.low <= cut < bar.high
    assert [bar.low for bar in bars[1:]] == [bar.high + 1 for bar in bars[:-1]]


def test_a_sample_has_both_ends_and_no_example_twice() -> None:
    assert sample_places(5) == [0, 1, 2, 3, 4]
    many = sample_places(27_243)
    assert len(set(many)) == MOST_SAMPLED
    assert (many[0], many[-1]) == (0, 27_242)


def test_lengths_count_what_the_model_reads_and_say_how_much_is_cut() -> None:
    found = measure([("one two three",), ("one",)], 2, "minilm", 4, offline=True)
    # [CLS] and [SEP] are counted too.
    assert (found.longest, found.cut, found.inputs) == (5, 1, 2)
    assert sum(bar.count for bar in found.bars if bar.low > 4) == found.cut
    assert length_class(found.longest) == 8


def test_a_regime_with_a_wrong_field_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^k: "):
        regime_of({"kind": "few_shot", "k": 0})
    with pytest.raises(InputError, match="no regime nothing"):
        regime_of({"kind": "nothing"})


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Reviews (2).csv", "my-reviews-2"), ("Überblick.tsv", "berblick"), ("---.csv", "my-data")],
)
def test_a_file_name_becomes_a_name(file: str, name: str) -> None:
    assert name_from(file) == name


def test_a_draw_is_shown_although_the_next_seed_can_draw_none(tmp_path: Path) -> None:
    for stem in ("train", "val"):
        rows = [{"text": f"{stem} {i}", "label": "ab"[i % 2]} for i in range(40)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{stem}.jsonl").write_text(text, encoding="utf-8")
    asked = Asked(TaskChoice(name="mine", folder=str(tmp_path), text_fields=("text",)))
    regime = regime_of({"kind": "few_shot", "count": "in_all", "k": 2})
    again: dict[int, int | None] = {}
    for seed in range(31):
        try:
            again[seed] = draw(Settings(), asked, regime, seed).again
        except DataError:
            continue
    before_none = {seed for seed in again if seed < 30 and seed + 1 not in again}
    assert before_none
    assert {seed for seed in again if seed < 30 and again[seed] is None} == before_none
