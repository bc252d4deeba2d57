"""Losses that sum over a discrete choice instead of passing a gradient straight through it.

A row's choice c has the probability p(c | x) that the selector gives it, and the label the
likelihood p(y | x, c) that the backbone gives it under this choice, one pass a choice.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from core.methods._module import Candidates


def marginal_loss(
    log_likelihood: Float[Tensor, " rows"], candidates: Candidates
) -> Float[Tensor, " batch"]:
    """Return each example's loss over its candidates, in nats.

    Args:
        log_likelihood: Log-likelihood of the label in each row, one candidate's rows after the
            other's.
        candidates: What the rows stand for.
    """
    log_prior = candidates.log_prior
    table = log_likelihood.reshape(log_prior.shape[1], log_prior.shape[0]).T
    loss = exact_loss if candidates.is_exact else sampled_loss
    # The bonus has a gradient and no value, so that a loss can be set beside that of other methods.
    return loss(log_prior, table) - candidates.bonus + candidates.bonus.detach()


def exact_loss(
    log_prior: Float[Tensor, "batch choices"], log_likelihood: Float[Tensor, "batch choices"]
) -> Float[Tensor, " batch"]:
    """Return -log sum_c p(c | x) p(y | x, c), in nats: the marginal likelihood over all choices.

    Args:
        log_prior: Log-probability of every choice, normalised.
        log_likelihood: Log-likelihood of the label under every choice.
    """
    return -torch.logsumexp(log_prior + log_likelihood, dim=1)


def sampled_loss(
    log_prior: Float[Tensor, "batch samples"], log_likelihood: Float[Tensor, "batch samples"]
) -> Float[Tensor, " batch"]:
    """Return the multi-sample bound, in nats, with VIMCO's gradient (arXiv 1602.06725).

    The value is -log (1/K) sum_k p(y | x, c_k) for K choices drawn from the prior. Its gradient
    for the likelihood is the plain one; for the prior it is the score function, each sample
    weighted by how much it raised the bound over a bound in which the geometric mean of the
    others stands for it (equations 7, 9 and 10).

    Args:
        log_prior: Log-probability of each drawn choice.
        log_likelihood: Log-likelihood of the label under it; at least two samples.

    Raises:
        ValueError: If there is only one sample, which leaves nothing to compare it with.
    """
    count = log_likelihood.shape[1]
    if count < 2:
        raise ValueError("the multi-sample bound needs at least two samples")
    bound = torch.logsumexp(log_likelihood, dim=1) - math.log(count)
    with torch.no_grad():
        others = (log_likelihood.sum(dim=1, keepdim=True) - log_likelihood) / (count - 1)
        every = log_likelihood[:, None, :].expand(-1, count, -1)
        own = torch.eye(count, dtype=torch.bool, device=every.device)
        replaced = torch.where(own, others[:, :, None], every)
        baseline = torch.logsumexp(replaced, dim=2) - math.log(count)
        signal = bound[:, None] - baseline
    score = (signal * log_prior).sum(dim=1)
    # The score term has a gradient and no value.
    return -(bound + score - score.detach())
