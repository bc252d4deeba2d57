"""A method that is told the choice it shows gives the same inputs and scores, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from core.backbones.readout import pool
from core.methods._module import BackboneInputs, Choice, ChoosingMethod
from tests.method_tools import make_batch, make_method, shake, tiny_backbone

LENGTHS, TOTAL = (9, 4, 12, 7, 12), 12
FAMILIES = ("bert", "gpt2")
CHOICES: dict[str, dict[str, Any]] = {
    "cut": {},
    "cut of the task": {"position": "task"},
    "cut at random": {"position": "random"},
    "cut as drawn by the authors' code": {"behaviour": "paper_code"},
    "slot": {"place": "slot", "slots": ["front", 0.3, 0.6, "end"]},
    "length": {"position": "fixed", "length": "instance", "shortest": 0},
    "cut and length": {"length": "instance"},
    "pool": {"position": "fixed", "representation": "instance"},
    "everything, in every layer": {
        "length": "instance",
        "representation": "instance",
        "injection": "deep_add",
        "selection": "sampled",
    },
}


def chooser(family: str, **fields: Any) -> ChoosingMethod:
    method = shake(make_method(tiny_backbone(family), "dynamic_prompt", **fields))
    assert isinstance(method, ChoosingMethod)
    return method


def scores(family: str, inputs: BackboneInputs) -> torch.Tensor:
    return pool(tiny_backbone(family).forward(inputs), inputs, "mean")


@pytest.mark.parametrize("fields", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_shown_choice_reproduces_the_scores_bit_for_bit(
    family: str, fields: dict[str, Any]
) -> None:
    method = chooser(family, **fields)
    batch = make_batch(tiny_backbone(family), LENGTHS, TOTAL)
    with torch.no_grad():
        own = method.adapt(batch)
        told = method.adapt_with(batch, own.choice)
        assert torch.equal(told.embeddings, own.embeddings)
        assert torch.equal(scores(family, told), scores(family, own))
    for name, (index, shares) in own.choice.by_axis().items():
        assert torch.equal(told.choice.by_axis()[name][0], index)
        assert torch.equal(told.choice.by_axis()[name][1], shares)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_told_is_done_for_each_row(family: str) -> None:
    method = chooser(family)
    batch = make_batch(tiny_backbone(family), LENGTHS, TOTAL)
    own = method.adapt(batch).choice.cut
    assert own is not None
    with torch.no_grad():
        other = (own + torch.tensor([0, 1, 2, 0, 3])) % 7
        told = method.adapt_with(batch, Choice(cut=other))
        same = other == own
        before, after = scores(family, method.adapt(batch)), scores(family, told)
        assert told.choice.cut is not None
        assert torch.equal(told.choice.cut, other)
        assert torch.equal(after[same], before[same])
        assert ((after - before).abs().amax(dim=1) > 1e-4)[~same].all()


def test_an_axis_that_is_not_told_is_chosen_as_usual() -> None:
    method = chooser("bert", length="instance")
    batch = make_batch(tiny_backbone(), LENGTHS, TOTAL)
    own = method.adapt(batch).choice
    told = method.adapt_with(batch, Choice(cut=torch.zeros_like(own.cut))).choice
    assert torch.equal(told.length, own.length)
    assert torch.equal(told.length_probabilities, own.length_probabilities)


def test_weights_of_one_prompt_are_that_prompt() -> None:
    method = chooser("bert", position="fixed", representation="instance")
    batch = make_batch(tiny_backbone(), LENGTHS, TOTAL)
    third = torch.eye(4)[2].expand(len(LENGTHS), -1)
    told = method.adapt_with(batch, Choice(pool_weights=third))
    vectors = dict(method.named_parameters())["pool"][2]
    for row in range(len(LENGTHS)):
        assert torch.allclose(told.embeddings[row][1:7], vectors, atol=1e-6)


@pytest.mark.parametrize("name", ["slot", "length", "pool_weights"])
def test_what_is_fixed_cannot_be_told(name: str) -> None:
    method, batch = chooser("bert"), make_batch(tiny_backbone(), LENGTHS, TOTAL)
    wrong = torch.ones(len(LENGTHS), 4) if name == "pool_weights" else torch.ones(5).long()
    with pytest.raises(ValueError, match=r"nothing is chosen|no pool"):
        method.adapt_with(batch, replace(Choice(), **{name: wrong}))
