"""The probe refuses what trains nothing, and nothing else: not by chance of what it draws."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.backbones import probe
from core.errors import BackboneError
from core.methods._module import BackboneInputs, SelectorNoise, TokenBatch
from tests.method_tools import make_method, tiny_backbone

FEW = range(1, 6)
"""Vectors of a prompt: with so few, all rows of a draw often get the same choice, or none."""


def lengths() -> Iterator[dict[str, Any]]:
    for position, length, shortest, vectors in itertools.product(
        ("fixed", "task", "instance"), ("task", "instance"), (0, 1), FEW
    ):
        yield {
            "position": position,
            "length": length,
            "shortest": shortest,
            "num_virtual_tokens": vectors,
        }


@pytest.mark.parametrize("selection", [{}, {"selection": "sampled", "samples": 2}])
def test_no_draw_of_lengths_makes_a_method_seem_idle(selection: dict[str, Any]) -> None:
    backbone = tiny_backbone()
    for fields in lengths():
        probe.check(
            backbone, make_method(backbone, "dynamic_prompt", **fields, **selection), "mean"
        )


def test_a_tensor_that_no_draw_reaches_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "prompt_tuning", num_virtual_tokens=3)
    groups, idle = method.parameter_groups(), nn.Parameter(torch.ones(2))
    monkeypatch.setattr(method, "parameter_groups", lambda: {**groups, "selector": [idle]})
    with pytest.raises(BackboneError, match=r"a tensor of the group 'selector' \(2,\)"):
        probe.check(backbone, method, "mean")


def test_a_prompt_that_the_read_out_does_not_feel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "linear_probe")
    vector = nn.Parameter(torch.ones(2))
    monkeypatch.setattr(method, "parameter_groups", lambda: {"prompt": [vector]})
    with pytest.raises(BackboneError, match="the method's prompt or prefix"):
        probe.check(backbone, method, "mean")


def test_numbers_that_are_none_are_refused_whatever_else_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "prompt_tuning", num_virtual_tokens=3)
    plain, spoilt = method.adapt, []

    def adapt(batch: TokenBatch, noise: SelectorNoise | None = None) -> BackboneInputs:
        inputs = plain(batch, noise)

        def spoil(gradient: Tensor) -> Tensor:
            spoilt.append(gradient)
            return gradient * (torch.nan if len(spoilt) == 1 else 1.0)

        if inputs.embeddings.requires_grad:
            inputs.embeddings.register_hook(spoil)
        return inputs

    monkeypatch.setattr(method, "adapt", adapt)
    with pytest.raises(BackboneError, match="a tensor of the group 'prompt'"):
        probe.check(backbone, method, "mean")
