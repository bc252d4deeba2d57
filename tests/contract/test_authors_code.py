"""``behaviour: paper_code`` against a slow program with the loops that its description has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from core.backbones.load import Backbone
from core.methods._module import BackboneInputs, PromptMethod, TokenBatch
from core.training.features import text_feature
from tests.method_tools import (
    AUTHORED,
    loss_of,
    make_batch,
    make_config,
    make_method,
    noise,
    read,
    shake,
    tiny_backbone,
)

VECTORS = 6
LENGTHS, TOTAL = (9, 4, 12), 12
LEARNT = [fields for fields in AUTHORED if fields["position"] != "fixed"]


def theirs(backbone: Backbone, position: str, representation: str = "fixed") -> PromptMethod:
    axes = {"position": position, "representation": representation}
    return make_method(backbone, "dynamic_prompt", behaviour="paper_code", **axes)


def gumbel(rows: int, seed: int) -> Tensor:
    """What a training step of this seed draws."""
    drawn = torch.empty(rows, VECTORS + 1)
    return -drawn.exponential_(generator=torch.Generator().manual_seed(seed)).log()


def slow_prompt(method: PromptMethod, feature: Tensor, is_alone: bool) -> Tensor:
    """The prompt of one row, mixed one by one."""
    own = dict(method.named_parameters())
    if "pool_selector.weight" not in own:
        return own["pool"][0]
    scores = own["pool_selector.weight"] @ feature + own["pool_selector.bias"]
    shares = (scores.tanh() if is_alone else scores).exp()
    mixed = torch.zeros(VECTORS, own["pool"].shape[2])
    for share, prompt in zip(shares / shares.sum(), own["pool"], strict=True):
        mixed = mixed + share * prompt
    return mixed


def slow_weights(method: PromptMethod, feature: Tensor, drawn: Tensor, heat: float) -> Tensor:
    """The one-hot weights of one row's layouts, by vectors behind the text."""
    own = dict(method.named_parameters())
    if "position.scores" in own:
        scores = own["position.scores"]
    else:
        scores = own["position.linear.weight"] @ feature + own["position.linear.bias"]
        scores = torch.where(scores > 0, scores, 0.0)
    soft = ((scores + drawn) / heat).softmax(dim=0)
    hard = torch.zeros(VECTORS + 1)
    hard[int((scores + drawn).argmax())] = 1.0
    return hard + soft - soft.detach()


def slow_rows(
    method: PromptMethod, backbone: Backbone, batch: TokenBatch, drawn: Tensor, heat: float
) -> Tensor:
    """All rows by nested loops over examples and layouts."""
    assert batch.feature is not None
    embeddings, lead = backbone.embed(batch.token_ids), backbone.facts.lead
    own = dict(method.named_parameters())
    is_alone = not any(name.startswith("position") for name in own)
    rows = []
    for row, count in enumerate(batch.mask.sum(dim=1).tolist()):
        tokens, end = embeddings[row], count - 1
        prompt = slow_prompt(method, batch.feature[row], is_alone)
        weights = torch.eye(VECTORS + 1)[0]
        if not is_alone:
            weights = slow_weights(method, batch.feature[row], drawn[row], heat)
        mixed = torch.zeros(len(tokens) + VECTORS, tokens.shape[1])
        for behind in range(VECTORS + 1):
            pieces = [
                tokens[:lead], prompt[behind:], tokens[lead:end], prompt[:behind], tokens[end:],
            ]  # fmt: skip
            mixed = mixed + weights[behind] * torch.cat(pieces)
        rows.append(mixed)
    return torch.stack(rows)


def gradients(method: PromptMethod, backbone: Backbone, inputs: BackboneInputs) -> list[Tensor]:
    loss = loss_of(backbone, method, inputs)
    return list(torch.autograd.grad(loss, list(method.parameters())))


