"""Answers for every kind of task, and by runs that were trained jointly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.backbones.facts import read_out_of
from core.data.examples import Example
from core.inference.predictor import AdapterRef, Predictor
from core.training.checkpoint import (
    load_adapter,
)
from core.training.evaluate import Scores, Scoring, evaluate
from core.training.warm import WarmBackbone
from tests.adapter_shelf import METHODS, Shelf, card_of
from tests.task_lines import examples_of


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def refs(shelf: Shelf) -> dict[str, AdapterRef]:
    return {name: shelf.add(name, method) for name, method in METHODS.items()}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(offline=True)


def scored(shelf: Shelf, ref: AdapterRef, examples: tuple[Example, ...], name: str) -> Scores:
    """Scores of examples as an evaluation gives them."""
    part = load_adapter(ref.folder, shelf.backbone).part(name)
    split = WarmBackbone(shelf.backbone).split(examples, 32)
    feature = None
    if part.method.needs_feature:
        feature = split.feature(shelf.backbone, part.method.averages_padding)
    read_out = read_out_of(shelf.config(METHODS["split"]).backbone, shelf.backbone.facts)
    (scores,) = evaluate(shelf.backbone, [Scoring(part, split, read_out, feature)])
    assert scores is not None
    return scores


@pytest.mark.parametrize("method", ["dynamic", "authored", "deep"])
@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("rte", "paper_code"),
        ("cb", "p_tuning_v2"),
        ("multirc", "paper_code"),
        ("wic", "marked"),
        ("wsc", "marked"),
        ("copa", "p_tuning_v2"),
    ],
)
def test_the_answer_to_an_example_equals_its_evaluation(
    predictor: Predictor, shelf: Shelf, name: str, template: str, method: str
) -> None:
    card = card_of(name, template)
    ref = shelf.add(f"{name} {method}", METHODS[method], card)
    examples = examples_of(name, template)
    scores = scored(shelf, ref, examples, name)
    for row, example in enumerate(examples):
        (answer,) = predictor.answer(example.typed, [ref])
        assert answer.error == ""
        assert list(answer.probabilities) == list(card.labels)
        assert list(answer.probabilities.values()) == pytest.approx(
            scores.probabilities()[row], abs=1e-6
        )
        assert answer.label == card.labels[scores.predictions[row]]
        assert {one.axis: one.chosen for one in answer.choices} == {
            axis: chosen.index[scores.answer_rows[row]] for axis, chosen in scores.chosen.items()
        }


def test_a_choice_is_answered_with_the_row_of_the_likelier_one(
    predictor: Predictor, shelf: Shelf
) -> None:
    ref = shelf.add("choices", METHODS["dynamic"], card_of("copa"))
    texts = ("the film was wrong", "cause", "he was bad", "she was with a great book")
    (answer,) = predictor.answer(texts, [ref])
    assert list(answer.probabilities) == ["choice1", "choice2"]
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    chosen = texts[2:][["choice1", "choice2"].index(answer.label)]
    assert " ".join(answer.tokens).endswith(f"[SEP] {chosen} [SEP]")
    # Both sides change places with the choices: the head sees each row alone.
    (turned,) = predictor.answer((*texts[:2], texts[3], texts[2]), [ref])
    assert turned.label != answer.label
    assert sorted(turned.probabilities.values()) == pytest.approx(
        sorted(answer.probabilities.values()), abs=1e-6
    )
    assert turned.tokens == answer.tokens


def test_words_of_the_template_are_told_from_typed_ones(predictor: Predictor, shelf: Shelf) -> None:
    ref = shelf.add("added", METHODS["split"], card_of("multirc"), max_tokens=96)
    (answer,) = predictor.answer(("the film", "where", "at work"), [ref])
    typed = [t for t, is_added in zip(answer.tokens, answer.added, strict=True) if not is_added]
    assert typed == ["where", "at", "work", "the", "film"]
    assert answer.tokens[0] == "[CLS]"
    assert answer.added[0]


def test_a_joint_run_answers_as_each_of_its_tasks(predictor: Predictor, shelf: Shelf) -> None:
    ref = shelf.add("joint", METHODS["dynamic"], card_of("rte"), card_of("copa"))
    for name in ("rte", "copa"):
        examples = examples_of(name)
        scores = scored(shelf, ref, examples, name)
        asked_as = replace(ref, task=name)
        for row, example in enumerate(examples):
            (answer,) = predictor.answer(example.typed, [asked_as])
            assert answer.error == ""
            assert list(answer.probabilities.values()) == pytest.approx(
                scores.probabilities()[row], abs=1e-6
            )
    pair = ("the film", "the book")
    unnamed, other = predictor.answer(pair, [ref, replace(ref, task="cb")])
    assert "several tasks: rte, copa" in unnamed.error
    assert "not trained on cb" in other.error


def test_runs_with_other_templates_share_passes_and_keep_their_own_words(
    predictor: Predictor, shelf: Shelf
) -> None:
    refs = [
        shelf.add(template, METHODS["dynamic"], card_of("rte", template))
        for template in ("paper_code", "p_tuning_v2")
    ]
    together = predictor.answer(("the film", "the book"), refs)
    alone = [predictor.answer(("the film", "the book"), [ref])[0] for ref in refs]
    for one, other in zip(together, alone, strict=True):
        assert one.tokens == other.tokens
        assert one.probabilities == other.probabilities
    assert together[0].tokens != together[1].tokens


@pytest.mark.parametrize(
    ("name", "template", "texts", "told"),
    [
        ("record", "", ("a book", "a film"), "ReCoRD cannot be typed"),
        ("wic", "marked", ("book", "my book", "the film"), "'book' does not occur in sentence2"),
        ("rte", "", ("the film",), "1 text given; expected are 2: premise, hypothesis"),
    ],
)
def test_each_run_says_why_it_cannot_read_the_texts(
    predictor: Predictor,
    shelf: Shelf,
    refs: dict[str, AdapterRef],
    name: str,
    template: str,
    texts: tuple[str, ...],
    told: str,
) -> None:
    ref = shelf.add(f"refusing {name}", METHODS["split"], card_of(name, template))
    (answer,) = predictor.answer(texts, [ref])
    assert told in answer.error
    assert answer.probabilities == {}
