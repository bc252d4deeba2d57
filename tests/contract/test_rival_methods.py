"""LoRA, BitFit, SMoP and P-tuning against what they are defined by, and against PEFT."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from core.backbones.embed import masked_mean, plain_inputs
from core.backbones.load import Backbone
from core.errors import ConfigError
from core.methods._build import build_method
from core.methods._inside import InsideMethod
from core.methods.p_tuning.model import PTuning
from core.methods.smop.model import SparsePrompts
from tests.method_tools import (
    library_model,
    library_states,
    make_batch,
    make_config,
    make_method,
    noise,
    read,
    tiny_backbone,
)

INSIDE = ("lora", "bitfit")
RANK, ALPHA = 4, 6.0


def randomised(method: InsideMethod) -> InsideMethod:
    """Give the trained tensors values that matter."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in method.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=draw) * 0.2)
    return method


def make_inside(backbone: Backbone, kind: str) -> InsideMethod:
    method = make_method(
        backbone, kind, **({"rank": RANK, "alpha": ALPHA} if kind == "lora" else {})
    )
    assert isinstance(method, InsideMethod)
    return method


@pytest.mark.parametrize("kind", INSIDE)
def test_nothing_changes_before_the_first_update(kind: str) -> None:
    backbone = copy.copy(tiny_backbone())
    backbone.module = copy.deepcopy(backbone.module)
    with torch.no_grad():
        for name, tensor in backbone.module.named_parameters():
            if name.endswith(".bias"):
                tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)))
    batch = make_batch(backbone, (9, 4), 12)
    plain = read(backbone, make_method(backbone, "linear_probe"), batch)
    assert torch.equal(read(backbone, make_inside(backbone, kind), batch), plain)


@pytest.mark.parametrize("kind", INSIDE)
def test_the_frozen_weights_are_shared_and_only_trained_tensors_are_saved(kind: str) -> None:
    backbone = tiny_backbone()
    method = make_inside(backbone, kind)
    own = method.own_backbone()
    trained = {id(tensor) for tensor in method.parameters()}
    frozen = {tensor.data_ptr() for tensor in backbone.module.parameters()}
    others = [tensor for tensor in own.parameters() if id(tensor) not in trained]
    assert others
    assert all(tensor.data_ptr() in frozen for tensor in others)
    saved = sum(tensor.numel() for tensor in method.state_dict().values())
    config = make_config(kind, **({"rank": RANK} if kind == "lora" else {}))
    assert saved == config.num_trainable(backbone.facts, 3)["backbone"]


@pytest.mark.parametrize("kind", INSIDE)
def test_saved_tensors_give_the_same_model_again(kind: str) -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (9, 4), 12)
    method = randomised(make_inside(backbone, kind))
    again = make_inside(backbone, kind)
    again.load_state_dict(copy.deepcopy(method.state_dict()))
    assert torch.equal(read(backbone, again, batch), read(backbone, method, batch))
    other = make_method(backbone, "linear_probe")
    assert not torch.allclose(read(backbone, method, batch), read(backbone, other, batch))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    ("family", "maps"),
    [
        ("bert", ["query", "value"]),
        ("roberta", ["query", "value"]),
        ("albert", ["query", "value"]),
        ("distilbert", ["q_lin", "v_lin"]),
        ("mpnet", ["q", "v"]),
        ("deberta-v2", ["query_proj", "value_proj"]),
        ("t5", ["q", "v"]),
        ("bart", ["q_proj", "v_proj"]),
        ("opt", ["q_proj", "v_proj"]),
        ("llama", ["q_proj", "v_proj"]),
        ("gemma2", ["q_proj", "v_proj"]),
    ],
)
def test_lora_equals_peft_with_the_same_tensors(family: str, maps: list[str]) -> None:
    backbone = tiny_backbone(family)
    method = randomised(make_inside(backbone, "lora"))
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=maps)
    theirs = peft.get_peft_model(library_model(backbone), config).eval()
    ours = {name.replace(":", "."): tensor for name, tensor in method.trained.items()}
    with torch.no_grad():
        for name, tensor in theirs.named_parameters():
            for part, mine in (("lora_A", "down"), ("lora_B", "up")):
                if f".{part}." in name:
                    place = name.removeprefix("base_model.model.").split(f".{part}.")[0]
                    tensor.copy_(ours.pop(f"{place}.{mine}"))
    assert not ours
    batch = make_batch(backbone, (9, 4, 12), 12)
    with torch.no_grad():
        mine = backbone.forward(method.adapt(batch), method.own_backbone())
        other = library_states(theirs.get_base_model(), batch)
    torch.testing.assert_close(mine[batch.mask], other[batch.mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "modernbert"])
def test_lora_adds_to_queries_and_values_of_a_fused_map(family: str) -> None:
    backbone = tiny_backbone(family)
    method = randomised(make_inside(backbone, "lora"))
    ours = {name.replace(":", "."): tensor for name, tensor in method.trained.items()}
    merged = copy.deepcopy(backbone.module)
    width = backbone.facts.hidden
    with torch.no_grad():
        for name in {name.rsplit(".", 2)[0] for name in ours}:
            change = torch.zeros(3 * width, width)
            for part, start in (("query", 0), ("value", 2 * width)):
                product = ours[f"{name}.{part}.up"] @ ours[f"{name}.{part}.down"]
                change[start : start + width] = product * ALPHA / RANK
            weight = merged.get_submodule(name).weight
            weight += change if isinstance(merged.get_submodule(name), nn.Linear) else change.T
    batch = make_batch(backbone, (9, 4, 12), 12)
    inputs = plain_inputs(backbone.embed(batch.token_ids), batch, backbone.facts)
    with torch.no_grad():
        mine = backbone.forward(inputs, method.own_backbone())
        other = backbone.forward(inputs, merged)
        frozen = backbone.forward(inputs)
    torch.testing.assert_close(mine[batch.mask], other[batch.mask], atol=1e-5, rtol=1e-5)
    assert float((mine - frozen)[batch.mask].abs().max()) > 1e-2


