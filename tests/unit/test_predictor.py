from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.backbones.load import Backbone, load_backbone
from core.backbones.spec import BackboneChoice
from core.data.examples import Example
from core.errors import InputError
from core.inference.predictor import AdapterRef, Answer, Predictor
from core.recipe import RunConfig
from core.recipe_files import parse_recipe
from core.tasks import TASKS
from core.training.checkpoint import (
    AdapterCard,
    TaskCard,
    load_adapter,
    model_tensors,
    save_adapter,
)
from core.training.evaluate import Scores, Scoring, evaluate
from core.training.model import RunModel, build_model
from core.training.warm import WarmBackbone
from tests.method_tools import shake
from tests.task_lines import examples_of
from tests.tiny import make_tiny_bert

TEXT = "the film was great and we were not wrong"
METHODS: dict[str, dict[str, Any]] = {
    "prefix": {"kind": "prompt_tuning", "num_virtual_tokens": 5},
    "split": {"kind": "prompt_tuning", "num_virtual_tokens": 5, "cut": 2},
    "long": {"kind": "prompt_tuning", "num_virtual_tokens": 9, "cut": 0},
    "deep": {"kind": "p_tuning_v2", "num_virtual_tokens": 5},
    "dynamic": {"kind": "adap_ins_vec_pos", "num_virtual_tokens": 5},
    "probe": {"kind": "linear_probe"},
    "tuned": {"kind": "fine_tuning"},
}


def own_card(*inputs: str, name: str = "shelf") -> TaskCard:
    """One's own data: the bare texts, whatever their columns are called."""
    return TaskCard(
        name=name,
        title="Shelf",
        labels=LABELS,
        kind="classes",
        inputs=inputs,
        template="plain",
        segments=tuple("{" + field + "}" for field in inputs),
        spec="",
        num_outputs=len(LABELS),
    )


def card_of(name: str, template: str = "") -> TaskCard:
    """A declared task, as training writes it."""
    spec = TASKS[name]
    return TaskCard(
        name=name,
        title=spec.title,
        labels=spec.labels,
        kind=spec.kind,
        inputs=spec.typed_fields,
        template=template or spec.template_names[0],
        segments=spec.segments(template),
        spec=name,
        num_outputs=1 if spec.kind == "choices" else len(spec.labels),
    )


LABELS = ("no", "yes", "maybe")
ONE_TEXT, TWO_TEXTS = own_card("text"), own_card("text", "reply: by {whom}")


