"""Metrics: published definitions on cases counted by hand, and a slow literal twin of each."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.tasks import read_task
from core.metrics import LOWEST, METRICS, TITLES, Judged
from core.metrics.classes import accuracy, confusion, macro_f1, matthews
from core.metrics.entities import comparable, record_em, record_f1, token_f1
from core.metrics.questions import exact_match, f1a, gender_parity
from core.recipe_parts import TaskChoice
from core.tasks import TASKS

OFFICIAL = Path(__file__).resolve().parents[3] / "shared/data/superglue/MultiRC"
THREE_CLASSES = Judged.of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2], 3)
# Three questions about two passages; what a run says about each of their nine answers.
QUESTIONS = ("0/0", "0/0", "0/0", "0/1", "0/1", "1/2", "1/2", "1/2", "1/2")
RIGHT = (1, 0, 1, 0, 1, 0, 0, 1, 0)
GIVEN = (1, 0, 0, 0, 1, 1, 0, 1, 0)


def judged(
    labels: Sequence[int], predictions: Sequence[int], num_labels: int = 2, **more: Any
) -> Judged:
    return Judged(np.array(labels, int), np.array(predictions, int), num_labels, **more)


def entities(given: int, right: tuple[int, ...], choices: tuple[str, ...]) -> Judged:
    """One query of ReCoRD."""
    return judged([right[0]], [given], 0, right=[right], choices=[choices])


# ---- classes


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert accuracy(THREE_CLASSES) == pytest.approx(4 / 6)


def test_any_of_several_right_choices_is_right() -> None:
    found = judged([0, 1], [2, 0], 0, right=[(0, 2), (1,)], choices=[("a", "b", "c"), ("d", "e")])
    assert accuracy(found) == 0.5


def test_confusion_has_right_classes_in_rows() -> None:
    assert confusion(THREE_CLASSES).tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_macro_f1_is_the_mean_over_the_classes() -> None:
    # F1 by class: 2*2/(3+3), 2*1/(2+2), 2*1/(1+1)
    assert macro_f1(THREE_CLASSES) == pytest.approx((4 / 6 + 1 / 2 + 1) / 3)


def test_macro_f1_counts_a_class_that_never_occurs_as_zero() -> None:
    assert macro_f1(Judged.of([0, 1], [0, 1], 4)) == pytest.approx(0.5)


def test_matthews_equals_the_two_class_formula() -> None:
    labels, predictions = [1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1]
    hits, rejections, false_alarms, misses = 2, 4, 1, 1
    product = (
        (hits + false_alarms)
        * (hits + misses)
        * (rejections + false_alarms)
        * (rejections + misses)
    )
    expected = (hits * rejections - false_alarms * misses) / math.sqrt(product)
    assert matthews(Judged.of(labels, predictions, 2)) == pytest.approx(expected)


def test_matthews_of_constant_predictions_is_zero_and_of_wrong_ones_minus_one() -> None:
    assert matthews(Judged.of([0, 1, 1], [1, 1, 1], 2)) == 0.0
    assert matthews(Judged.of([0, 1, 1], [1, 0, 0], 2)) == pytest.approx(LOWEST["matthews"])


# ---- questions and pairs


def test_multirc_has_three_numbers_in_one_prediction_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    columns = {"label": RIGHT, "prediction": GIVEN, "question": QUESTIONS}
    pq.write_table(pa.table(columns), path)
    read = pq.read_table(path).to_pydict()
    found = judged(read["label"], read["prediction"], questions=read["question"])
    numbers = {name: METRICS[name](found) for name in TASKS["multirc"].metrics}
    # 7 of 9 answers; true: 4, said to be true: 4, both: 3; of the questions only 0/1 is all right.
    assert numbers == {
        "accuracy": pytest.approx(7 / 9),
        "f1a": pytest.approx(2 * 3 / (4 + 4)),
        "exact_match": pytest.approx(1 / 3),
    }


def test_f1a_without_a_true_answer_is_zero() -> None:
    assert f1a(judged([0, 0], [0, 0])) == 0.0
    assert f1a(judged([1, 1], [0, 0])) == 0.0


def test_exact_match_does_not_need_answers_side_by_side() -> None:
    order = [8, 0, 3, 5, 1, 7, 2, 4, 6]
    shuffled = judged(
        [RIGHT[i] for i in order],
        [GIVEN[i] for i in order],
        questions=[QUESTIONS[i] for i in order],
    )
    assert exact_match(shuffled) == pytest.approx(1 / 3)


def test_parity_asks_whether_the_two_of_a_pair_agree_not_whether_they_are_right() -> None:
    pairs = ("a", "a", "b", "b", "c", "c")
    found = judged([0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 1], questions=pairs)
    assert gender_parity(found) == pytest.approx(2 / 3)
    assert accuracy(found) == pytest.approx(3 / 6)


def test_an_example_without_its_partner_says_nothing_about_parity() -> None:
    found = judged([0, 0, 1], [1, 1, 1], questions=("a", "a", "b"))
    assert gender_parity(found) == 1.0
    assert math.isnan(gender_parity(judged([0], [1], questions=("a",))))
    assert math.isnan(gender_parity(judged([0, 1], [0, 1])))


# ---- entities


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The  U.S. Army", "us army"),
        ("an apple, a day", "apple day"),
        ("Theodore's \t theatre", "theodores theatre"),
        ("the", ""),
        ("São-Paulo", "sãopaulo"),
    ],
)
def test_answers_are_compared_without_case_punctuation_articles_and_spaces(
    text: str, same: str
) -> None:
    assert comparable(text) == same


def test_record_takes_the_nearest_right_entity() -> None:
    choices = ("Barack Obama", "the Obama", "Michelle Obama", "Chicago")
    # Given "obama": one of one word shared, of two right ones.
    found = entities(1, (0, 2), choices)
    assert record_f1(found) == pytest.approx(2 * 1 / (1 + 2))
    assert record_em(found) == 0.0
    assert record_em(entities(2, (0, 2), choices)) == 1.0
    assert record_f1(entities(3, (0, 2), choices)) == 0.0


def test_equal_texts_at_different_places_are_equal_answers() -> None:
    found = entities(0, (1,), ("The Hague", "hague."))
    assert (record_em(found), record_f1(found), accuracy(found)) == (1.0, 1.0, 0.0)


def test_token_f1_counts_repeats() -> None:
    # Shared: new, york once; 2*2 / (4 + 2)
    assert token_f1("New York, New York", "York New") == pytest.approx(4 / 6)
    assert token_f1("the", "a") == 0.0


# ---- all


def perfect(name: str) -> Judged:
    """Right answers alone, in whatever form the metric reads."""
    if name.startswith("record"):
        return entities(1, (1,), ("a man", "Rome"))
    return judged([0, 1, 1, 0], [0, 1, 1, 0], questions=("a", "b", "b", "a"))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_perfect_on_right_answers_and_nan_on_none(name: str) -> None:
    assert METRICS[name](perfect(name)) == pytest.approx(1.0)
    assert math.isnan(METRICS[name](Judged.of([], [], 2)))


def test_what_no_metric_could_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        Judged.of([0, 1], [0], 2)
    with pytest.raises(ValueError, match="1 questions and 2 labels do not match"):
        judged([0, 1], [0, 1], questions=("a",))
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        Judged.of([0, 2], [0, 1], 2)


def test_every_metric_that_a_task_names_exists_and_has_a_title() -> None:
    named = {name for spec in TASKS.values() for name in (*spec.metrics, *spec.official)}
    assert named <= set(METRICS) <= set(TITLES)
    for spec in TASKS.values():
        assert set(spec.official) <= set(spec.metrics)


# ---- the twins: definitions written out example by example, in exact fractions


@st.composite
def answered(draw: st.DrawFn) -> Judged:
    """Answers to questions, two classes, in any order."""
    size = draw(st.integers(1, 24))
    lists = st.lists(st.integers(0, 1), min_size=size, max_size=size)
    names = st.lists(st.sampled_from("abcdef"), min_size=size, max_size=size)
    return judged(draw(lists), draw(lists), questions=tuple(draw(names)))


def f1_of_class(found: Judged, wanted: int) -> Fraction:
    """F1 of one class by precision and recall."""
    pairs = list(zip(found.labels.tolist(), found.predictions.tolist(), strict=True))
    hits = sum(right == wanted == given for right, given in pairs)
    claimed = sum(given == wanted for _, given in pairs)
    true = sum(right == wanted for right, _ in pairs)
    if not hits:
        return Fraction(0)
    precision, recall = Fraction(hits, claimed), Fraction(hits, true)
    return 2 * precision * recall / (precision + recall)


@given(answered())
def test_f1_metrics_equal_precision_and_recall_written_out(found: Judged) -> None:
    assert f1a(found) == pytest.approx(float(f1_of_class(found, 1)))
    both = (f1_of_class(found, 0) + f1_of_class(found, 1)) / 2
    assert macro_f1(found) == pytest.approx(float(both))


@given(answered())
def test_question_metrics_equal_their_definitions_written_out(found: Judged) -> None:
    rows = list(zip(found.questions, found.labels, found.predictions, strict=True))
    names = sorted(set(found.questions))
    whole = [all(right == given for name, right, given in rows if name == one) for one in names]
    assert exact_match(found) == pytest.approx(sum(whole) / len(whole))
    said = [{given for name, _, given in rows if name == one} for one in names]
    sizes = [sum(name == one for name, _, _ in rows) for one in names]
    agree = [len(given) == 1 for given, size in zip(said, sizes, strict=True) if size > 1]
    expected = sum(agree) / len(agree) if agree else math.nan
    assert gender_parity(found) == pytest.approx(expected, nan_ok=True)


@given(answered())
def test_matthews_is_the_correlation_of_the_two_indicators(found: Judged) -> None:
    right, given = found.labels, found.predictions
    if len(set(right)) < 2 or len(set(given)) < 2:
        assert matthews(found) == 0.0
    else:
        assert matthews(found) == pytest.approx(np.corrcoef(right, given)[0, 1])


WORDS = st.sampled_from(["the", "The", "A", "an", "Obama", "obama.", "U.S.", "York", "new", "-"])


def literal(text: str) -> list[str]:
    """Normalise letter by letter and word by word."""
    letters = [letter.lower() for letter in text if letter not in string.punctuation]
    return [word for word in "".join(letters).split() if word not in ("a", "an", "the")]


def literal_f1(given: list[str], right: list[str]) -> Fraction:
    """F1 of two lists of words, striking out each shared word once."""
    rest, shared = list(right), 0
    for word in given:
        if word in rest:
            rest.remove(word)
            shared += 1
    if not shared:
        return Fraction(0)
    precision, recall = Fraction(shared, len(given)), Fraction(shared, len(right))
    return 2 * precision * recall / (precision + recall)


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=5),
    st.data(),
)
def test_entity_metrics_equal_their_definitions_written_out(
    choices: list[str], data: st.DataObject
) -> None:
    places = st.integers(0, len(choices) - 1)
    right = tuple(sorted(data.draw(st.sets(places, min_size=1))))
    given_place = data.draw(places)
    found = entities(given_place, right, tuple(choices))
    mine = literal(choices[given_place])
    theirs = [literal(choices[place]) for place in right]
    assert record_em(found) == float(any(mine == one for one in theirs))
    assert record_f1(found) == pytest.approx(float(max(literal_f1(mine, one) for one in theirs)))


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"no real MultiRC in {OFFICIAL}")
def test_multirc_of_the_real_file_with_one_constant_answer() -> None:
    examples = read_task(TaskChoice(name="multirc", folder=str(OFFICIAL))).test
    labels, questions = [e.label for e in examples], [e.question for e in examples]
    always = judged(labels, [1] * len(labels), questions=questions)
    never = judged(labels, [0] * len(labels), questions=questions)
    # 953 questions, 4,848 answers of which 2,075 are true.
    assert (len(labels), sum(labels), len(set(questions))) == (4848, 2075, 953)
    assert f1a(always) == pytest.approx(2 * 2075 / (4848 + 2075))
    assert f1a(never) == 0.0
    assert accuracy(never) == pytest.approx(2773 / 4848)
    lines = (OFFICIAL / "val.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    asked = [one["answers"] for row in rows for one in row["passage"]["questions"]]
    for value, found in ((1, always), (0, never)):
        whole = [all(answer["label"] == value for answer in answers) for answers in asked]
        assert exact_match(found) == pytest.approx(sum(whole) / 953)
