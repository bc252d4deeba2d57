"""Identities between methods, and with independent implementations of the same thing."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from peft import PrefixTuningConfig
from torch import Tensor, nn
from transformers import AutoModel

from core.backbones import probe
from core.backbones.load import Backbone
from core.backbones.prefix import find_sites
from core.errors import BackboneError
from core.methods._layout import prompt_free, surround
from core.methods._module import BackboneInputs, PromptMethod
from tests.method_tools import make_batch, make_method, noise, read, shake, tiny_backbone

VECTORS = 6


def copy_parameters(source: PromptMethod, target: PromptMethod) -> None:
    """Give two methods the same prompt vectors."""
    vectors = source.parameter_groups()["prompt"][0]
    with torch.no_grad():
        target.parameter_groups()["prompt"][0].copy_(
            vectors.reshape(target.parameter_groups()["prompt"][0].shape)
        )


def force_cut(method: PromptMethod, cut: int) -> None:
    """Make one cut certain, whatever the input."""
    with torch.no_grad():
        for name, tensor in method.named_parameters():
            if name in {"position.scores", "position.linear.bias"}:
                tensor.fill_(-1e9)
                tensor[cut] = 0.0
            elif name == "position.linear.weight":
                tensor.zero_()


@pytest.mark.parametrize("position", ["task", "instance"])
@pytest.mark.parametrize("cut", [0, 2, VECTORS])
@pytest.mark.parametrize("training", [False, True])
def test_invariant_1_a_forced_cut_is_prompt_tuning_at_that_cut(
    position: str, cut: int, training: bool
) -> None:
    backbone = tiny_backbone()
    plain = make_method(backbone, "prompt_tuning", cut=cut)
    dynamic = make_method(backbone, "dynamic_prompt", position=position)
    copy_parameters(plain, dynamic)
    force_cut(dynamic, cut)
    batch = make_batch(backbone, (9, 4, 12), 12, second=3)
    ours = dynamic.adapt(batch, noise() if training else None)
    theirs = plain.adapt(batch)
    assert torch.equal(ours.embeddings, theirs.embeddings)
    assert torch.equal(backbone.forward(ours), backbone.forward(theirs))


def force_length(method: PromptMethod, choice: int) -> None:
    """Make one length certain, whatever the input."""
    with torch.no_grad():
        for name, tensor in method.named_parameters():
            if name in {"length.scores", "length.linear.bias"}:
                tensor.fill_(-1e9)
                tensor[choice] = 0.0
            elif name == "length.linear.weight":
                tensor.zero_()


@pytest.mark.parametrize("scope", ["task", "instance"])
@pytest.mark.parametrize("length", [0, 1, 4, VECTORS])
@pytest.mark.parametrize("cut", [0, 2, None])
def test_invariant_11_a_forced_length_is_prompt_tuning_with_the_first_vectors(
    scope: str, length: int, cut: int | None
) -> None:
    backbone = tiny_backbone()
    axes = {"position": "fixed", "length": scope, "shortest": 0, "cut": cut}
    dynamic = make_method(backbone, "dynamic_prompt", **axes)
    force_length(dynamic, length)
    batch = make_batch(backbone, (9, 4, 12), 12, second=3)
    for pooling in ("first", "mean", "last"):
        ours = read(backbone, dynamic, batch, pooling)
        if not length:
            theirs = read(backbone, make_method(backbone, "linear_probe"), batch, pooling)
        else:
            before = length if cut is None else min(cut, length)
            shorter = {"num_virtual_tokens": length, "cut": before}
            plain = make_method(backbone, "prompt_tuning", **shorter)
            with torch.no_grad():
                plain.get_parameter("prompt").copy_(dynamic.get_parameter("pool")[0, :length])
            theirs = read(backbone, plain, batch, pooling)
        torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=0)


def test_a_drawn_length_uses_so_many_vectors_and_its_scores_get_a_gradient() -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "dynamic_prompt", position="fixed", length="task")
    batch = make_batch(backbone, (8,) * 16, 8)
    inputs = method.adapt(batch, noise(3))
    length = inputs.choice.length
    assert length is not None
    assert len(set(length.tolist())) > 2
    assert torch.equal(inputs.mask.sum(dim=1), 8 + length)
    backbone.forward(inputs)[:, 0].tanh().sum().backward()
    gradient = method.get_parameter("length.scores").grad
    assert gradient is not None
    assert bool(gradient.any())
    assert float(gradient.sum().abs()) < 1e-4 * float(gradient.abs().max())


@pytest.mark.parametrize("slot", ["front", 0.5, "border", "end"])
def test_a_slot_at_the_front_or_the_end_is_the_first_or_the_last_cut(slot: str | float) -> None:
    backbone = tiny_backbone()
    axes = {"position": "fixed", "place": "slot", "slot": slot}
    method = make_method(backbone, "dynamic_prompt", **axes)
    plain = make_method(backbone, "prompt_tuning", cut=0 if slot == "end" else VECTORS)
    copy_parameters(plain, method)
    batch = make_batch(backbone, (9, 5, 12), 12, second=3)
    is_equal = torch.equal(read(backbone, method, batch), read(backbone, plain, batch))
    assert is_equal == (slot in ("front", "end"))
    if slot == "border":
        inputs = method.adapt(batch)
        # [CLS] and five tokens of the first text, the prompt, three of the second.
        assert inputs.token_types[0, :15].tolist() == [0] * 12 + [1] * 3
        expected = plain.get_parameter("prompt")
        assert torch.equal(inputs.embeddings[0, 6:12], expected)


def test_invariant_3_prefix_split_and_postfix_give_different_outputs() -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (9, 4), 12)
    outputs = [
        read(backbone, make_method(backbone, "prompt_tuning", cut=c), batch) for c in (0, 3, 6)
    ]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert float((outputs[first] - outputs[second]).abs().max()) > 1e-3


def test_invariant_3_without_positions_the_cut_does_not_matter() -> None:
    backbone = copy.copy(tiny_backbone())
    backbone.module = copy.deepcopy(backbone.module)
    with torch.no_grad():
        backbone.module.get_submodule("embeddings.position_embeddings").weight.zero_()
    batch = make_batch(backbone, (9, 4), 12)
    outputs = [
        read(backbone, make_method(backbone, "prompt_tuning", cut=c), batch) for c in (0, 3, 6)
    ]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs[0], outputs[2], atol=1e-5, rtol=0)


def test_invariant_8_a_pool_of_one_is_prompt_tuning_and_its_selector_gets_zeros() -> None:
    backbone = tiny_backbone()
    plain = make_method(backbone, "prompt_tuning")
    pooled = make_method(
        backbone, "dynamic_prompt", position="fixed", representation="instance", pool_size=1
    )
    shake(pooled)
    copy_parameters(plain, pooled)
    batch = make_batch(backbone, (9, 4, 12), 12)
    inputs = pooled.adapt(batch, noise())
    torch.testing.assert_close(inputs.embeddings, plain.adapt(batch).embeddings, atol=0, rtol=0)
    backbone.forward(inputs).sum().backward()
    for tensor in pooled.parameter_groups()["selector"]:
        assert tensor.grad is not None
        assert not tensor.grad.any()
    probe.check(backbone, pooled)


def pool_method(backbone: Backbone, position: str = "fixed", **fields: Any) -> PromptMethod:
    return make_method(
        backbone, "dynamic_prompt", position=position, representation="instance", **fields
    )


def test_invariant_10_an_untrained_pool_is_mixed_evenly() -> None:
    backbone = tiny_backbone()
    method, plain = pool_method(backbone), make_method(backbone, "prompt_tuning")
    with torch.no_grad():
        mean = method.get_parameter("pool").mean(dim=0)
        plain.get_parameter("prompt").copy_(mean)
    batch = make_batch(backbone, (9, 4, 12), 12)
    inputs = method.adapt(batch)
    assert inputs.choice.pool_weights is not None
    assert torch.equal(inputs.choice.pool_weights, torch.full((3, 4), 0.25))
    torch.testing.assert_close(inputs.embeddings, plain.adapt(batch).embeddings, atol=1e-6, rtol=0)


def test_invariant_10_the_order_of_the_pool_means_nothing() -> None:
    backbone = tiny_backbone()
    method, batch = shake(pool_method(backbone)), make_batch(backbone, (9, 4, 12), 12)
    before = read(backbone, method, batch)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for name in ("pool", "pool_selector.weight", "pool_selector.bias"):
            tensor = method.get_parameter(name)
            tensor.copy_(tensor[order].clone())
    torch.testing.assert_close(read(backbone, method, batch), before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("position", ["task", "instance"])
def test_invariant_12_combinations_reduce_to_their_parts(position: str) -> None:
    backbone = tiny_backbone()
    batch = make_batch(backbone, (9, 4, 12), 12)
    alone = shake(make_method(backbone, "dynamic_prompt", position=position))
    both = shake(pool_method(backbone, position, pool_size=1))
    copy_parameters(alone, both)
    with torch.no_grad():
        for name, tensor in alone.named_parameters():
            if name.startswith("position"):
                both.get_parameter(name).copy_(tensor)
    assert torch.equal(read(backbone, alone, batch), read(backbone, both, batch))
    undecided, vectors = pool_method(backbone, position), pool_method(backbone)
    copy_parameters(undecided, vectors)
    assert torch.equal(read(backbone, undecided, batch), read(backbone, vectors, batch))


def by_hand(backbone: Backbone, inputs: BackboneInputs) -> Tensor:
    """BERT with a prefix, written out from the model's weights, one head after the other."""
    module: Any = backbone.module
    table = module.embeddings
    state = inputs.embeddings + table.position_embeddings(inputs.position_ids)
    state = table.LayerNorm(state + table.token_type_embeddings(inputs.token_types))
    for layer, (prefix_keys, prefix_values) in zip(
        module.encoder.layer, inputs.prefix, strict=True
    ):
        attention = layer.attention.self
        width = attention.attention_head_size
        query, key, value = (f(state) for f in (attention.query, attention.key, attention.value))
        heads = []
        for head in range(attention.num_attention_heads):
            part = slice(head * width, (head + 1) * width)
            keys = torch.cat([prefix_keys[:, head], key[..., part]], dim=1)
            values = torch.cat([prefix_values[:, head], value[..., part]], dim=1)
            scores = query[..., part] @ keys.transpose(1, 2) / width**0.5
            is_open = nn.functional.pad(inputs.mask, (prefix_keys.shape[2], 0), value=True)
            scores = scores.masked_fill(~is_open[:, None], float("-inf"))
            heads.append(scores.softmax(dim=-1) @ values)
        joined = layer.attention.output.dense(torch.cat(heads, dim=-1))
        state = layer.attention.output.LayerNorm(joined + state)
        inner = nn.functional.gelu(layer.intermediate.dense(state))
        state = layer.output.LayerNorm(layer.output.dense(inner) + state)
    return torch.as_tensor(state)


