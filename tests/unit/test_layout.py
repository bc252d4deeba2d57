from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.methods._arrange import cut_gradient
from core.methods._initial import initial_vectors
from core.methods._layout import prompt_free, surround
from core.methods._module import TokenBatch
from core.methods._selector import best, gumbel_choice
from tests.method_tools import make_batch, noise, tiny_backbone

LENGTHS, TOTAL, VECTORS = (2, 5, 9, 12), 12, 4


def literal_row(tokens: Tensor, prompt: Tensor, count: int, cut: int) -> Tensor:
    """The paper's layout, written out: the oracle for the index arithmetic."""
    pieces = [tokens[:1], prompt[:cut], tokens[1 : count - 1], prompt[cut:], tokens[count - 1 :]]
    return torch.cat(pieces)


def random_prompt(rows: int = len(LENGTHS)) -> Tensor:
    return torch.randn(rows, VECTORS, 32, generator=torch.Generator().manual_seed(5))


def a_batch() -> tuple[TokenBatch, Tensor]:
    batch = make_batch(tiny_backbone(), LENGTHS, TOTAL)
    return batch, torch.randn(len(LENGTHS), TOTAL, 32, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("cut", range(VECTORS + 1))
def test_invariant_2_the_layout_keeps_every_row_and_both_orders(cut: int) -> None:
    batch, tokens = a_batch()
    prompt = random_prompt()
    cuts = torch.full((len(LENGTHS),), cut)
    inputs = surround(tokens, batch, prompt, cuts, tiny_backbone().facts)
    for row, count in enumerate(LENGTHS):
        expected = literal_row(tokens[row], prompt[row], count, cut)
        assert torch.equal(inputs.embeddings[row], expected)
        attended = [True] * (count + VECTORS) + [False] * (TOTAL - count)
        assert inputs.mask[row].tolist() == attended
        real = [True, *[False] * cut, *[True] * (count - 2), *[False] * (VECTORS - cut), True]
        assert inputs.content_mask[row].tolist() == real + [False] * (TOTAL - count)
        assert int(inputs.read_out[row]) == 0
        assert int(inputs.last[row]) == count + VECTORS - 1
    assert inputs.position_ids[0].tolist() == list(range(TOTAL + VECTORS))


def test_each_row_may_have_its_own_cut() -> None:
    batch, tokens = a_batch()
    prompt, cuts = random_prompt(), torch.tensor([4, 0, 2, 3])
    inputs = surround(tokens, batch, prompt, cuts, tiny_backbone().facts)
    for row, count in enumerate(LENGTHS):
        expected = literal_row(tokens[row], prompt[row], count, int(cuts[row]))
        assert torch.equal(inputs.embeddings[row], expected)


def test_vectors_after_the_input_get_the_last_segment() -> None:
    batch = make_batch(tiny_backbone(), (7,), 8, second=3)
    inputs = surround(
        torch.zeros(1, 8, 32), batch, random_prompt(1), torch.tensor([1]), tiny_backbone().facts
    )
    #         CLS P  x  x  x  y  y  P  P  P  SEP pad
    assert inputs.token_types[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]


def test_positions_start_behind_the_padding_id_on_roberta_and_never_leave_the_table() -> None:
    backbone = tiny_backbone("roberta")
    inputs = prompt_free(backbone, make_batch(backbone, (5,), 192))
    assert inputs.position_ids[0, :5].tolist() == [2, 3, 4, 5, 6]
    assert int(inputs.position_ids.max()) == 161
    assert backbone.forward(inputs).isfinite().all()


def test_invariant_9_the_written_gradient_equals_autograd_of_the_mixture() -> None:
    batch, tokens = a_batch()
    draw = torch.Generator().manual_seed(8)
    weights = torch.randn(TOTAL + VECTORS, 32, generator=draw)
    scores = torch.randn(len(LENGTHS), VECTORS + 1, generator=draw)
    results = []
    for literal in (False, True):
        s, p = scores.clone().requires_grad_(), random_prompt().requires_grad_()
        cut, share = gumbel_choice(s, noise(3))
        if literal:
            mixed = []
            for row, count in enumerate(LENGTHS):
                layouts = [literal_row(tokens[row], p[row], count, b) for b in range(VECTORS + 1)]
                mixed.append((share[row, :, None, None] * torch.stack(layouts)).sum(dim=0))
            arranged = torch.stack(mixed)
        else:
            inputs = surround(tokens, batch, p, cut, tiny_backbone().facts, share=share)
            arranged = inputs.embeddings
        (arranged.sin() * weights).sum().backward()
        results.append((arranged.detach(), p.grad, s.grad))
    (ours, our_prompt, our_scores), (theirs, prompt, mixture) = results
    assert our_scores is not None
    assert mixture is not None
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(our_prompt, prompt, atol=1e-6, rtol=0)
    largest = float(mixture.abs().max())
    assert float((our_scores - mixture).abs().max()) / largest < 1e-6
    assert largest > 0.1
    assert float(our_scores.sum(dim=1).abs().max()) / largest < 1e-6


def test_the_written_gradient_differs_from_the_mixtures_by_a_constant_a_row() -> None:
    batch, tokens = a_batch()
    prompt = random_prompt()
    gradient = torch.randn(4, TOTAL + VECTORS, 32, generator=torch.Generator().manual_seed(9))
    written = cut_gradient(
        tokens, prompt, batch.mask.sum(dim=1), gradient, torch.full((4,), VECTORS)
    )
    for row, count in enumerate(LENGTHS):
        exact = torch.stack(
            [
                (literal_row(tokens[row], prompt[row], count, b) * gradient[row]).sum()
                for b in range(VECTORS + 1)
            ]
        )
        difference = written[row] - exact
        torch.testing.assert_close(difference, difference[:1].expand(5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("is_rotated", [False, True])
@pytest.mark.parametrize("vectors", [5, 33])
def test_the_written_gradient_holds_for_texts_of_several_blocks(
    vectors: int, is_rotated: bool
) -> None:
    counts, total, lead = (130, 97, 34), 130, 0 if is_rotated else 1
    active = torch.tensor([vectors, vectors if is_rotated else vectors - 2, vectors])
    draw = torch.Generator().manual_seed(vectors)
    made = [(3, total, 8), (3, vectors, 8), (3, total + vectors, 8)]
    tokens, prompt, gradient = (
        torch.randn(sizes, generator=draw, dtype=torch.float64) for sizes in made
    )
    prompt = prompt * (torch.arange(vectors) < active[:, None])[..., None]
    written = cut_gradient(
        tokens, prompt, torch.tensor(counts), gradient, active, lead, is_rotated=is_rotated
    )
    for row, count in enumerate(counts):
        used, exact = int(active[row]), []
        for cut in range(vectors + 1):
            given = prompt[row, :used]
            split = vectors - cut if is_rotated else min(cut, used)
            parts = (given[:split], given[split:])
            first, second = parts[::-1] if is_rotated else parts
            text = tokens[row, lead : count - 1]
            laid = torch.cat([first, text, second])
            exact.append((laid * gradient[row, lead : lead + len(laid)]).sum())
        # The first and last tokens stand in the same columns whatever the cut.
        difference = written[row] - torch.stack(exact)
        torch.testing.assert_close(difference, difference[:1].expand(vectors + 1))


def test_embeddings_that_are_trained_get_their_gradient() -> None:
    batch, tokens = a_batch()
    tokens = tokens.clone().requires_grad_()
    cuts = torch.tensor([4, 0, 2, 3])
    inputs = surround(tokens, batch, random_prompt(), cuts, tiny_backbone().facts)
    weights = torch.randn(inputs.embeddings.shape, generator=torch.Generator().manual_seed(2))
    (inputs.embeddings * weights).sum().backward()
    for row, count in enumerate(LENGTHS):
        twin = tokens[row].detach().clone().requires_grad_()
        arranged = literal_row(twin, random_prompt()[row], count, int(cuts[row]))
        (arranged * weights[row]).sum().backward()
        assert tokens.grad is not None
        assert torch.equal(tokens.grad[row], twin.grad if twin.grad is not None else twin)


@pytest.mark.parametrize("temperature", [2.0, 0.1])
def test_invariant_7_hard_samples_are_one_hot_and_ignore_the_temperature(
    temperature: float,
) -> None:
    scores = torch.tensor([1.0, 0.0, -1.0, 0.5])
    index, share = gumbel_choice(scores.expand(40_000, -1), noise(1, temperature))
    assert set(share.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(share.argmax(dim=1), index)
    assert torch.equal(share.sum(dim=1), torch.ones(40_000))
    frequencies = index.bincount(minlength=4) / 40_000
    torch.testing.assert_close(frequencies, scores.softmax(dim=0), atol=0.01, rtol=0)
    same, _ = gumbel_choice(scores.expand(40_000, -1), noise(1, 1.0))
    assert torch.equal(same, index)


def test_the_best_of_equal_scores_is_the_longest_prefix() -> None:
    scores = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 1.0]])
    assert best(scores).tolist() == [2, 1]


def test_initial_vectors_are_vocabulary_entries_or_uniform() -> None:
    backbone = tiny_backbone()
    table = backbone.embed(torch.arange(backbone.facts.vocab)[None])[0]
    taken = initial_vectors(5, "vocabulary", backbone, torch.Generator().manual_seed(1))
    assert all((table == vector).all(dim=1).any() for vector in taken)
    uniform = initial_vectors(50, "uniform", backbone, torch.Generator().manual_seed(1))
    assert -0.5 <= float(uniform.min()) < -0.4
    assert 0.4 < float(uniform.max()) <= 0.5