def test_bitfit_trains_every_bias_of_the_backbone() -> None:
    backbone = tiny_backbone()
    method = make_inside(backbone, "bitfit")
    names = {name for name, _ in backbone.module.named_parameters() if name.endswith(".bias")}
    assert {name.replace(":", ".") for name in method.trained} == names


def test_bitfit_refuses_a_backbone_without_bias_terms() -> None:
    backbone = tiny_backbone("t5")
    with pytest.raises(ConfigError, match="no bias terms"):
        build_method(make_config("bitfit"), backbone, torch.Generator())


def test_smop_gives_each_input_its_best_prompt_scaled_by_its_probability() -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "smop", pool_size=3)
    assert isinstance(method, SparsePrompts)
    with torch.no_grad():
        method.router.mul_(40.0)
    batch = make_batch(backbone, (9, 4, 12, 7, 5, 10), 12)
    inputs = method.adapt(batch)
    feature = masked_mean(backbone.embed(batch.token_ids), batch.mask)
    shares = torch.softmax(feature @ method.router.T, dim=1)
    best = shares.argmax(dim=1)
    assert len(set(best.tolist())) > 1
    for row in range(6):
        expected = shares[row, best[row]] * method.pool[best[row]]
        # [CLS] stands first, then the six vectors of the prompt.
        torch.testing.assert_close(inputs.embeddings[row, 1:7], expected)


def test_the_router_of_smop_starts_with_orthogonal_rows_of_length_one() -> None:
    method = make_method(tiny_backbone(), "smop", pool_size=5)
    assert isinstance(method, SparsePrompts)
    rows = method.router.detach().double()
    torch.testing.assert_close(rows @ rows.T, torch.eye(5).double(), atol=1e-6, rtol=0)


def test_smop_noise_moves_choices_in_training_only_and_the_router_learns_by_the_scale() -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "smop")
    assert isinstance(method, SparsePrompts)
    batch = make_batch(backbone, (8,) * 32, 8)
    picks = [method.adapt(batch, noise(seed)).choice.pool_weights for seed in (0, 0, 1)]
    assert all(pick is not None for pick in picks)
    first, again, other = (pick for pick in picks if pick is not None)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    method.adapt(batch).embeddings.square().sum().backward()
    assert method.router.grad is not None
    chosen = one_hot(first.argmax(dim=1), 4).sum(dim=0)
    assert int((chosen > 0).sum()) > 1


def test_smop_multiplies_its_scores_by_one_plus_noise() -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "smop", pool_size=3)
    assert isinstance(method, SparsePrompts)
    batch = make_batch(backbone, (9, 4), 12)
    scores = masked_mean(backbone.embed(batch.token_ids), batch.mask) @ method.router.T
    drawn = torch.randn((2, 3), generator=torch.Generator().manual_seed(4))
    weights = method.adapt(batch, noise(4)).choice.pool_weights
    torch.testing.assert_close(weights, torch.softmax(scores * (1 + drawn), dim=1).detach())


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_p_tuning_is_prompt_tuning_with_the_vectors_that_its_network_makes(encoder: str) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "p_tuning", encoder=encoder, cut=2)
    assert isinstance(method, PTuning)
    plain = make_method(backbone, "prompt_tuning", cut=2)
    with torch.no_grad():
        plain.parameter_groups()["prompt"][0].copy_(method.vectors())
    batch = make_batch(backbone, (9, 4), 12)
    assert torch.equal(read(backbone, method, batch), read(backbone, plain, batch))


def read_by_lstm(table: Tensor, lstm: nn.LSTM) -> Tensor:
    """A BiLSTM of two layers over one sequence, written out step by step."""
    own, rows = dict(lstm.named_parameters()), table
    for layer in range(2):
        sides = []
        for back in (False, True):
            end = f"_l{layer}{'_reverse' if back else ''}"
            hidden = cell = torch.zeros(table.shape[1] // 2)
            made = []
            for row in reversed(rows) if back else rows:
                gates = own[f"weight_ih{end}"] @ row + own[f"bias_ih{end}"]
                gates = gates + own[f"weight_hh{end}"] @ hidden + own[f"bias_hh{end}"]
                enter, forget, fresh, leave = gates.chunk(4)
                cell = forget.sigmoid() * cell + enter.sigmoid() * fresh.tanh()
                hidden = leave.sigmoid() * cell.tanh()
                made.append(hidden)
            sides.append(torch.stack(made[::-1] if back else made))
        rows = torch.cat(sides, dim=1)
    return rows


@pytest.mark.parametrize("encoder", ["mlp", "lstm"])
def test_the_network_of_p_tuning_is_the_one_written_out(encoder: str) -> None:
    method = make_method(tiny_backbone(), "p_tuning", encoder=encoder)
    assert isinstance(method, PTuning)
    own = dict(method.named_parameters())
    rows: Tensor = own["table"]
    if encoder == "lstm":
        assert method.lstm is not None
        rows = read_by_lstm(rows, method.lstm)
    inner = rows @ own["mlp.0.weight"].T + own["mlp.0.bias"]
    assert bool((inner < -0.1).any())
    outer = torch.where(inner > 0, inner, 0.0) @ own["mlp.2.weight"].T + own["mlp.2.bias"]
    torch.testing.assert_close(method.vectors(), outer, atol=1e-6, rtol=0)
