"""Learning in two stages, and the control whose cut is drawn at random."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.methods._module import PromptMethod
from tests.method_tools import (
    loss_of,
    make_batch,
    make_config,
    make_method,
    noise,
    read,
    shake,
    tiny_backbone,
)

STAGED = {"position": "task", "representation": "instance"}
LENGTHS, TOTAL, VECTORS = (9, 4, 12), 12, 6


def staged(**fields: Any) -> PromptMethod:
    method = make_method(tiny_backbone(), "dynamic_prompt", stages="two_stage", **STAGED, **fields)
    return shake(method)


def reached(method: PromptMethod, share_done: float) -> set[str]:
    """Names of the tensors that the gradient of one update reaches."""
    backbone = tiny_backbone()
    method.zero_grad()
    inputs = method.adapt(make_batch(backbone, LENGTHS, TOTAL), noise(share_done=share_done))
    loss_of(backbone, method, inputs).backward()
    return {name for name, tensor in method.named_parameters() if tensor.grad is not None}


@pytest.mark.parametrize("selection", ["st_gumbel", "exact", "sampled"])
def test_a_stage_reaches_only_what_it_trains(selection: str) -> None:
    method = staged(selection=selection)
    mixture = {"pool_selector.weight", "pool_selector.bias"}
    for share in (0.0, 0.49):
        assert reached(method, share) == {"pool", "position.scores"}
    for share in (0.5, 0.99):
        assert reached(method, share) == {"pool", *mixture}
    joint = shake(make_method(tiny_backbone(), "dynamic_prompt", selection=selection, **STAGED))
    for share in (0.0, 0.9):
        assert reached(joint, share) == {"pool", "position.scores", *mixture}


def test_the_first_stage_uses_the_mean_of_the_pool_and_draws_cuts() -> None:
    method, batch = staged(), make_batch(tiny_backbone(), (8,) * 16, 8)
    inputs = method.adapt(batch, noise())
    cut, weights = inputs.choice.cut, inputs.choice.pool_weights
    assert cut is not None
    assert weights is not None
    assert len(set(cut.tolist())) > 2
    assert torch.equal(weights, torch.full((16, 4), 0.25))
    row = int(cut.argmax())
    mean = method.get_parameter("pool").mean(dim=0)[: int(cut[row])]
    torch.testing.assert_close(inputs.embeddings[row, 1 : 1 + len(mean)], mean)


def test_the_second_stage_is_the_evaluation_of_its_position_with_a_mixture() -> None:
    method, batch = staged(), make_batch(tiny_backbone(), LENGTHS, TOTAL)
    trained, scored = method.adapt(batch, noise(share_done=0.7)), method.adapt(batch)
    assert torch.equal(trained.embeddings, scored.embeddings)
    assert trained.choice.cut is not None
    best = int(method.get_parameter("position.scores").argmax())
    assert trained.choice.cut.tolist() == [best] * 3


def test_an_untrained_mixture_is_scored_as_the_first_stage_trains_it() -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "dynamic_prompt", stages="two_stage", **STAGED)
    weights = method.adapt(make_batch(backbone, LENGTHS, TOTAL)).choice.pool_weights
    assert weights is not None
    assert torch.equal(weights, torch.full((3, 4), 0.25))


@pytest.mark.parametrize(
    "fields", [{}, {"position": "task"}, {**STAGED, "length": "task"}, {"position": "instance"}]
)
def test_stages_need_a_position_of_the_task_and_a_pool(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="first learns a position for the task"):
        make_config("dynamic_prompt", stages="two_stage", **fields)


@pytest.mark.parametrize("place", ["cut", "slot"])
def test_chance_takes_every_place_equally_often(place: str) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "dynamic_prompt", position="random", place=place)
    batch = make_batch(backbone, (12,) * 4000, 12)
    for drawn in (None, noise(1)):
        choice = method.adapt(batch, drawn).choice
        index, shares = choice.by_axis()[place]
        frequencies = index.bincount(minlength=shares.shape[1]) / 4000
        torch.testing.assert_close(frequencies, shares[0], atol=0.03, rtol=0)
        assert len(set(shares.flatten().tolist())) == 1


def test_chance_learns_nothing_and_repeats_itself_where_it_is_scored() -> None:
    backbone = tiny_backbone()
    method, again, other = (
        make_method(backbone, "dynamic_prompt", position="random", seed=seed) for seed in (1, 1, 2)
    )
    assert set(method.parameter_groups()) == {"prompt"}
    batch = make_batch(backbone, (8,) * 32, 8)
    assert torch.equal(read(backbone, method, batch), read(backbone, again, batch))
    cuts = [run.adapt(batch).choice.cut for run in (method, other)]
    assert cuts[0] is not None
    assert cuts[1] is not None
    assert not torch.equal(cuts[0], cuts[1])
    plain = [make_method(backbone, "prompt_tuning", cut=cut) for cut in range(VECTORS + 1)]
    for one in plain:
        with torch.no_grad():
            one.get_parameter("prompt").copy_(method.get_parameter("pool")[0])
    ours = method.adapt(batch).embeddings
    for row, cut in enumerate(cuts[0].tolist()):
        assert torch.equal(ours[row], plain[cut].adapt(batch).embeddings[row])


def test_chance_is_named_for_what_it_is() -> None:
    config = make_config("dynamic_prompt", position="random")
    assert config.label == "random_cut"
    assert config.describe() == (
        "Dynamic prompt: 6 vectors, the same for all inputs, split around the input at a cut drawn "
        "at random for each input."
    )
    assert make_config("dynamic_prompt", position="random", length="task").label == (
        "random_cut (length task)"
    )