@pytest.mark.parametrize("projected", [False, True])
def test_invariant_14_a_prefix_equals_attention_written_by_hand(projected: bool) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "p_tuning_v2", prefix_projection=projected)
    inputs = method.adapt(make_batch(backbone, (9, 4, 12), 12, second=2))
    ours, theirs = backbone.forward(inputs), by_hand(backbone, inputs)
    seen = inputs.mask
    torch.testing.assert_close(ours[seen], theirs[seen], atol=2e-6, rtol=0)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_invariant_14_a_prefix_equals_peft_with_the_same_tensors(
    family: str, projected: bool
) -> None:
    backbone = tiny_backbone(family)
    method = make_method(backbone, "p_tuning_v2", prefix_projection=projected, projection_size=16)
    batch = make_batch(backbone, (9, 4, 12), 12)
    config = PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION",
        num_virtual_tokens=VECTORS,
        prefix_projection=projected,
        encoder_hidden_size=16,
    )
    base = AutoModel.from_pretrained(backbone.folder, add_pooling_layer=False)
    twin = peft.get_peft_model(base, config).eval()
    encoder = twin.prompt_encoder["default"]
    with torch.no_grad():
        encoder.embedding.weight.copy_(method.get_parameter("table"))
        if projected:
            for index in ("0", "2"):
                for name in ("weight", "bias"):
                    target = encoder.transform.get_submodule(index).get_parameter(name)
                    target.copy_(method.get_parameter(f"projection.{index}.{name}"))
        theirs = twin(batch.token_ids, attention_mask=batch.mask.long()).last_hidden_state
        inputs = method.adapt(batch)
        # The library's cache moves positions by the prefix; ours has no position.
        inputs = replace(inputs, position_ids=inputs.position_ids + VECTORS)
        ours = backbone.forward(inputs)
    torch.testing.assert_close(ours[batch.mask], theirs[batch.mask], atol=1e-6, rtol=0)


