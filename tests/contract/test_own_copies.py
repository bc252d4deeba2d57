"""Methods that change the backbone itself, against the library's model with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from core.backbones import probe
from core.backbones.load import Backbone, load_backbone
from core.backbones.spec import BackboneChoice
from core.errors import BackboneError, ConfigError
from core.methods._module import PromptMethod
from core.methods.lora.model import LoraUpdate
from tests.method_tools import (
    changed,
    library_model,
    library_states,
    make_batch,
    make_config,
    make_method,
    tiny_backbone,
)
from tests.tiny_families import (
    BARE,
    BETWEEN,
    BUILDERS,
    DEBERTA,
    GROUPED,
    SIZES,
    make_random,
)

LENGTHS, TOTAL = (9, 5, 12), 12

BIG_CODE = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 160,
    "initializer_range": 0.2,
}


def load(folder: Path) -> Backbone:
    return load_backbone(BackboneChoice(path=str(folder)), offline=True)


def with_the_weights_of(method: PromptMethod, backbone: Backbone) -> nn.Module:
    """The library's model with what a method's copy holds; updates are added to their maps."""
    own, model = method.own_backbone(), library_model(backbone)
    assert own is not None
    weights = own.state_dict()
    for name, update in own.named_modules():
        if isinstance(update, LoraUpdate):
            (down,), (up,) = update.downs, update.ups
            weights[f"{name}.bias"] = weights[f"{name}.base.bias"]
            weights[f"{name}.weight"] = weights[f"{name}.base.weight"] + up @ down * update.scale
    missing = model.load_state_dict(weights, strict=False).missing_keys
    assert all("pooler" in name for name in missing)
    return model


def equals_the_library(backbone: Backbone, method: PromptMethod) -> None:
    batch = make_batch(backbone, LENGTHS, TOTAL)
    with torch.no_grad():
        mine = backbone.forward(method.adapt(batch), method.own_backbone())[batch.mask]
        frozen = backbone.forward(method.adapt(batch))[batch.mask]
    theirs = library_states(with_the_weights_of(method, backbone), batch)[batch.mask]
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    assert float((mine - frozen).abs().max()) > 1e-2


@pytest.mark.parametrize("family", sorted(BUILDERS))
def test_a_fine_tuned_copy_is_the_librarys_model_with_its_weights(family: str) -> None:
    backbone = tiny_backbone(family)
    equals_the_library(backbone, changed(make_method(backbone, "fine_tuning")))


@pytest.mark.parametrize("kind", ["lora", "bitfit"])
def test_position_scores_of_deberta_are_made_with_the_copys_weights(kind: str) -> None:
    backbone = tiny_backbone("deberta-v2")
    equals_the_library(backbone, changed(make_method(backbone, kind), 0.2))


@pytest.mark.parametrize("kind", ["fine_tuning", "lora", "bitfit"])
def test_deberta_with_maps_for_positions_alone_is_trained_as_a_whole(
    kind: str, tmp_path: Path
) -> None:
    sizes = {**DEBERTA, "share_att_key": False}
    backbone = load(make_random("DebertaV2Model", BETWEEN, sizes, tmp_path / "deberta"))
    method = make_method(backbone, kind)
    probe.check(backbone, method, "mean")
    equals_the_library(backbone, changed(method, 0.1))


def test_the_first_deberta_takes_prompts_and_refuses_a_prefix(tmp_path: Path) -> None:
    """Its attention has the name of the later ones', and one map for queries, keys and values."""
    sizes = {
        **SIZES,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
    }
    backbone = load(make_random("DebertaModel", BETWEEN, sizes, tmp_path / "deberta"))
    probe.check(backbone, make_method(backbone, "prompt_tuning"))
    equals_the_library(backbone, changed(make_method(backbone, "fine_tuning")))
    with pytest.raises(BackboneError, match="cannot take a prefix") as refused:
        probe.check(backbone, make_method(backbone, "p_tuning_v2"))
    assert "input prompt" in refused.value.hint
    with pytest.raises(ConfigError, match="in_proj"):
        make_method(backbone, "lora")


def test_lora_updates_queries_and_values_of_a_fused_map_with_grouped_heads(tmp_path: Path) -> None:
    """Two heads of keys and values serve four of queries, so no part is a third."""
    backbone = load(make_random("Phi3ForCausalLM", BARE, GROUPED, tmp_path / "phi3"))
    method = changed(make_method(backbone, "lora", rank=4), 0.2)
    probe.check(backbone, method, "last")
    counted = sum(tensor.numel() for tensor in method.parameters())
    assert counted == make_config("lora", rank=4).num_trainable(backbone.facts, 3)["backbone"]
    own = method.own_backbone()
    assert own is not None
    updates = [part for part in own.modules() if isinstance(part, LoraUpdate)]
    states = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    for update in updates:
        with torch.no_grad():
            moved = (update(states) - update.base(states)).abs().amax(dim=(0, 1)) > 1e-6
        # 32 queries, 16 keys, 16 values.
        assert moved.tolist() == [True] * 32 + [False] * 16 + [True] * 16
    assert len(updates) == backbone.facts.layers


@pytest.mark.parametrize(
    ("model_class", "sizes", "name"),
    [
        ("GPTNeoXForCausalLM", SIZES, "layers.0.attention.query_key_value"),
        ("GPTBigCodeForCausalLM", {**BIG_CODE, "multi_query": True}, "h.0.attn.c_attn"),
        ("GPTBigCodeForCausalLM", {**BIG_CODE, "multi_query": False}, "h.0.attn.c_attn"),
    ],
)
def test_lora_refuses_a_fused_map_whose_layout_is_not_known(
    model_class: str, sizes: dict[str, object], name: str, tmp_path: Path
) -> None:
    """GPT-NeoX mixes queries, keys and values head by head, so thirds would be wrong silently."""
    backbone = load(make_random(model_class, BARE, sizes, tmp_path / "fused"))
    with pytest.raises(ConfigError) as refused:
        make_method(backbone, "lora")
    assert name in str(refused.value)
    assert "prompt_tuning" in refused.value.hint
    probe.check(backbone, make_method(backbone, "prompt_tuning"), "last")


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_scores_that_are_clipped_at_first_are_no_reason_to_refuse_a_seed(vectors: int) -> None:
    """With few places all scores of an input, or of every input, may start below 0."""
    backbone = tiny_backbone()
    for seed in range(60):
        method = make_method(
            backbone, "dynamic_prompt", seed,
            behaviour="paper_code", position="instance", num_virtual_tokens=vectors,
        )  # fmt: skip
        probe.check(backbone, method, "mean")
