"""What a person types becomes the rows that training made of the same texts."""

from __future__ import annotations

import pytest

from core.data.typed import plain_input, typed_input, why_not_typed
from core.errors import InputError
from core.tasks import TASKS
from core.texts import MOST_CHARACTERS
from tests.task_lines import LINES, examples_of

TYPED = [
    (name, template)
    for name, spec in TASKS.items()
    if spec.typed_fields and name in LINES
    for template in spec.template_names
]


@pytest.mark.parametrize(("name", "template"), TYPED)
def test_typed_texts_read_as_in_training(name: str, template: str) -> None:
    found = examples_of(name, template)
    for example in found:
        assert len(example.typed) == len(TASKS[name].typed_fields)
        assert typed_input(TASKS[name], example.typed, template).rows == example.rows


def test_every_task_that_can_be_typed_is_tested() -> None:
    own_labels = {"desk", "clauses", "position", "sst2"}
    assert {name for name, spec in TASKS.items() if spec.typed_fields} <= own_labels | set(LINES)


def words(name: str, texts: tuple[str, ...], template: str = "") -> list[list[str]]:
    """What came from the fields, for each row, segment after segment."""
    typed = typed_input(TASKS[name], texts, template)
    return [
        [segment[a:b] for segment, places in zip(row, filled, strict=True) for a, b in places]
        for row, filled in zip(typed.rows, typed.filled, strict=True)
    ]


def test_the_words_of_a_template_are_told_from_what_was_typed() -> None:
    texts = ("a {curly} premise", "hypothesis: no")
    assert words("rte", texts, "paper_code") == [list(texts)]
    typed = typed_input(TASKS["rte"], texts, "paper_code")
    assert typed.rows == (("sentence1: a {curly} premise sentence2: hypothesis: no",),)
    assert not typed.is_typed(0, 0, 0, len("sentence1:"))
    assert typed.is_typed(0, 0, len("sentence1: "), len("sentence1: a"))
    assert not typed.is_typed(0, -1, 0, 5)
    assert words("copa", ("He fell.", "cause", "a", "b")) == [
        ["He fell.", "because", "a"],
        ["He fell.", "because", "b"],
    ]
    (marked,) = words("wic", ("bank", "the bank", "Banks!"), "marked")
    assert marked == ["bank", "the *bank*", "*Banks*!"]


@pytest.mark.parametrize(
    ("name", "template", "texts", "told"),
    [
        ("rte", "", ("a premise",), "1 text given; expected are 2: premise, hypothesis"),
        ("rte", "", ("a premise", "\n "), "'hypothesis' is empty"),
        ("rte", "", ("x" * (MOST_CHARACTERS + 1), "y"), "'premise' has 20,001 characters"),
        ("wic", "marked", ("go", "they go", "he went"), "'go' does not occur in sentence2"),
        ("wsc", "", ("The dog ran.", "the dog", "it"), "'it' does not occur in the text"),
        ("copa", "", ("It rained.", "why", "a", "b"), "neither cause nor effect"),
        ("record", "", ("a", "b"), "An input of ReCoRD cannot be typed"),
    ],
)
def test_texts_that_are_no_input_are_refused_with_the_reason(
    name: str, template: str, texts: tuple[str, ...], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        typed_input(TASKS[name], texts, template)


def test_a_template_without_the_place_of_the_word_does_not_need_it() -> None:
    (row,) = typed_input(TASKS["wic"], ("go", "they go", "he went"), "paper_code").rows
    assert row == ("sentence1: they go sentence2: he went word: go",)


def test_only_tasks_whose_choices_come_marked_cannot_be_typed() -> None:
    assert [name for name, spec in TASKS.items() if why_not_typed(spec)] == ["record"]


def test_columns_of_ones_own_may_be_called_anything() -> None:
    typed = plain_input(("the {text}", "a.b[0]"), ("one {x}", "two"))
    assert typed.rows == (("one {x}", "two"),)
    assert typed.is_typed(0, 1, 0, 3)
    with pytest.raises(InputError, match=r"'a\.b\[0\]' is empty"):
        plain_input(("the {text}", "a.b[0]"), ("one", ""))