def test_invariant_14_an_empty_prefix_is_the_frozen_model() -> None:
    backbone = tiny_backbone()
    inputs = prompt_free(backbone, make_batch(backbone, (9, 4), 12))
    empty = torch.zeros(2, 4, 0, 8)
    with_empty = replace(inputs, prefix=((empty, empty), (empty, empty)))
    assert torch.equal(backbone.forward(with_empty), backbone.forward(inputs))


def test_invariant_14_a_model_that_ignores_the_prefix_is_refused() -> None:
    backbone = copy.copy(tiny_backbone())
    backbone.module = copy.deepcopy(backbone.module)
    backbone.module.set_attn_implementation("sdpa")
    backbone.sites = find_sites(backbone.module, 32)
    assert backbone.sites == ()
    with pytest.raises(BackboneError, match="cannot take a prefix"):
        probe.check(backbone, make_method(backbone, "p_tuning_v2"))
    backbone.sites = tiny_backbone().sites
    with pytest.raises(BackboneError, match="does not react to .*prefix: it would train nothing"):
        probe.check(backbone, make_method(backbone, "p_tuning_v2"))


def test_a_prompt_that_the_read_out_cannot_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    method = make_method(backbone, "prompt_tuning")

    def blind(*arguments: Any, **options: Any) -> BackboneInputs:
        inputs = surround(*arguments, **options)
        return replace(inputs, mask=inputs.content_mask)

    monkeypatch.setattr("core.backbones.probe.surround", blind)
    with pytest.raises(BackboneError, match="does not react to a prompt at cut 0 of 6"):
        probe.check(backbone, method)