@pytest.mark.parametrize("family", ["bert", "t5"])
@pytest.mark.parametrize("fields", AUTHORED, ids=lambda fields: "-".join(fields.values()))
def test_the_slow_program_gives_the_same_rows_and_gradients(
    fields: dict[str, Any], family: str
) -> None:
    backbone = tiny_backbone(family)
    method = shake(make_method(backbone, "dynamic_prompt", **fields))
    batch = make_batch(backbone, LENGTHS, TOTAL)
    drawn = gumbel(1 if fields["position"] == "task" else 3, seed=4).expand(3, -1)
    ours = method.adapt(batch, noise(4, temperature=0.6))
    slow = slow_rows(method, backbone, batch, drawn, heat=0.6)
    torch.testing.assert_close(ours.embeddings, slow, atol=1e-6, rtol=0)
    for mine, literal in zip(
        gradients(method, backbone, ours),
        gradients(method, backbone, replace(ours, embeddings=slow)),
        strict=True,
    ):
        assert bool(literal.any())
        scale = max(1.0, float(literal.abs().max()))
        torch.testing.assert_close(mine / scale, literal / scale, atol=5e-6, rtol=0)


def certain(method: PromptMethod, index: int) -> PromptMethod:
    """Make one of their indices certain; scores below 0 would be lifted to 0."""
    with torch.no_grad():
        for name, tensor in method.named_parameters():
            if name.startswith("position."):
                tensor.zero_()
                if tensor.dim() == 1:
                    tensor[index] = 1e6
    return method


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("index", [0, 2, VECTORS])
@pytest.mark.parametrize("position", ["task", "instance"])
def test_invariant_1_their_index_counts_the_vectors_behind_the_text(
    position: str, index: int, training: bool
) -> None:
    backbone = tiny_backbone()
    dynamic = certain(theirs(backbone, position), index)
    plain = make_method(backbone, "prompt_tuning", cut=VECTORS - index)
    with torch.no_grad():
        plain.get_parameter("prompt").copy_(dynamic.get_parameter("pool")[0].roll(-index, dims=0))
    batch = make_batch(backbone, LENGTHS, TOTAL, second=3)
    ours, fixed = dynamic.adapt(batch, noise() if training else None), plain.adapt(batch)
    assert torch.equal(ours.embeddings, fixed.embeddings)
    assert torch.equal(ours.token_types, fixed.token_types)
    assert torch.equal(backbone.forward(ours), backbone.forward(fixed))
    # Index 0 is the prefix and the last one the postfix; a cut is told as ever.
    assert ours.choice.cut is not None
    assert ours.choice.cut_probabilities is not None
    assert ours.choice.cut.tolist() == [VECTORS - index] * 3
    assert ours.choice.cut_probabilities.argmax(dim=1).tolist() == [VECTORS - index] * 3


def cuts_of(method: PromptMethod, batch: TokenBatch, seed: int | None = None) -> list[int]:
    cut = method.adapt(batch, None if seed is None else noise(seed)).choice.cut
    assert cut is not None
    return list(cut.tolist())


def test_a_task_draws_one_cut_for_the_batch_of_an_update_and_inputs_their_own() -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (8,) * 32, 8)
    task, instance = theirs(backbone, "task"), theirs(backbone, "instance")
    drawn = [cuts_of(task, batch, seed) for seed in range(6)]
    assert all(len(set(cuts)) == 1 for cuts in drawn)
    assert len({cuts[0] for cuts in drawn}) > 1
    assert len(set(cuts_of(instance, batch, 0))) > 3
    assert len(set(cuts_of(task, batch))) > 3  # when it is scored each input draws its own


@pytest.mark.parametrize("fields", LEARNT, ids=lambda fields: "-".join(fields.values()))
def test_an_evaluation_draws_and_can_be_repeated(fields: dict[str, Any]) -> None:
    backbone = tiny_backbone()
    method, again, other = (
        make_method(backbone, "dynamic_prompt", seed=seed, **fields) for seed in (3, 3, 4)
    )
    batch = make_batch(backbone, (8,) * 32, 8)
    first = cuts_of(method, batch)
    assert first == cuts_of(method, batch) == cuts_of(again, batch)
    assert torch.equal(read(backbone, method, batch), read(backbone, again, batch))
    assert first != cuts_of(other, batch)
    best = method.adapt(batch).choice.cut_probabilities
    assert best is not None
    assert first != best.argmax(dim=1).tolist()


