from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.backbones.load import Backbone
from core.errors import InputError
from core.inference.predictor import AdapterRef, Answer, Predictor
from core.training.checkpoint import (
    load_adapter,
)
from core.training.model import build_model
from tests.adapter_shelf import LABELS, METHODS, TEXT, TWO_TEXTS, Shelf


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
    # Two features, with padding and without; prefix, split, dynamic and authored in one pass;
    # long; deep; probe; the fine-tuned model.
    assert sorted(passes) == [1, 1, 1, 1, 1, 1, 4]


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
