"""The vectorised layouts against literal ones written from the definitions, for random sizes."""

from __future__ import annotations

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
    return (arranged.sin() * weights * mask[..., None]).sum()


def check_rows(case: Case, inputs: BackboneInputs, places: list[tuple[int, int, int]]) -> None:
    for row, (count, (before, place, active)) in enumerate(zip(case.counts, places, strict=True)):
        expected = literal_row(case.tokens[row], case.prompt[row], count, before, place, active)
        assert torch.equal(inputs.embeddings[row], expected)
        assert int(inputs.mask[row].sum()) == count + active == int(inputs.last[row]) + 1
        assert bool(inputs.mask[row, : count + active].all())
        assert int(inputs.content_mask[row].sum()) == count


def agree(ours: Tensor, literal: Tensor) -> None:
    """Compare gradients of scores up to 1e-6 of the largest."""
    scale = max(1.0, float(literal.abs().max()))
    assert float((ours - literal).abs().max()) / scale < TOLERANCE * 10


def same_with_gradients(ours: tuple[Tensor, ...], literal: tuple[Tensor, ...]) -> None:
    """Compare rows to the tolerance, and then the gradients of scores and prompt."""
    torch.testing.assert_close(ours[0], literal[0], atol=TOLERANCE, rtol=0)
    for mine, other in zip(ours[1:], literal[1:], strict=True):
        agree(mine, other)


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
    length, weights = case.num_vectors, weights_of(case)
    start = torch.randn(len(slots), 3, generator=torch.Generator().manual_seed(case.seed))
    results = []
    for is_literal in (False, True):
        scores, prompt = start.clone().requires_grad_(), case.prompt.clone().requires_grad_()
        slot, share = gumbel_choice(scores, noise(case.seed))
        inputs = insert(
            case.tokens, case.batch, prompt, torch.tensor(slots), slot, tiny_backbone().facts,
            share=share,
        )  # fmt: skip
        arranged = inputs.embeddings
        if is_literal:
            mixed = []
            for row, count in enumerate(case.counts):
                every = [
                    literal_row(case.tokens[row], prompt[row], count, length, place, length)
                    for place in slots[row]
                ]
                mixed.append((share[row, :, None, None] * torch.stack(every)).sum(dim=0))
            arranged = torch.stack(mixed)
        loss_of(arranged, inputs.mask, weights).backward()
        assert scores.grad is not None
        assert prompt.grad is not None
        results.append((arranged.detach(), scores.grad, prompt.grad))
    same_with_gradients(*results)


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_the_gradient_of_cuts_of_some_vectors_is_that_of_the_literal_mixture(
    case: Case, data: st.DataObject
) -> None:
    active = [data.draw(st.integers(0, case.num_vectors)) for _ in case.counts]
    weights, cuts = weights_of(case), case.num_vectors + 1
    start = torch.randn(len(active), cuts, generator=torch.Generator().manual_seed(case.seed))
    gate = torch.arange(case.num_vectors) < torch.tensor(active)[:, None]
    gated = case.prompt * gate[..., None]
    results = []
    for is_literal in (False, True):
        scores = start.clone().requires_grad_()
        cut, share = gumbel_choice(scores, noise(case.seed))
        inputs = surround(
            case.tokens, case.batch, gated, cut, tiny_backbone().facts, share=share,
            active=torch.tensor(active),
        )  # fmt: skip
        arranged = inputs.embeddings
        if is_literal:
            mixed = []
            for row, (count, used) in enumerate(zip(case.counts, active, strict=True)):
                every = [
                    literal_row(case.tokens[row], gated[row], count, min(b, used), 0, used)
                    for b in range(cuts)
                ]
                mixed.append((share[row, :, None, None] * torch.stack(every)).sum(dim=0))
            arranged = torch.stack(mixed)
        loss_of(arranged, inputs.mask, weights).backward()
        assert scores.grad is not None
        results.append((arranged.detach(), scores.grad))
    torch.testing.assert_close(results[0][0], results[1][0], atol=TOLERANCE, rtol=0)
    agree(results[0][1], results[1][1])


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([0, 1]))
def test_rotated_cuts_and_their_gradient_are_those_of_the_literal_mixture(
    case: Case, lead: int
) -> None:
    facts = replace(tiny_backbone().facts, lead=lead)
    length, weights = case.num_vectors, weights_of(case)
    start = torch.randn(
        len(case.counts), length + 1, generator=torch.Generator().manual_seed(case.seed)
    )
    results = []
    for is_literal in (False, True):
        scores, prompt = start.clone().requires_grad_(), case.prompt.clone().requires_grad_()
        behind, share = gumbel_choice(scores, noise(case.seed))
        inputs = surround(
            case.tokens, case.batch, prompt, length - behind, facts, share=share.flip(1),
            is_rotated=True,
        )  # fmt: skip
        arranged = inputs.embeddings
        if is_literal:
            mixed = []
            for row, count in enumerate(case.counts):
                tokens, vectors, last = case.tokens[row], prompt[row], count - 1
                every = [
                    torch.cat(
                        [tokens[:lead], vectors[j:], tokens[lead:last], vectors[:j], tokens[last:]]
                    )
                    for j in range(length + 1)
                ]
                mixed.append((share[row, :, None, None] * torch.stack(every)).sum(dim=0))
            arranged = torch.stack(mixed)
        loss_of(arranged, inputs.mask, weights).backward()
        assert scores.grad is not None
        assert prompt.grad is not None
        results.append((arranged.detach(), scores.grad, prompt.grad))
    same_with_gradients(*results)