def test_what_an_evaluation_draws_follows_the_probabilities() -> None:
    backbone = tiny_backbone()
    method = shake(theirs(backbone, "task"))
    batch = make_batch(backbone, (12,) * 4000, 12)
    chosen = method.adapt(batch).choice
    assert chosen.cut is not None
    assert chosen.cut_probabilities is not None
    frequencies = chosen.cut.bincount(minlength=VECTORS + 1) / 4000
    torch.testing.assert_close(frequencies, chosen.cut_probabilities[0], atol=0.03, rtol=0)


def test_scores_of_an_inputs_cuts_never_fall_below_zero() -> None:
    backbone = tiny_backbone()
    method, batch = theirs(backbone, "instance"), make_batch(backbone, LENGTHS, TOTAL)
    with torch.no_grad():
        method.get_parameter("position.linear.weight").zero_()
        method.get_parameter("position.linear.bias").copy_(torch.tensor([-9.0, -1, 0, 0, 0, 0, 1]))
    shares = method.adapt(batch).choice.cut_probabilities
    assert shares is not None
    expected = torch.tensor([1.0, 0, 0, 0, 0, 0, 0]).softmax(dim=0).expand(3, -1)
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("position", ["fixed", "task", "instance"])
def test_only_a_pool_alone_is_bounded(position: str) -> None:
    backbone = tiny_backbone()
    method = theirs(backbone, position, "instance")
    with torch.no_grad():
        method.get_parameter("pool_selector.weight").zero_()
        method.get_parameter("pool_selector.bias").copy_(torch.tensor([50.0, -50, -50, -50]))
    weights = method.adapt(make_batch(backbone, LENGTHS, TOTAL)).choice.pool_weights
    assert weights is not None
    most = 0.7112 if position == "fixed" else 1.0
    assert weights[:, 0].tolist() == pytest.approx([most] * 3, abs=1e-4)


def largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max())


def test_initial_values_are_theirs() -> None:
    backbone = tiny_backbone()
    hidden = backbone.facts.hidden
    first = backbone.embed(torch.arange(4 * VECTORS)[None])[0]
    task, alone = theirs(backbone, "task"), theirs(backbone, "fixed", "instance")
    assert torch.equal(task.get_parameter("pool")[0], first[:VECTORS])
    assert torch.equal(alone.get_parameter("pool").flatten(0, 1), first)
    scores = task.get_parameter("position.scores")
    assert 0.1 < largest(scores) <= 0.5
    for position in ("task", "instance"):
        both = theirs(backbone, position, "instance")
        pool = both.get_parameter("pool")
        assert 0.45 < largest(pool) <= 0.5
        assert not torch.equal(pool.flatten(0, 1), first)
    linear = theirs(backbone, "instance").get_parameter("position.linear.weight")
    assert 0.8 * hidden**-0.5 < largest(linear) <= hidden**-0.5
    uniform = make_method(
        backbone, "dynamic_prompt", position="task", behaviour="paper_code", init="uniform"
    )
    assert 0.4 < largest(uniform.get_parameter("pool")) <= 0.5


def test_the_selector_sees_padding() -> None:
    backbone = tiny_backbone()
    assert theirs(backbone, "instance").averages_padding
    assert not make_method(backbone, "dynamic_prompt").averages_padding
    batch, wide = (make_batch(backbone, (6,), total) for total in (8, 16))
    wide = replace(wide, token_ids=torch.nn.functional.pad(batch.token_ids, (0, 8)))
    hidden = backbone.module(
        inputs_embeds=backbone.embed(batch.token_ids), attention_mask=batch.mask.long()
    ).last_hidden_state
    seen = text_feature(backbone, batch, True)
    torch.testing.assert_close(seen[0], hidden[0].sum(dim=0) / 8, atol=1e-5, rtol=0)
    assert float((seen - text_feature(backbone, wide, True)).abs().max()) > 1e-2
    masked = [text_feature(backbone, rows) for rows in (batch, wide)]
    torch.testing.assert_close(masked[0], masked[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"length": "task"}, "fills unused vectors with -1e20"),
        ({"place": "slot", "selection": "exact"}, "has no place: slot and no selection: exact"),
        ({"injection": "deep_add"}, "has no injection: deep_add"),
        ({"feature": "embedding_mean"}, "has no feature: embedding_mean"),
        ({"position": "random"}, "has no position: random"),
    ],
)
def test_what_their_code_lacks_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        make_config("dynamic_prompt", behaviour="paper_code", **fields)
