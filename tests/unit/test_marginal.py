"""Marginal and multi-sample losses against sums over everything that can be drawn."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from core.methods._marginal import exact_loss, marginal_loss, sampled_loss
from core.methods._module import Candidates
from core.methods.dynamic_prompt.choosing import drawn_choices

CHOICES = 3


def problem(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores of a selector and of the likelihood, one row."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, CHOICES, generator=draw, dtype=torch.float64)
    likelihood = torch.randn(1, CHOICES, generator=draw, dtype=torch.float64) * 2 - 1
    return scores.requires_grad_(), likelihood.requires_grad_()


def test_exact_is_the_logarithm_of_the_mixture() -> None:
    scores, likelihood = problem()
    loss = exact_loss(torch.log_softmax(scores, dim=1), likelihood)
    mixture = (scores.softmax(dim=1) * likelihood.exp()).sum()
    assert float(loss.detach()) == pytest.approx(-float(mixture.log().detach()))


def test_exact_gives_choices_their_posterior_share_of_the_gradient() -> None:
    scores, likelihood = problem(1)
    exact_loss(torch.log_softmax(scores, dim=1), likelihood).sum().backward()
    prior = scores.detach().softmax(dim=1)
    posterior = (prior * likelihood.detach().exp()).div((prior * likelihood.detach().exp()).sum())
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, prior - posterior)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_the_sampled_gradient_is_right_on_average(samples: int) -> None:
    scores, likelihood = problem(2)
    log_prior = torch.log_softmax(scores, dim=1)
    draws = list(itertools.product(range(CHOICES), repeat=samples))
    index = torch.tensor(draws)
    chances = log_prior.detach()[0, index].sum(dim=1).exp()
    assert float(chances.sum()) == pytest.approx(1.0)

    rows = len(draws)
    losses = sampled_loss(
        log_prior.expand(rows, -1).gather(1, index), likelihood.expand(rows, -1).gather(1, index)
    )
    ours = torch.autograd.grad((chances * losses).sum(), [scores, likelihood], retain_graph=True)

    probability = log_prior[0, index].sum(dim=1).exp()
    value = torch.logsumexp(likelihood[0, index], dim=1) - torch.log(torch.tensor(float(samples)))
    exact = torch.autograd.grad(-(probability * value).sum(), [scores, likelihood])
    for mine, theirs in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert float((chances * losses).sum().detach()) == pytest.approx(
        -float((probability * value).sum().detach())
    )


def test_more_samples_come_closer_to_the_marginal_likelihood() -> None:
    scores, likelihood = problem(3)
    log_prior = torch.log_softmax(scores, dim=1).detach()
    exact = float(exact_loss(log_prior, likelihood.detach()))
    draw = torch.Generator().manual_seed(4)
    bounds = []
    for samples in (2, 8, 32):
        index = torch.multinomial(
            log_prior.exp().expand(20_000, -1), samples, replacement=True, generator=draw
        )
        rows = log_prior.expand(20_000, -1).gather(1, index)
        found = likelihood.detach().expand(20_000, -1).gather(1, index)
        bounds.append(float(sampled_loss(rows, found).mean()))
    assert bounds[0] > bounds[1] > bounds[2] > exact - 0.01
    assert bounds[2] == pytest.approx(exact, abs=0.05)


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        sampled_loss(torch.zeros(2, 1), torch.zeros(2, 1))


def test_the_bonus_moves_the_gradient_and_not_the_value() -> None:
    scores, likelihood = problem(5)
    log_prior = torch.log_softmax(scores, dim=1)
    entropy = -(log_prior.exp() * log_prior).sum(dim=1)
    values, gradients = [], []
    for weight in (0.0, 0.5):
        candidates = Candidates(log_prior, True, weight * entropy)
        loss = marginal_loss(likelihood.T.reshape(-1), candidates).sum()
        values.append(float(loss.detach()))
        gradients.append(torch.autograd.grad(loss, scores, retain_graph=True)[0])
    assert values[0] == values[1]
    (expected,) = torch.autograd.grad(-0.5 * entropy.sum(), scores)
    torch.testing.assert_close(gradients[1] - gradients[0], expected)


def test_each_sample_is_weighed_against_the_geometric_mean_of_the_others() -> None:
    likelihood = torch.tensor([[0.8, 0.2, 0.05]]).log().requires_grad_()
    log_prior = torch.zeros(1, 3, requires_grad=True)
    sampled_loss(log_prior, likelihood).sum().backward()
    # The others of the three have the means 0.1, 0.2 and 0.4.
    expected = -torch.tensor([[1.05 / 0.35, 1.05 / 1.05, 1.05 / 1.4]]).log()
    torch.testing.assert_close(log_prior.grad, expected)


def test_drawn_rows_stand_one_batch_after_the_other() -> None:
    scores = {"position": torch.eye(CHOICES) * 1000}
    taken, _ = drawn_choices(scores, 2, torch.Generator().manual_seed(0), 0.0)
    assert taken["position"].index.tolist() == [0, 1, 2, 0, 1, 2]
