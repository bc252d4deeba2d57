from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from core.data.tokens import TokenisedSplit
from core.training.evaluate import Scores
from core.training.losses import Target, loss_of, target

SIZES = [3, 1, 5, 2]
RIGHT = [(0, 2), (0,), (4,), (1,)]


def choices_split() -> TokenisedSplit:
    """Four examples of 3, 1, 5 and 2 choices, of the first one two right ones."""
    offsets = np.concatenate([[0], np.cumsum(SIZES)]).astype(np.int64)
    right = np.zeros(sum(SIZES), dtype=np.bool_)
    for start, found in zip(offsets, RIGHT, strict=False):
        right[[start + place for place in found]] = True
    rows = sum(SIZES)
    return TokenisedSplit(
        ids=np.zeros(rows, dtype=np.int32),
        types=np.zeros(rows, dtype=np.int32),
        offsets=np.arange(rows + 1, dtype=np.int64),
        unit_offsets=offsets,
        labels=np.asarray([found[0] for found in RIGHT], dtype=np.int64),
        right=right,
        kind="choices",
        truncated=0,
        pad_id=0,
    )


def literal_loss(scores: torch.Tensor, units: list[int], split: TokenisedSplit) -> torch.Tensor:
    """One example after the other: -log of the sum of the right choices' probabilities."""
    start, losses = 0, []
    for unit in units:
        own = torch.softmax(scores[start : start + SIZES[unit], 0], dim=0)
        losses.append(-own[list(RIGHT[unit])].sum().log())
        start += SIZES[unit]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("units", [[0, 1, 2, 3], [2], [3, 0], [1]])
def test_the_loss_of_choices_is_one_softmax_an_example(units: list[int]) -> None:
    split = choices_split()
    draw = torch.Generator().manual_seed(0)
    count = sum(SIZES[unit] for unit in units)
    ours = torch.randn(count, 1, generator=draw, dtype=torch.float64).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    loss = loss_of(ours, target(split, np.asarray(units), torch.device("cpu")))
    expected = literal_loss(theirs, units, split)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_number_added_to_all_scores_of_an_example_changes_nothing() -> None:
    answers = target(choices_split(), np.arange(4), torch.device("cpu"))
    scores = torch.randn(11, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shift = torch.repeat_interleave(torch.tensor([5.0, -2.0, 0.5, 9.0]), torch.tensor(SIZES))
    torch.testing.assert_close(loss_of(scores + shift[:, None], answers), loss_of(scores, answers))


def test_the_loss_of_classes_is_the_cross_entropy() -> None:
    labels, scores = torch.tensor([2, 0]), torch.tensor([[0.1, 0.2, 3.0], [1.0, 0.0, 0.0]])
    assert torch.equal(loss_of(scores, Target(labels)), cross_entropy(scores, labels))


def test_scores_of_choices_leave_no_trace_of_the_padding() -> None:
    split = choices_split()
    logits = np.full((4, 5), -np.inf, dtype=np.float32)
    flat = np.asarray([0.5, 1, 0.5, -3, 1, 2, 3, 4, 5, 7, 6], dtype=np.float32)
    logits[split.is_choice] = flat
    scores = Scores(split, logits)
    assert scores.is_finite
    assert scores.predictions.tolist() == [1, 0, 4, 0]
    assert [len(shares) for shares in scores.probabilities()] == SIZES
    for shares in scores.probabilities():
        assert sum(shares) == pytest.approx(1)
    assert scores.probabilities()[3][0] == pytest.approx(math.e / (1 + math.e))
    assert scores.answer_rows.tolist() == [1, 3, 8, 9]
    answers = target(split, np.arange(4), torch.device("cpu"))
    assert scores.loss() == pytest.approx(loss_of(torch.from_numpy(flat)[:, None], answers).item())
    logits[2, 1] = np.nan
    assert not Scores(split, logits).is_finite
    logits[2, 1] = -np.inf
    assert not Scores(split, logits).is_finite
