"""Each SuperGLUE task is read as its files have it, with its spans, choices and groups."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.data.examples import Example
from core.data.readers import Row, to_examples
from core.data.tasks import read_task
from core.errors import DataError
from core.metrics import METRICS
from core.recipe_parts import TaskChoice
from core.tasks import TASKS
from tests.real_data import real_task
from tests.suite_files import (
    CB_LABELS,
    RTE_LABELS,
    news_line,
    pair_lines,
    passage_line,
    write_lines,
)
from tests.task_lines import LINES, examples_of

OFFICIAL_SIZES = {
    "boolq": (9427, 3270),
    "cb": (250, 56),
    "copa": (400, 100),
    "multirc": (27243, 4848),
    "record": (100730, 10000),
    "rte": (2490, 277),
    "wic": (5428, 638),
    "wsc": (554, 104),
}


def read(name: str, *lines: dict[str, Any], template: str = "") -> tuple[Example, ...]:
    rows = [Row(number, line) for number, line in enumerate(lines, start=1)]
    spec = TASKS[name]
    return to_examples(rows, spec, spec.labels, Path("train.jsonl"), template=template)


def test_the_suite_is_complete_and_declares_what_the_tables_need() -> None:
    suite = {spec.name: spec for spec in TASKS.values() if spec.suite == "superglue"}
    assert {n: (s.counts["train"], s.counts["val"]) for n, s in suite.items()} == OFFICIAL_SIZES
    assert all(set(spec.official) <= set(spec.metrics) for spec in suite.values())
    assert all(spec.official for spec in suite.values())
    for spec in TASKS.values():
        assert set(spec.metrics) <= set(METRICS)
        assert set(spec.label_words) in ({*spec.labels}, set())
        assert all(TASKS[name].suite == "diagnostic" for name in spec.diagnostics)
    assert TASKS["multirc"].metrics[0] == "accuracy"
    assert TASKS["multirc"].official == ("f1a", "exact_match")


@pytest.mark.parametrize(
    ("name", "template", "row"),
    [
        ("boolq", "", ("hypothesis: {q}. premise: {p}",)),
        ("boolq", "p_tuning_v2", ("{q}", "{p}")),
    ],
)
def test_boolq_is_rendered_as_the_papers_code_does_by_default(
    name: str, template: str, row: tuple[str, ...]
) -> None:
    line = LINES[name][0]
    wanted = tuple(segment.format(q=line["question"], p=line["passage"]) for segment in row)
    assert examples_of(name, template)[0].rows == (wanted,)


def test_the_papers_templates_of_the_other_tasks() -> None:
    premise, hypothesis = LINES["rte"][0]["premise"], LINES["rte"][0]["hypothesis"]
    assert examples_of("rte")[0].rows[0] == (f"sentence1: {premise} sentence2: {hypothesis}",)
    assert examples_of("cb")[0].rows[0] == (f"hypothesis: {hypothesis}. premise: {premise}",)
    assert examples_of("ax-b")[0].rows[0] == (
        "sentence1: We were at work. sentence2: We were not at the film.",
    )
    assert examples_of("wic")[0].rows[0] == (
        "sentence1: My book is good. sentence2: The books are bad. word: book",
    )
    assert examples_of("multirc")[0].rows[0] == (
        "question: Where were they? answer: At the film. "
        "paragraph: They were at the film. The film was good.",
    )


def test_an_example_of_multirc_is_an_answer_grouped_by_passage_and_question() -> None:
    examples = read("multirc", passage_line(7), passage_line(8))
    assert len(examples) == 10
    assert len({example.group for example in examples}) == 2
    assert Counter(e.question for e in examples) == {"7/0": 3, "7/1": 2, "8/0": 3, "8/1": 2}
    assert examples[3].id == '{"answer":3,"passage":7,"question":1}'
    assert [example.label for example in examples[:5]] == [0, 1, 0, 1, 0]


def test_an_empty_answer_of_multirc_counts_but_an_empty_question_is_refused() -> None:
    line = passage_line(0)
    line["passage"]["questions"][0]["answers"][1]["text"] = ""
    assert len(read("multirc", line)) == 5
    line["passage"]["questions"][1]["question"] = " "
    with pytest.raises(DataError, match=r"train.jsonl, line 1: field 'question' is empty"):
        read("multirc", line)


def test_choices_of_record_are_distinct_entities_and_fill_the_gap() -> None:
    first, second = read("record", news_line(3))
    assert first.choices == ("Ada", "Bob", "Rome")
    assert (first.right, first.label) == ((0,), 0)
    assert (second.right, second.label) == ((1, 2), 1)
    assert first.rows[1] == (
        "On the last day Bob left; Bob was glad.",
        "Ada met Bob in Rome. Ada left on day 3",
    )
    assert len(second.rows) == 3
    assert first.group == second.group
    assert (first.id, second.id) == ('{"passage":3,"query":6}', '{"passage":3,"query":7}')
    assert first.rows[0][1] is first.rows[2][1], "choices share their passage in memory"


def test_a_choice_of_copa_is_a_row_with_its_connective() -> None:
    cause, effect = examples_of("copa")
    assert cause.rows == (
        ("The book was wrong. because", "He was at work."),
        ("The book was wrong. because", "She wrote it."),
    )
    assert effect.rows[0][0].endswith(" so")
    assert (cause.label, cause.right, effect.label, effect.right) == (0, (0,), 1, (1,))
    assert cause.choices == ("He was at work.", "She wrote it.")


def test_the_place_of_the_word_in_wic_reaches_the_model() -> None:
    line = {**LINES["wic"][0], "sentence1": "book the book", "start1": 9, "end1": 13}
    (example,) = read("wic", line, template="marked")
    assert example.rows[0] == ("book: book the *book*", "The *books* are bad.")
    with pytest.raises(DataError, match=r"line 1: start1 9 to end1 40 is no word of sentence1"):
        read("wic", {**line, "end1": 40})


def test_both_spans_of_wsc_reach_the_model_by_their_word_index() -> None:
    line = {
        "text": "Ann told Ann's aunt that she, the aunt, knew it.",
        "target": {
            "span1_text": "the aunt",
            "span1_index": 6,
            "span2_text": "She",
            "span2_index": 5,
        },
        "label": True,
        "idx": 0,
    }
    (example,) = read("wsc", line)
    assert example.rows[0][0] == "Ann told Ann's aunt that #she,# *the aunt,* knew it."
    assert TASKS["wsc"].labels[example.label] == "same"


def test_a_span_of_wsc_may_be_one_word_off_and_no_further() -> None:
    line = copy.deepcopy(LINES["wsc"][0])
    line["target"]["span2_index"] = 9
    (example,) = read("wsc", line)
    assert example.rows[0][0].endswith("with #it.#")
    line["target"]["span2_index"] = 3
    with pytest.raises(
        DataError, match=r"line 1: span2 is 'it', but word 3 of the text is 'great'"
    ):
        read("wsc", line)


def test_pairs_of_ax_g_are_consecutive_and_complete(tmp_path: Path) -> None:
    write_lines(tmp_path / "AX-g", "AX-g", pair_lines(5, RTE_LABELS))
    for name in ("train", "val"):
        write_lines(tmp_path / "RTE", name, pair_lines(60, RTE_LABELS))
    write_lines(tmp_path / "AX-b", "AX-b", LINES["ax-b"])
    choice = TaskChoice(name="rte", diagnostics=True)
    with pytest.raises(DataError, match=r"AX-g.jsonl: line number 4 \(idx\) has no partner"):
        read_task(choice, [tmp_path])
    write_lines(tmp_path / "AX-g", "AX-g", pair_lines(6, RTE_LABELS))
    extra = read_task(choice, [tmp_path]).extra
    assert [e.question for e in extra["ax-g"].examples] == ["0", "0", "1", "1", "2", "2"]
    assert extra["ax-b"].metrics == ("matthews", "accuracy")
    assert read_task(TaskChoice(name="rte"), [tmp_path]).extra == {}


def test_missing_diagnostics_are_named_and_other_tasks_have_none(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_lines(tmp_path / "RTE", name, pair_lines(60, RTE_LABELS))
        write_lines(tmp_path / "CB", name, pair_lines(60, CB_LABELS))
    with pytest.raises(DataError, match=r"'ax-b' has no file AX-b.jsonl here .*looked in"):
        read_task(TaskChoice(name="rte", diagnostics=True), [tmp_path])
    with pytest.raises(DataError, match="'cb' has no diagnostic sets"):
        read_task(TaskChoice(name="cb", diagnostics=True), [tmp_path])
    with pytest.raises(DataError, match="never trained on. Choose rte with diagnostics"):
        read_task(TaskChoice(name="ax-g"), [tmp_path])


WRONG = [
    ("rte", pair_lines(3, CB_LABELS), "label 'contradiction'", "CB"),
    ("cb", pair_lines(3, RTE_LABELS), "label 'not_entailment'", "AX-g or RTE"),
    ("boolq", [passage_line(0)], "no field 'question'", "MultiRC"),
    ("multirc", LINES["boolq"], "'passage' is .*, not an object", "BoolQ"),
    ("copa", LINES["wic"], "no field 'premise'", "WiC"),
    ("wic", LINES["ax-b"], "no field 'word'", "AX-b"),
    ("wsc", [news_line()], "no field 'target'", "ReCoRD"),
    ("record", LINES["wsc"], "no field 'passage'", "WSC"),
    ("rte", LINES["ax-b"], "no field 'premise'", "AX-b"),
]


@pytest.mark.parametrize(("task", "lines", "fault", "looks_like"), WRONG)
def test_a_file_of_another_task_is_recognised(
    task: str, lines: list[dict[str, Any]], fault: str, looks_like: str
) -> None:
    with pytest.raises(DataError, match=fault) as raised:
        read(task, *lines)
    assert looks_like in raised.value.hint
    assert f"folder of {TASKS[task].title}" in raised.value.hint


def hidden(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "label"} for line in lines]


def test_the_official_test_file_is_answered_but_nothing_is_measured_on_it(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_lines(tmp_path / "RTE", name, pair_lines(60, RTE_LABELS))
    version = read_task(TaskChoice(name="rte"), [tmp_path]).version
    write_lines(tmp_path / "RTE", "test", hidden(pair_lines(9, RTE_LABELS)))
    data = read_task(TaskChoice(name="rte"), [tmp_path])
    found = data.extra["leaderboard"]
    assert (len(found.examples), found.metrics) == (9, ())
    assert {example.label for example in found.examples} == {-1}
    assert found.examples[4].id == "4"
    assert (data.test_source, data.version) == ("val.jsonl", version)


def test_a_test_file_with_labels_is_never_read_as_test(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_lines(tmp_path / "RTE", name, pair_lines(60, RTE_LABELS))
    write_lines(tmp_path / "RTE", "test", pair_lines(9, RTE_LABELS))
    data = read_task(TaskChoice(name="rte"), [tmp_path])
    assert (len(data.test), data.extra) == (60, {})
    assert "test.jsonl is not read: it has labels" in " ".join(data.notes)
    write_lines(tmp_path / "RTE", "test", hidden(LINES["copa"]))
    notes = " ".join(read_task(TaskChoice(name="rte"), [tmp_path]).notes)
    assert "test.jsonl is left out of the leaderboard answers" in notes


def test_a_missing_label_is_refused_wherever_something_is_measured(tmp_path: Path) -> None:
    write_lines(tmp_path / "RTE", "train", pair_lines(60, RTE_LABELS))
    write_lines(tmp_path / "RTE", "val", hidden(pair_lines(9, RTE_LABELS)))
    with pytest.raises(DataError, match=r"val.jsonl, line 1: no field 'label'"):
        read_task(TaskChoice(name="rte"), [tmp_path])


@pytest.mark.parametrize("name", ["cb", "copa", "multirc", "rte", "wic", "wsc"])
def test_every_example_of_the_real_files_is_read(name: str) -> None:
    data = real_task(name)
    assert (len(data.train), len(data.test)) == OFFICIAL_SIZES[name]
    assert data.notes == ()
    assert len({example.id for example in data.train}) == len(data.train)


@pytest.mark.parametrize("template", TASKS["wsc"].template_names)
def test_all_spans_of_the_real_wsc_are_found(template: str) -> None:
    data = real_task("wsc", template=template)
    if template == "marked":
        marks = [example.rows[0][0] for example in (*data.train, *data.dev, *data.test)]
        assert all(text.count("#") == 2 and text.count("*") == 2 for text in marks)
    assert len(data.test) == 104
