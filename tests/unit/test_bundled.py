"""The two bundled data sets: balance, no leaks between the splits, nothing to be had cheaply."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from core.tasks.bundled import build

Row = dict[str, int | str]

TEAMS = {
    "accounts",
    "billing",
    "facilities",
    "hardware",
    "hiring",
    "returns",
    "shipping",
    "software",
}
TEXTS = {"desk": ("text",), "clauses": ("text1", "text2")}
COUNTS = {("desk", "train"): 1000, ("desk", "test"): 256}
COUNTS |= {("clauses", "train"): 1152, ("clauses", "test"): 288}


@cache
def rows(name: str, split: str) -> list[Row]:
    """Examples of a committed file."""
    content = (build.HERE / name / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in content.split("\n") if line]


def normal(row: Row, name: str) -> str:
    """All texts of an example, normalised."""
    return " / ".join(build.normalise(str(row[field])) for field in TEXTS[name])


def naive_bayes(train: list[Row], test: list[Row], words: Callable[[Row], set[str]]) -> float:
    """Test accuracy, in percent, of a naive Bayes classifier over sets of words."""
    seen: dict[str, Counter[str]] = {}
    labels = Counter(str(row["label"]) for row in train)
    for row in train:
        seen.setdefault(str(row["label"]), Counter()).update(words(row))
    known = {word for counts in seen.values() for word in counts}

    def score(row: Row, label: str) -> float:
        total = seen[label].total() + len(known)
        return math.log(labels[label]) + sum(
            math.log((seen[label][word] + 1) / total) for word in words(row) & known
        )

    right = sum(
        max(sorted(labels), key=lambda name: score(row, name)) == row["label"] for row in test
    )
    return 100 * right / len(test)


def test_files_equal_the_generators_output() -> None:
    made = build.build()
    assert len(made) == 7
    for path, text in made.items():
        assert path.read_bytes() == text.encode("utf-8"), path.name


def test_check_flag_reports_a_changed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "train.jsonl"
    stale.write_text("old\n", encoding="utf-8")
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "build", lambda: {stale: "new\n"})
    assert build.main(["--check"]) == 1
    assert stale.read_text(encoding="utf-8") == "old\n"
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    assert "differs" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_counts_numbers_and_balance(name: str, split: str) -> None:
    examples = rows(name, split)
    assert len(examples) == COUNTS[name, split]
    assert [row["idx"] for row in examples] == list(range(len(examples)))
    labels = Counter(row["label"] for row in examples)
    assert set(labels) == (TEAMS if name == "desk" else {"supported", "refuted"})
    assert len(set(labels.values())) == 1


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_and_no_group_is_on_both_sides(name: str) -> None:
    train, test = rows(name, "train"), rows(name, "test")
    everything = [normal(row, name) for row in train + test]
    assert len(set(everything)) == len(everything)
    assert not {row["group"] for row in train} & {row["group"] for row in test}


def test_desk_messages_are_short() -> None:
    for row in rows("desk", "train") + rows("desk", "test"):
        assert 5 <= len(str(row["text"]).split()) <= 30, row["text"]


def test_desk_has_no_near_duplicate_across_the_splits() -> None:
    train, test = (
        [frozenset(build.tokens(str(row["text"]))) for row in rows("desk", split)]
        for split in build.SPLITS
    )
    nearest = max(build.overlap(left, right) for left, right in product(train, test))
    assert nearest < build.DESK_MAX_OVERLAP


def test_desk_is_more_than_keywords() -> None:
    accuracy = naive_bayes(
        rows("desk", "train"),
        rows("desk", "test"),
        lambda row: set(build.tokens(str(row["text"]))),
    )
    assert 40 < accuracy < 75


def test_clauses_things_and_people_are_split() -> None:
    people = set(build.read_sections(build.HERE / "clauses" / "worlds.txt")["people"])
    named = [
        {word for row in rows("clauses", split) for word in str(row["text1"]).split()} & people
        for split in build.SPLITS
    ]
    assert all(named)
    assert not named[0] & named[1]


def test_clauses_design_is_balanced() -> None:
    for split in build.SPLITS:
        cells = Counter(
            (str(row["group"]).split("-")[0], row["cue"], row["place"], row["label"])
            for row in rows("clauses", split)
        )
        claimed = Counter((row["label"], row["claimed"]) for row in rows("clauses", split))
        assert len(cells) == 4 * 6 * 3 * 2
        assert len(set(cells.values())) == 1
        assert len(set(claimed.values())) == 1


def test_clauses_label_follows_from_cue_and_claimed_place() -> None:
    for row in rows("clauses", "train") + rows("clauses", "test"):
        assert (row["label"] == "supported") == (row["claimed"] == row["place"])


@pytest.mark.parametrize("field", ["text1", "text2", "both", "crossed"])
def test_clauses_cannot_be_had_from_words_alone(field: str) -> None:
    def words(row: Row) -> set[str]:
        first = {f"1 {word}" for word in build.tokens(str(row["text1"]))}
        second = {f"2 {word}" for word in build.tokens(str(row["text2"]))}
        crossed = {f"{left} {right}" for left, right in product(first, second)}
        return {"text1": first, "text2": second, "both": first | second, "crossed": crossed}[field]

    accuracy = naive_bayes(rows("clauses", "train"), rows("clauses", "test"), words)
    assert abs(accuracy - 50) < 10
