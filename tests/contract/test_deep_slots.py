"""Deep slots: where their vectors go, and their gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.backbones.load import Backbone
from core.methods._layout import DeepPrompt, surround
from core.methods._module import BackboneInputs, DeepSlots, TokenBatch
from core.methods.dynamic_prompt.model import DynamicPrompt
from tests.method_tools import make_batch, make_method, tiny_backbone

LENGTH = 6


def drawn(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def deep_inputs(
    backbone: Backbone,
    batch: TokenBatch,
    cut: int,
    overwrites: bool,
    share: Tensor | None = None,
    active: int = LENGTH,
) -> BackboneInputs:
    facts, rows = backbone.facts, len(batch.token_ids)
    gate = (torch.arange(LENGTH) < active).float()[None, :, None]
    vectors = drawn(rows, LENGTH, facts.layers, facts.inside or facts.hidden, seed=6)
    return surround(
        backbone.embed(batch.token_ids),
        batch,
        drawn(1, LENGTH, facts.width).expand(rows, -1, -1) * gate,
        torch.full((rows,), cut),
        facts,
        share=share,
        active=torch.full((rows,), active),
        deep=DeepPrompt(vectors * gate[..., None], overwrites),
    )


def test_added_zeros_change_nothing_at_all() -> None:
    backbone = tiny_backbone()
    plain = make_method(backbone, "dynamic_prompt")
    deep = make_method(backbone, "dynamic_prompt", injection="deep_add")
    batch = make_batch(backbone, (9, 5), 12)
    with torch.no_grad():
        first = backbone.forward(plain.adapt(batch))
        assert torch.equal(first, backbone.forward(deep.adapt(batch)))


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("cut", [0, 2, LENGTH])
def test_a_literal_walk_through_the_layers_gives_the_same(overwrites: bool, cut: int) -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (9, 5), 12)
    inputs = deep_inputs(backbone, batch, cut, overwrites)
    assert inputs.deep is not None
    with torch.no_grad():
        ours = backbone.forward(inputs)
        hidden = backbone.module.embeddings(
            inputs_embeds=inputs.embeddings,
            position_ids=inputs.position_ids,
            token_type_ids=inputs.token_types,
        )
        mask = torch.where(inputs.mask, 0.0, float("-inf"))[:, None, None, :]
        vectors = drawn(2, LENGTH, 2, backbone.facts.hidden, seed=6)
        for number, layer in enumerate(backbone.module.encoder.layer):
            for row, size in enumerate((9, 5)):
                columns = [*range(1, 1 + cut), *range(size - 1 + cut, size - 1 + LENGTH)]
                kept = 0.0 if overwrites else hidden[row, columns]
                hidden[row, columns] = kept + vectors[row, :, number]
            hidden = layer(hidden, mask)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    assert torch.allclose(ours[inputs.mask], hidden[inputs.mask], atol=1e-6)


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize(
    ("family", "active"), [("bert", LENGTH), *((f, a) for f in ("t5", "gpt2") for a in (1, 3, 6))]
)
def test_the_gradient_of_a_cut_is_that_of_the_mixture_of_all_layouts(
    family: str, active: int, overwrites: bool
) -> None:
    backbone = tiny_backbone(family)
    batch = make_batch(backbone, (9, 5), 12)
    chosen = torch.nn.functional.one_hot(torch.tensor([2, 2]), LENGTH + 1).float()

    def gradient(inputs: BackboneInputs, share: Tensor) -> Tensor:
        hidden = backbone.forward(inputs)[inputs.mask]
        loss = (hidden * drawn(*hidden.shape, seed=7)).sum()
        found = torch.autograd.grad(loss, share)[0]
        return found - found.mean(dim=1, keepdim=True)

    share = chosen.clone().requires_grad_()
    ours = gradient(deep_inputs(backbone, batch, 2, overwrites, share, active), share)
    mixed = chosen.clone().requires_grad_()
    all_cuts = [
        deep_inputs(backbone, batch, cut, overwrites, active=active) for cut in range(LENGTH + 1)
    ]
    naive = gradient(_mixture(all_cuts, mixed), mixed)
    # What is left out is the layout of positions and types, which is no differentiable choice.
    assert torch.allclose(ours, naive, atol=2e-4 * float(naive.abs().max()))


def _mixture(layouts: list[BackboneInputs], share: Tensor) -> BackboneInputs:
    """Mix embeddings and deep vectors of all layouts; the rest is that of the chosen one."""

    def mix(parts: list[Tensor]) -> Tensor:
        return sum(
            (share[:, place, None, None] * part for place, part in enumerate(parts)),
            start=torch.zeros_like(parts[0]),
        )

    found = [item.deep for item in layouts if item.deep is not None]
    added = tuple(
        mix([deep.added[layer] for deep in found]) for layer in range(len(found[0].added))
    )
    kept = [deep.kept for deep in found if deep.kept is not None]
    deep = DeepSlots(added, mix(kept) if kept else None)
    embeddings = mix([item.embeddings for item in layouts])
    return replace(layouts[2], embeddings=embeddings, deep=deep)


def test_every_input_of_a_batch_gets_its_own_vectors() -> None:
    backbone = tiny_backbone()
    method = make_method(
        backbone, "dynamic_prompt", injection="deep_add", representation="instance"
    )
    assert isinstance(method, DynamicPrompt)
    assert method.deep is not None
    assert method.pool_selector is not None
    with torch.no_grad():
        method.deep.normal_(generator=torch.Generator().manual_seed(1))
        method.pool_selector.weight.normal_(generator=torch.Generator().manual_seed(2))
    batch = make_batch(backbone, (9, 5), 12)
    inputs = method.adapt(batch)
    assert inputs.deep is not None
    weights = inputs.choice.pool_weights
    assert weights is not None
    expected = torch.einsum("bk,kpld->bpld", weights, method.deep)
    assert torch.allclose(inputs.deep.added[0][:, 1 : 1 + LENGTH], expected[:, :, 0], atol=1e-6)
