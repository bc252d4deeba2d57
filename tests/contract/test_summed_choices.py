"""Selection by the marginal likelihood: each choice in a row of its own, one loss over them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core.backbones.load import Backbone
from core.backbones.readout import pool
from core.methods._marginal import marginal_loss
from core.methods._module import BackboneInputs, PromptMethod
from tests.method_tools import (
    make_batch,
    make_config,
    make_method,
    noise,
    read,
    shake,
    tiny_backbone,
)

VECTORS = 6
LENGTHS = (9, 4, 12)


def likelihood(backbone: Backbone, inputs: BackboneInputs) -> Tensor:
    """A stand-in for the label's log-likelihood in each row."""
    return -pool(backbone.forward(inputs), inputs, "mean").square().sum(dim=1)


def forced(method: PromptMethod, cut: int, length: int) -> PromptMethod:
    """The same vectors with one cut and one length made certain."""
    fixed = make_method(
        tiny_backbone(), "dynamic_prompt", position="task", length="task", shortest=1
    )
    with torch.no_grad():
        fixed.get_parameter("pool").copy_(method.get_parameter("pool"))
        for name, index in (("position", cut), ("length", length)):
            scores = fixed.get_parameter(f"{name}.scores")
            scores.fill_(-1e9)
            scores[index] = 0.0
    return fixed


def test_exact_sums_the_likelihood_over_all_cuts_and_lengths() -> None:
    backbone = tiny_backbone()
    axes = {"position": "instance", "length": "instance", "selection": "exact"}
    method = shake(make_method(backbone, "dynamic_prompt", **axes))
    batch = make_batch(backbone, LENGTHS, 12)
    with torch.no_grad():
        inputs = method.adapt(batch, noise())
        assert inputs.candidates is not None
        ours = marginal_loss(likelihood(backbone, inputs), inputs.candidates)
        chosen = method.adapt(batch).choice
        assert chosen.cut_probabilities is not None
        assert chosen.length_probabilities is not None
        total = torch.zeros(len(LENGTHS))
        for cut in range(VECTORS + 1):
            for length in range(VECTORS):
                one = forced(method, cut, length).adapt(batch)
                share = chosen.cut_probabilities[:, cut] * chosen.length_probabilities[:, length]
                total += share * likelihood(backbone, one).exp()
    torch.testing.assert_close(ours, -total.log(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("place", ["cut", "slot"])
def test_drawn_choices_follow_the_selector_and_carry_their_probability(place: str) -> None:
    backbone = tiny_backbone()
    axes = {"position": "task", "place": place, "selection": "sampled", "samples": 64}
    method = shake(make_method(backbone, "dynamic_prompt", **axes, entropy_bonus=0.5))
    batch = make_batch(backbone, (8,) * 32, 8)
    inputs = method.adapt(batch, noise(2))
    candidates = inputs.candidates
    assert candidates is not None
    assert inputs.embeddings.shape[0] == 64 * 32
    scores = method.get_parameter("position.scores").detach()
    logs = torch.log_softmax(scores, dim=0)
    drawn = candidates.log_prior.detach()
    # Every drawn probability is one of the choices', and each comes as often as it says.
    nearest = (drawn[..., None] - logs).abs().argmin(dim=-1)
    assert float((drawn[..., None] - logs).abs().amin(dim=-1).max()) < 1e-5
    frequencies = nearest.flatten().bincount(minlength=len(logs)) / nearest.numel()
    torch.testing.assert_close(frequencies, logs.exp(), atol=0.05, rtol=0)
    entropy = -(logs.exp() * logs).sum()
    torch.testing.assert_close(candidates.bonus.detach(), (0.5 * entropy).expand(32))


def test_of_two_axes_pairs_are_drawn_and_the_bonus_is_the_entropy_of_the_pairs() -> None:
    backbone = tiny_backbone()
    axes = {"position": "instance", "length": "instance", "selection": "sampled", "samples": 5}
    method = shake(make_method(backbone, "dynamic_prompt", **axes, entropy_bonus=0.5))
    batch = make_batch(backbone, LENGTHS, 12)
    inputs = method.adapt(batch, noise())
    candidates, choice = inputs.candidates, inputs.choice
    assert candidates is not None
    assert choice.cut is not None
    assert choice.length is not None
    own = dict(method.named_parameters())
    assert batch.feature is not None
    cuts, lengths = (
        (batch.feature @ own[f"{name}.linear.weight"].T + own[f"{name}.linear.bias"])
        .double()
        .softmax(dim=1)
        for name in ("position", "length")
    )
    pairs = cuts[:, :, None] * lengths[:, None]
    rows = torch.arange(len(LENGTHS)).repeat(5)
    drawn = pairs[rows, choice.cut, choice.length - 1].log().reshape(5, -1).T
    torch.testing.assert_close(candidates.log_prior.double(), drawn, atol=1e-5, rtol=0)
    bonus = -0.5 * (pairs * pairs.log()).sum(dim=(1, 2))
    torch.testing.assert_close(candidates.bonus.double(), bonus, atol=1e-5, rtol=0)
    for name in ("position", "length"):
        weight = own[f"{name}.linear.weight"]
        ours, theirs = (
            torch.autograd.grad(found.sum(), weight, retain_graph=True)[0]
            for found in (candidates.bonus, bonus)
        )
        assert float(theirs.abs().max()) > 0.01
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_evaluation_takes_the_best_choice_in_one_pass() -> None:
    backbone = tiny_backbone()
    axes = {"position": "instance", "place": "slot"}
    summed = shake(make_method(backbone, "dynamic_prompt", **axes, selection="exact"))
    plain = shake(make_method(backbone, "dynamic_prompt", **axes))
    batch = make_batch(backbone, LENGTHS, 12)
    inputs = summed.adapt(batch)
    assert inputs.candidates is None
    assert inputs.choice.slot is not None
    assert torch.equal(read(backbone, summed, batch), read(backbone, plain, batch))


def test_what_cannot_be_summed_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs a position or a length"):
        make_config("dynamic_prompt", position="fixed", selection="exact")
    with pytest.raises(ValidationError, match="passes an update"):
        make_config("dynamic_prompt", length="task", num_virtual_tokens=20, selection="exact")
