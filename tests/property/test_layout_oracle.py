"""The vectorised layouts against literal ones written from the definitions, for random sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.methods._layout import insert, surround
from core.methods._module import BackboneInputs, TokenBatch
from core.methods._selector import gumbel_choice
from tests.method_tools import make_batch, noise, tiny_backbone

HIDDEN = 32
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Case:
    """Random rows with a prompt."""

    batch: TokenBatch
    tokens: Tensor
    prompt: Tensor
    counts: list[int]
    seed: int

    @property
    def num_vectors(self) -> int:
        return self.prompt.shape[1]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    counts = draw(st.lists(st.integers(2, 12), min_size=1, max_size=4))
    total = max(counts) + draw(st.integers(0, 3))
    vectors, seed = draw(st.integers(1, 6)), draw(st.integers(0, 10_000))
    stream = torch.Generator().manual_seed(seed)
    batch = make_batch(tiny_backbone(), tuple(counts), total, seed=seed, second=1)
    tokens = torch.randn(len(counts), total, HIDDEN, generator=stream)
    prompt = torch.randn(len(counts), vectors, HIDDEN, generator=stream)
    return Case(batch, tokens, prompt, counts, seed)


def literal_row(
    tokens: Tensor, prompt: Tensor, count: int, before: int, place: int, active: int
) -> Tensor:
    """One row, written out: what is not used stands behind everything."""
    return torch.cat(
        [
            tokens[: 1 + place],
            prompt[:before],
            tokens[1 + place : count - 1],
            prompt[before:active],
            tokens[count - 1 :],
            prompt[active:],
        ]
    )


@pytest.fixture(autouse=True, scope="module")
def made_backbone() -> None:
    """Make the backbone before a strategy asks for it: saving a model draws numbers of its own."""
    tiny_backbone()


def weights_of(case: Case) -> Tensor:
    stream = torch.Generator().manual_seed(case.seed + 1)
    return torch.randn(case.tokens.shape[1] + case.num_vectors, HIDDEN, generator=stream)


def loss_of(arranged: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """A loss that no masked column takes part in, as in a backbone."""
    return (arranged.double().sin() * weights * mask[..., None]).sum()


def check_rows(case: Case, inputs: BackboneInputs, places: list[tuple[int, int, int]]) -> None:
    for row, (count, (before, place, active)) in enumerate(zip(case.counts, places, strict=True)):
        expected = literal_row(case.tokens[row], case.prompt[row], count, before, place, active)
        assert torch.equal(inputs.embeddings[row], expected)
        assert int(inputs.mask[row].sum()) == count + active == int(inputs.last[row]) + 1
        assert bool(inputs.mask[row, : count + active].all())
        assert int(inputs.content_mask[row].sum()) == count


def agree(ours: Tensor | None, literal: Tensor | None, scale: float) -> None:
    """Compare gradients up to 1e-6 of a scale."""
    assert ours is not None
    assert literal is not None
    assert float((ours.double() - literal).abs().max()) <= TOLERANCE * scale


def check_gradients(
    case: Case,
    choices: int,
    arrange: Callable[[Tensor, Tensor, Tensor], BackboneInputs],
    layouts: Callable[[int, Tensor, Tensor], list[Tensor]],
) -> None:
    """Compare rows and gradients with those of the mixture of all layouts in double precision.

    A score's gradient is made of sums of products of a layout with the gradient where it stands.
    They are rounded in proportion to the products, of which nearly nothing may be left in the end:
    the scale of the comparison is the root of the sum of their squares.

    Args:
        case: Rows with a prompt.
        choices: Layouts to choose from, a count.
        arrange: From choices, their one-hot shares and vectors to what is tested.
        layouts: From a row's number, tokens and vectors to all its layouts, written out.
    """
    stream = torch.Generator().manual_seed(case.seed)
    start = torch.randn(len(case.counts), choices, generator=stream)
    scores, prompt = start.clone().requires_grad_(), case.prompt.clone().requires_grad_()
    inputs = arrange(*gumbel_choice(scores, noise(case.seed)), prompt)
    loss_of(inputs.embeddings, inputs.mask, weights_of(case)).backward()

    exact, vectors = (start.double().requires_grad_(), case.prompt.double().requires_grad_())
    _, share = gumbel_choice(exact, noise(case.seed))
    rows = enumerate(case.tokens.double())
    every = torch.stack([torch.stack(layouts(row, own, vectors[row])) for row, own in rows])
    arranged = (share[:, :, None, None] * every).sum(dim=1)
    arranged.retain_grad()
    loss_of(arranged, inputs.mask, weights_of(case)).backward()

    torch.testing.assert_close(inputs.embeddings.double(), arranged, atol=TOLERANCE, rtol=0)
    assert arranged.grad is not None
    products = (every.detach() * arranged.grad[:, None]).flatten(start_dim=2)
    agree(scores.grad, exact.grad, float(products.norm(dim=2).max()))
    agree(prompt.grad, vectors.grad, 1.0)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_a_cut_of_some_vectors_is_the_literal_layout(case: Case, data: st.DataObject) -> None:
    rows = len(case.counts)
    active = [data.draw(st.integers(0, case.num_vectors)) for _ in range(rows)]
    cut = [data.draw(st.integers(0, case.num_vectors)) for _ in range(rows)]
    inputs = surround(
        case.tokens,
        case.batch,
        case.prompt,
        torch.tensor(cut),
        tiny_backbone().facts,
        active=torch.tensor(active),
    )
    places = [(min(c, a), 0, a) for c, a in zip(cut, active, strict=True)]
    check_rows(case, inputs, places)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_a_slot_is_the_literal_insertion(case: Case, data: st.DataObject) -> None:
    slots = [[data.draw(st.integers(0, count - 2)) for _ in range(3)] for count in case.counts]
    slot = [data.draw(st.integers(0, 2)) for _ in case.counts]
    inputs = insert(
        case.tokens,
        case.batch,
        case.prompt,
        torch.tensor(slots),
        torch.tensor(slot),
        tiny_backbone().facts,
    )
    length = case.num_vectors
    places = [(length, row[index], length) for row, index in zip(slots, slot, strict=True)]
    check_rows(case, inputs, places)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_the_gradient_of_slots_is_that_of_the_literal_mixture(
    case: Case, data: st.DataObject
) -> None:
    slots = [[data.draw(st.integers(0, count - 2)) for _ in range(3)] for count in case.counts]
    length, facts = case.num_vectors, tiny_backbone().facts

    def arrange(slot: Tensor, share: Tensor, prompt: Tensor) -> BackboneInputs:
        places = torch.tensor(slots)
        return insert(case.tokens, case.batch, prompt, places, slot, facts, share=share)

    def layouts(row: int, tokens: Tensor, prompt: Tensor) -> list[Tensor]:
        count = case.counts[row]
        return [literal_row(tokens, prompt, count, length, s, length) for s in slots[row]]

    check_gradients(case, 3, arrange, layouts)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_the_gradient_of_cuts_of_some_vectors_is_that_of_the_literal_mixture(
    case: Case, data: st.DataObject
) -> None:
    active = torch.tensor([data.draw(st.integers(0, case.num_vectors)) for _ in case.counts])
    gate = torch.arange(case.num_vectors) < active[:, None]
    gated = replace(case, prompt=case.prompt * gate[..., None])
    cuts, facts = case.num_vectors + 1, tiny_backbone().facts

    def arrange(cut: Tensor, share: Tensor, prompt: Tensor) -> BackboneInputs:
        return surround(case.tokens, case.batch, prompt, cut, facts, share=share, active=active)

    def layouts(row: int, tokens: Tensor, prompt: Tensor) -> list[Tensor]:
        count, used = case.counts[row], int(active[row])
        return [literal_row(tokens, prompt, count, min(b, used), 0, used) for b in range(cuts)]

    check_gradients(gated, cuts, arrange, layouts)


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([0, 1]))
def test_rotated_cuts_and_their_gradient_are_those_of_the_literal_mixture(
    case: Case, lead: int
) -> None:
    facts, length = replace(tiny_backbone().facts, lead=lead), case.num_vectors

    def arrange(behind: Tensor, share: Tensor, prompt: Tensor) -> BackboneInputs:
        cut, shares = length - behind, share.flip(1)
        return surround(case.tokens, case.batch, prompt, cut, facts, share=shares, is_rotated=True)

    def layouts(row: int, tokens: Tensor, prompt: Tensor) -> list[Tensor]:
        last = case.counts[row] - 1
        return [
            torch.cat([tokens[:lead], prompt[j:], tokens[lead:last], prompt[:j], tokens[last:]])
            for j in range(length + 1)
        ]

    check_gradients(case, length + 1, arrange, layouts)
