"""Dynamic length: values and gradients against the literal mixture over all lengths.

The length k that is drawn decides the layout. Backwards the result counts as the mixture, over
the lengths k, of the vectors with all beyond the first k set to zero, with weights that are one-hot
in value and have the gradient of the softmax at the step's temperature. Vectors beyond the drawn
length stand where nothing attends, so they tell no length anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from core.methods._layout import slot_places
from core.methods._module import BackboneInputs, TokenBatch
from core.methods.dynamic_prompt.model import DynamicPrompt
from tests.method_tools import make_batch, make_method, noise, shake, tiny_backbone
from tests.property.test_layout_oracle import literal_row

VECTORS, LAYERS, WIDTH = 6, 2, 32
COUNTS, TOTAL = (9, 4, 12, 7, 10), 13
SEED, TEMPERATURE, SLOT, CUT = 5, 0.7, 0.5, 2
CASES: list[dict[str, Any]] = [
    {"length": "task", "position": "fixed", "cut": CUT},
    {"length": "instance", "position": "instance", "shortest": 0},
    {"length": "instance", "position": "fixed", "place": "slot", "slot": SLOT},
    {"length": "task", "position": "fixed", "injection": "deep_add", "shortest": 0},
    {"length": "instance", "position": "instance", "injection": "deep_add"},
    {"length": "instance", "position": "fixed", "injection": "deep_overwrite", "cut": CUT},
]


@dataclass(frozen=True)
class Drawn:
    """One training step of a method with a learnt length.

    Attributes:
        batch: Its rows.
        inputs: What it made of them.
        scores: Scores of the lengths, with their gradient kept.
        position: Choices of the position that were drawn for before the lengths; 0: none.
        settings: Fields of the method.
        vectors: Those in the input, then those of each layer.
    """

    batch: TokenBatch
    inputs: BackboneInputs
    scores: Tensor
    position: int
    settings: dict[str, Any]
    vectors: list[Tensor]


def draw(method: DynamicPrompt, settings: dict[str, Any]) -> Drawn:
    assert method.length is not None
    seen: list[Tensor] = []

    def keep(_module: object, _seen: object, scores: Tensor) -> None:
        scores.retain_grad()
        seen.append(scores)

    method.length.register_forward_hook(keep)
    batch = make_batch(tiny_backbone(), COUNTS, TOTAL, second=1)
    inputs = method.adapt(batch, noise(SEED, TEMPERATURE))
    zeros = torch.zeros(VECTORS, WIDTH)
    vectors = [zeros if method.pool is None else method.pool[0]]
    vectors += [] if method.deep is None else list(method.deep[0].unbind(dim=1))
    choices = 0 if method.position is None else VECTORS + 1
    return Drawn(batch, inputs, seen[0], choices, settings, vectors)


def straight_through(step: Drawn, scores: Tensor) -> Tensor:
    """The weights of the lengths, by the equations of the Gumbel-Softmax."""
    stream = torch.Generator().manual_seed(SEED)
    if step.position:
        torch.empty(len(COUNTS), step.position).exponential_(generator=stream)
    gumbel = -torch.empty(scores.shape).exponential_(generator=stream).double().log()
    soft = ((scores + gumbel) / TEMPERATURE).softmax(dim=1)
    hard = one_hot((scores + gumbel).argmax(dim=1), scores.shape[1])
    return hard + soft - soft.detach()


def literal(step: Drawn, share: Tensor, vectors: list[Tensor]) -> list[Tensor]:
    """The arranged rows of the input and of each layer, written out."""
    backbone, choice = tiny_backbone(), step.inputs.choice
    assert choice.length is not None
    tokens = backbone.embed(step.batch.token_ids).double()
    places = slot_places(step.batch, [SLOT], backbone.facts.lead)[:, 0]
    every = []
    for layer, own in enumerate(vectors):
        rows = []
        for row, count in enumerate(COUNTS):
            shown = torch.zeros_like(own)
            for index, weight in enumerate(share[row]):
                kept = torch.arange(VECTORS) < step.settings["shortest"] + index
                shown = shown + weight * torch.where(kept[:, None], own, 0.0)
            active = int(choice.length[row])
            is_slot = step.settings.get("place") == "slot"
            cut = step.settings.get("cut", VECTORS) if choice.cut is None else int(choice.cut[row])
            before, place = (active, int(places[row])) if is_slot else (cut, 0)
            text = tokens[row] if layer == 0 else torch.zeros(TOTAL, WIDTH)
            rows.append(literal_row(text, shown, count, min(before, active), place, active))
        every.append(torch.stack(rows))
    return every


def loss_of(arranged: list[Tensor], mask: Tensor) -> Tensor:
    """A loss over what a backbone attends to."""
    stream = torch.Generator().manual_seed(1)
    losses = []
    for rows in arranged:
        weights = torch.randn(rows.shape[1:], generator=stream, dtype=torch.float64)
        losses.append((rows.double().sin() * weights * mask[..., None]).sum())
    return torch.stack(losses).sum()


@pytest.mark.parametrize("fields", CASES, ids=lambda fields: "-".join(map(str, fields.values())))
def test_invariant_9_the_gradient_of_a_length_is_that_of_the_literal_mixture(
    fields: dict[str, Any],
) -> None:
    settings = {"shortest": 1, **fields}
    method = shake(make_method(tiny_backbone(), "dynamic_prompt", **settings))
    assert isinstance(method, DynamicPrompt)
    with torch.no_grad():
        for tensor in method.parameter_groups()["selector"]:
            tensor.mul_(0.2)  # large scores are rounded more coarsely than they are compared
    if method.deep is not None:
        torch.nn.init.normal_(method.deep, generator=torch.Generator().manual_seed(2))
    step = draw(method, settings)
    lengths = step.inputs.choice.length
    assert lengths is not None
    assert len(lengths.unique()) > 1
    deep = step.inputs.deep
    ours = [step.inputs.embeddings, *(deep.added if deep else ())]
    loss_of(ours, step.inputs.mask).backward()

    scores = step.scores.detach().double().requires_grad_()
    vectors = [own.detach().double().requires_grad_() for own in step.vectors]
    share = straight_through(step, scores)
    share.retain_grad()
    assert torch.equal(share.detach().argmax(dim=1) + settings["shortest"], lengths)
    expected = literal(step, share, vectors)
    loss_of(expected, step.inputs.mask).backward()

    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.double(), other, atol=1e-6, rtol=0)
    assert share.grad is not None
    # A score's gradient is made of differences of these, whose rounding it shares.
    found: list[tuple[Tensor | None, ...]] = [(step.scores.grad, scores.grad, share.grad)]
    if method.pool is not None:
        found.append((method.pool.grad, vectors[0].grad, vectors[0].grad))
    if method.deep is not None:
        theirs = torch.stack([own.grad for own in vectors[1:] if own.grad is not None], dim=1)
        found.append((method.deep.grad, theirs, theirs))
    for gradient, exact, terms in found:
        assert gradient is not None
        assert exact is not None
        assert terms is not None
        assert float(exact.abs().max()) > 0.1
        difference = (gradient.double() - exact.reshape(gradient.shape)).abs().max()
        assert float(difference) < 1e-6 * float(terms.abs().max())