class Shelf:
    """A folder with adapters of every method on one tiny backbone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = make_tiny_bert(folder / "bert")
        self.backbone: Backbone = load_backbone(BackboneChoice(path=str(self.model)), offline=True)

    def config(self, method: dict[str, Any], **training: Any) -> RunConfig:
        recipe = parse_recipe(
            {
                "name": "shelf",
                "tasks": ["desk"],
                "methods": [method],
                "backbones": [{"path": str(self.model)}],
                "training": {"max_tokens": 32, **training},
            }
        )
        return recipe.runs()[0]

    def add(
        self, name: str, method: dict[str, Any], *tasks: TaskCard, **training: Any
    ) -> AdapterRef:
        config = self.config(method, **training)
        cards = tasks or (ONE_TEXT,)
        outputs = {card.name: card.num_outputs for card in cards}
        model = build_model(config.method, self.backbone, outputs, init_seed=len(name))
        for part in model.parts.values():
            shake(part.method)
        return self.save(name, config, model, *cards)

    def save(self, name: str, config: RunConfig, model: RunModel, *tasks: TaskCard) -> AdapterRef:
        card = AdapterCard(
            config=config,
            tasks=tasks or (ONE_TEXT,),
            num_virtual_tokens=config.method.prompt_length,
            weights_sha256=self.backbone.weights_sha256,
        )
        save_adapter(self.folder / name, model_tensors(model), card)
        return AdapterRef(name, self.folder / name)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def refs(shelf: Shelf) -> dict[str, AdapterRef]:
    return {name: shelf.add(name, method) for name, method in METHODS.items()}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(offline=True)


def asked(predictor: Predictor, refs: dict[str, AdapterRef], text: str = TEXT) -> dict[str, Answer]:
    answers = predictor.answer((text,), list(refs.values()))
    assert [answer.run_id for answer in answers] == list(refs)
    return {answer.run_id: answer for answer in answers}


def test_all_runs_of_a_backbone_answer_with_their_trace(
    predictor: Predictor, refs: dict[str, AdapterRef]
) -> None:
    answers = asked(predictor, refs)
    for answer in answers.values():
        assert answer.error == ""
        assert answer.tokens == ["[CLS]", *TEXT.split(), "[SEP]"]
        assert answer.used_tokens == answer.total_tokens == len(answer.tokens)
        assert list(answer.probabilities) == ["no", "yes", "maybe"]
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
        assert answer.label == max(answer.probabilities, key=lambda k: answer.probabilities[k])
        assert answer.milliseconds > 0
    pieces, end = {name: a.pieces for name, a in answers.items()}, len(TEXT.split()) + 1
    assert pieces["prefix"] == [(1, 5)]
    assert pieces["split"] == [(1, 2), (end, 3)]
    assert pieces["long"] == [(end, 9)]
    assert pieces["deep"] == pieces["probe"] == pieces["tuned"] == []
    dynamic = answers["dynamic"]
    assert dynamic.pool_weights is not None
    assert sum(dynamic.pool_weights) == pytest.approx(1.0, abs=1e-4)
    (cut,) = dynamic.choices
    assert (cut.axis, cut.names) == ("cut", ["0", "1", "2", "3", "4", "5"])
    assert cut.chosen == cut.probabilities.index(max(cut.probabilities))
    expected = [(1, cut.chosen), (end, 5 - cut.chosen)]
    assert dynamic.pieces == [piece for piece in expected if piece[1]]
    assert answers["prefix"].choices == []
    assert answers["prefix"].pool_weights is None


@pytest.mark.parametrize("place", ["cut", "slot"])
@pytest.mark.parametrize("text", [TEXT, "she was bad", "he and she are at work in the book"])
def test_forcing_the_shown_choice_reproduces_the_answer(
    predictor: Predictor, shelf: Shelf, place: str, text: str
) -> None:
    method = {"kind": "dynamic_prompt", "place": place, "length": "instance"}
    ref = shelf.add(f"free {place} {text}", {**method, "num_virtual_tokens": 6})
    free = load_adapter(ref.folder, shelf.backbone).part()
    (shown,) = predictor.answer((text,), [ref])
    chosen = {one.axis: one.names[one.chosen] for one in shown.choices}
    assert set(chosen) == {place, "length"}
    length = int(chosen["length"])
    assert sum(piece.vectors for piece in shown.pieces) == length
    if place == "slot":
        words = len(text.split())
        in_front = {"front": 0, "50 %": round(words / 2)}.get(chosen["slot"], words)
        assert shown.pieces == [(1 + in_front, length)]
    forced = {**method, "num_virtual_tokens": length, "position": "fixed", "length": "fixed"}
    slots = {"front": "front", "50 %": 0.5, "border": "border", "end": "end"}
    forced |= {"slot": slots[chosen["slot"]]} if place == "slot" else {}
    forced |= {"cut": min(int(chosen["cut"]), length)} if place == "cut" else {}
    config = shelf.config(forced)
    model = build_model(config.method, shelf.backbone, {"shelf": len(LABELS)}, init_seed=0)
    tensors = model.part().named_tensors()
    with torch.no_grad():
        for name, value in free.named_tensors().items():
            if name in tensors:
                tensors[name].copy_(value[:, :length] if name == "method.pool" else value)
    (again,) = predictor.answer((text,), [shelf.save(f"forced {place} {text}", config, model)])
    assert again.error == ""
    assert again.pieces == shown.pieces
    assert again.choices == []
    assert list(again.probabilities.values()) == pytest.approx(
        list(shown.probabilities.values()), abs=1e-6
    )


def test_invariant_17_a_reloaded_adapter_answers_as_alone_and_again(
    predictor: Predictor, refs: dict[str, AdapterRef]
) -> None:
    together = asked(predictor, refs)
    for name, ref in refs.items():
        (alone,) = Predictor(offline=True).answer((TEXT,), [ref])
        assert alone.probabilities == together[name].probabilities
    assert asked(predictor, refs)["tuned"].probabilities == together["tuned"].probabilities


def test_runs_of_one_shape_share_one_pass_and_adapters_stay_loaded(
    predictor: Predictor, refs: dict[str, AdapterRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(predictor, refs)
    passes: list[int] = []
    forward = Backbone.forward

    def counted(self: Backbone, inputs: Any, module: Any = None) -> torch.Tensor:
        passes.append(inputs.embeddings.shape[0])
        return forward(self, inputs, module)

    monkeypatch.setattr(Backbone, "forward", counted)
    monkeypatch.setattr("core.inference.predictor.load_adapter", None)
    asked(predictor, refs)
    # The feature; prefix, split and dynamic in one pass; long; deep; probe; the fine-tuned model.
    assert sorted(passes) == [1, 1, 1, 1, 1, 3]


def test_long_texts_tell_how_many_tokens_were_used(
    predictor: Predictor, refs: dict[str, AdapterRef]
) -> None:
    answer = asked(predictor, {"split": refs["split"]}, "good " * 100)["split"]
    assert (answer.used_tokens, answer.total_tokens) == (32, 102)
    assert len(answer.tokens) == 32


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("  ",), "The text is empty"),
        (("good", ""), "Text 2 is empty"),
        ((), "0 texts given"),
        (("a",) * 9, "9 texts given"),
        (("a" * 20_001,), "at most 20,000"),
    ],
)
def test_unusable_input_is_refused(
    predictor: Predictor, refs: dict[str, AdapterRef], texts: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        predictor.answer(texts, list(refs.values()))


def test_a_text_without_anything_readable_is_told_by_each_run(
    predictor: Predictor, refs: dict[str, AdapterRef]
) -> None:
    answer = asked(predictor, {"split": refs["split"]}, "\x01\x02")["split"]
    assert "nothing that this backbone can read" in answer.error


def test_one_bad_adapter_does_not_hold_up_the_others(
    predictor: Predictor, refs: dict[str, AdapterRef], shelf: Shelf, tmp_path: Path
) -> None:
    pair = shelf.add("pair", METHODS["split"], TWO_TEXTS)
    shutil.copytree(refs["split"].folder, tmp_path / "damaged")
    tensors = tmp_path / "damaged" / "adapter.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-4] + b"oops")
    chosen = {
        "pair": pair,
        "damaged": AdapterRef("damaged", tmp_path / "damaged"),
        "gone": AdapterRef("gone", tmp_path / "gone"),
        "split": refs["split"],
    }
    answers = asked(predictor, chosen)
    assert "1 text given; expected are 2: text, reply: by {whom}" in answers["pair"].error
    assert "is not what was written" in answers["damaged"].error
    assert "cannot be read" in answers["gone"].error
    assert answers["split"].error == ""
    (paired,) = predictor.answer(("good film", "bad book"), [pair])
    assert paired.tokens == ["[CLS]", "good", "film", "[SEP]", "bad", "book", "[SEP]"]


def test_runs_with_another_longest_input_are_cut_in_their_own_way(
    predictor: Predictor, refs: dict[str, AdapterRef], shelf: Shelf
) -> None:
    short = shelf.add("short", METHODS["split"], max_tokens=8)
    answers = asked(predictor, {"short": short, "split": refs["split"]})
    assert (answers["short"].used_tokens, answers["split"].used_tokens) == (8, 11)


# ---- every kind of task


def scored(shelf: Shelf, ref: AdapterRef, examples: tuple[Example, ...], name: str) -> Scores:
    """Scores of examples as an evaluation gives them."""
    part = load_adapter(ref.folder, shelf.backbone).part(name)
    split = WarmBackbone(shelf.backbone).split(examples, 32)
    feature = split.feature(shelf.backbone) if part.method.needs_feature else None
    read_out = shelf.config(METHODS["split"]).backbone.read_out
    (scores,) = evaluate(shelf.backbone, [Scoring(part, split, read_out, feature)])
    assert scores is not None
    return scores


@pytest.mark.parametrize("method", ["dynamic", "deep"])
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
