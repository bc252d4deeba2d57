"""Prompts that start from label words: which rows, for which methods, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.backbones.load import Backbone
from core.errors import ConfigError, RecipeErrors
from core.methods import METHODS, MethodConfig
from core.methods._build import build_method
from core.methods._initial import initial_vectors
from core.recipe_files import parse_recipe
from core.training.model import build_model
from tests.method_tools import make_config, make_method, tiny_backbone
from tests.tiny import tiny_vocabulary
from tests.tiny_language import tiny_language

SPELT = ("x", "##y", "##z")
"""Pieces of a word that the tiny vocabulary does not hold."""


def embeddings(backbone: Backbone, *pieces: str) -> Tensor:
    ids = torch.tensor([[tiny_vocabulary()[piece] for piece in pieces]])
    return backbone.embed(ids)[0].detach()


def drawn(count: int, init: Any, words: tuple[str, ...] = (), seed: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return initial_vectors(count, init, tiny_backbone(), draw, words)


def test_the_first_rows_are_the_words_and_the_others_what_vocabulary_draws() -> None:
    found = drawn(5, "label_words", ("yes", "no"))
    assert torch.equal(found[:2], embeddings(tiny_backbone(), "yes", "no"))
    assert torch.equal(found[2:], drawn(5, "vocabulary")[2:])
    assert not torch.equal(found[:2], drawn(5, "vocabulary")[:2])


def test_a_word_of_several_pieces_is_one_row_their_mean() -> None:
    found = drawn(3, "label_words", ("xyz", "good"))
    torch.testing.assert_close(found[0], embeddings(tiny_backbone(), *SPELT).mean(dim=0))
    assert torch.equal(found[1:2], embeddings(tiny_backbone(), "good"))


def test_more_words_than_vectors_leave_the_last_words_out() -> None:
    found = drawn(2, "label_words", ("yes", "no", "good"))
    assert torch.equal(found, embeddings(tiny_backbone(), "yes", "no"))


def test_without_words_all_rows_are_drawn() -> None:
    assert torch.equal(drawn(4, "label_words"), drawn(4, "vocabulary"))


def test_a_word_that_the_tokenizer_does_not_know_is_told() -> None:
    with pytest.raises(ConfigError, match="does not know the label word '漢'") as caught:
        drawn(4, "label_words", ("yes", "漢"))
    assert "label_words" in (caught.value.hint or "")


@pytest.mark.parametrize("backbone", [tiny_backbone(), tiny_language("t5"), tiny_language("gpt2")])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("prompt_tuning", {}),
        ("prompt_tuning", {"pool_to_match": 2, "num_virtual_tokens": 3}),
        ("dynamic_prompt", {"position": "fixed"}),
        ("dynamic_prompt", {"position": "instance", "length": "task"}),
        ("dynamic_prompt", {"position": "task", "injection": "deep_add", "place": "slot",
                            "slots": ["front", "end"]}),
    ],
)  # fmt: skip
def test_methods_with_one_prompt_start_from_the_words(
    kind: str, fields: dict[str, Any], backbone: Backbone
) -> None:
    config = make_config(kind, init="label_words", **fields)
    method = build_method(config, backbone, torch.Generator().manual_seed(0), ("great", "bad"))
    (prompt,) = [tensor for name, tensor in method.named_parameters() if name in ("prompt", "pool")]
    rows = prompt.detach().flatten(end_dim=-2)
    torch.testing.assert_close(rows[:2], embeddings(backbone, "great", "bad"))
    plain = make_method(backbone, kind, **fields)
    others = [tensor for name, tensor in plain.named_parameters() if name in ("prompt", "pool")]
    assert torch.equal(rows[2:], others[0].detach().flatten(end_dim=-2)[2:])


def joint(own: tuple[Any, ...] = (), tasks: tuple[str, ...] = ("b", "a")) -> Any:
    words = {"b": ("yes", "no"), "a": ("good", "yes", "bad")}
    return build_model(
        make_config("prompt_tuning", init="label_words"),
        tiny_backbone(),
        {task: len(words[task]) for task in tasks},
        0,
        own,
        words,
    )


def test_tasks_that_are_trained_together_start_from_the_words_of_all_in_any_order() -> None:
    expected = embeddings(tiny_backbone(), "good", "yes", "bad", "no")
    shared, each, control = joint(), joint(own=("vectors",)), joint(tasks=("b",))
    for model, task in [(shared, "a"), (each, "a"), (each, "b"), (control, "b")]:
        assert torch.equal(model.part(task).method.prompt[:4], expected)
    assert shared.part("a").method is shared.part("b").method
    assert each.part("a").method is not each.part("b").method


def test_a_method_that_starts_otherwise_never_sees_words() -> None:
    for kind in METHODS:
        assert not make_config(kind).starts_from_words
    config = make_config("p_tuning_v2")
    with_words, without = (
        build_method(config, tiny_backbone(), torch.Generator().manual_seed(0), words)
        for words in (("yes",), ())
    )
    for one, other in zip(with_words.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)


def problems(method: Any, tasks: tuple[str, ...] = ("rte",)) -> dict[str, str]:
    with pytest.raises(RecipeErrors) as caught:
        parse_recipe({"name": "words", "tasks": list(tasks), "methods": [method]})
    return {problem.field or "": problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({"kind": "smop"}, "a pool would start alike"),
        ({"kind": "adap_ins_vec"}, "a pool would start alike"),
        ({"kind": "p_tuning"}, "a network stands between"),
        ({"kind": "dynamic_prompt", "position": "fixed", "injection": "deep_overwrite"},
         "every layer replaces the vectors"),
        ({"kind": "adap_ins_pos", "behaviour": "paper_code"}, "the authors' program"),
    ],
)  # fmt: skip
def test_what_words_mean_nothing_for_is_refused_with_the_reason(
    method: dict[str, Any], reason: str
) -> None:
    ((field, message),) = problems({**method, "init": "label_words"}).items()
    assert field.startswith("methods.0")
    assert reason in message
    assert "init: vocabulary" in message
    parse_recipe({"name": "words", "tasks": ["rte"], "methods": [method]})


@pytest.mark.parametrize("task", ["copa", "record"])
def test_tasks_without_classes_have_no_words_to_start_from(task: str) -> None:
    found = problems({"kind": "prompt_tuning", "init": "label_words"}, ("rte", task))
    assert list(found) == ["methods.0.init"]
    assert task in found["methods.0.init"]


def test_the_words_are_one_more_choice_of_every_soft_prompt() -> None:
    config: MethodConfig = METHODS["prompt_tuning"](kind="prompt_tuning", init="label_words")
    assert config.starts_from_words
    plain = METHODS["prompt_tuning"](kind="prompt_tuning")
    assert config.model_dump() == {**plain.model_dump(), "init": "label_words"}
