"""Families that no table names: what their files tell, what trains, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.backbones import probe
from core.backbones.facts import read_out_of
from core.backbones.families import UNLIMITED_POSITIONS
from core.backbones.load import Backbone, load_backbone
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice
from core.errors import BackboneError
from core.methods._module import TokenBatch
from tests.injection_cells import FELT, UNFELT, change_of
from tests.method_tools import make_batch, make_method, shake
from tests.tiny_families import BARE, BETWEEN, DEBERTA, ENDING, GROUPED, SIZES, make_random

OF_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 160}
NEO = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 6,
    "max_position_embeddings": 160,
}
OTHERS: Mapping[str, tuple[tuple[str, str], Mapping[str, Any], bool]] = {
    "MT5Model": (ENDING, OF_T5, True),
    "UMT5Model": (ENDING, OF_T5, True),
    "LongT5Model": (ENDING, OF_T5, False),
    "XLNetModel": (ENDING, {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}, False),
    "RoFormerModel": (BETWEEN, {**SIZES, "embedding_size": 32}, False),
    "BloomForCausalLM": (BARE, {"hidden_size": 32, "n_layer": 2, "n_head": 4}, False),
    "FalconForCausalLM": (BARE, {**SIZES, "multi_query": False, "alibi": False}, False),
    "GPTNeoForCausalLM": (BARE, NEO, False),
    "GPTJForCausalLM": (BARE, {**GPT, "rotary_dim": 8}, False),
    "StableLmForCausalLM": (BARE, GROUPED, True),
}
"""Special tokens, sizes, and whether attention takes a prefix, by class of transformers."""


def load(model_class: str, specials: tuple[str, str], sizes: Any, place: Path) -> Backbone:
    folder = make_random(model_class, specials, sizes, place / model_class)
    return load_backbone(BackboneChoice(path=str(folder)), offline=True)


@pytest.mark.parametrize("model_class", OTHERS)
def test_what_the_library_knows_trains_an_input_prompt(model_class: str, tmp_path: Path) -> None:
    specials, sizes, takes_prefix = OTHERS[model_class]
    backbone = load(model_class, specials, sizes, tmp_path)
    read_out = read_out_of(BackboneChoice(path="here"), backbone.facts)
    method = shake(
        make_method(
            backbone, "dynamic_prompt", position="instance", feature="embedding_mean",
            num_virtual_tokens=5,
        )
    )  # fmt: skip
    probe.check(backbone, method, read_out)

    def read(batch: TokenBatch) -> Tensor:
        with torch.no_grad():
            inputs = method.adapt(batch)
            return pool(backbone.forward(inputs), inputs, read_out)

    wide = make_batch(backbone, (9, 16, 5), 24)
    together = read(wide)
    for row in range(3):
        one = slice(row, row + 1)
        alone = TokenBatch(
            wide.token_ids[one, :16], wide.token_types[one, :16], wide.mask[one, :16]
        )
        torch.testing.assert_close(read(alone)[0], together[row], atol=2e-5, rtol=1e-5)

    prefix = make_method(backbone, "p_tuning_v2")
    if takes_prefix:
        probe.check(backbone, prefix, read_out)
    else:
        with pytest.raises(BackboneError, match="cannot take a prefix") as refused:
            probe.check(backbone, prefix, read_out)
        assert "input prompt" in refused.value.hint


def test_layers_that_turn_rows_to_the_second_axis_take_no_deep_slots(tmp_path: Path) -> None:
    specials, sizes, _ = OTHERS["XLNetModel"]
    backbone = load("XLNetModel", specials, sizes, tmp_path)
    with pytest.raises(BackboneError, match="cannot take deep slots") as refused:
        probe.check(backbone, make_method(backbone, "dynamic_prompt", injection="deep_add"), "mean")
    assert "injection: input" in refused.value.hint


@pytest.mark.parametrize(
    ("model_class", "sizes", "knows_distances"),
    [
        ("DebertaModel", {**DEBERTA, "pos_att_type": ["p2c", "c2p"]}, True),
        ("DebertaV2Model", DEBERTA, True),
        (
            "DebertaV2Model",
            {**DEBERTA, "relative_attention": False, "position_biased_input": True},
            False,
        ),
        ("RoFormerModel", {**SIZES, "embedding_size": 32}, True),
        ("EuroBertModel", GROUPED, True),
        ("NomicBertModel", SIZES, True),
        ("XLMRobertaModel", {**SIZES, "pad_token_id": 1}, False),
        ("BertModel", {**SIZES, "position_embedding_type": "relative_key_query"}, False),
        ("EsmModel", {**SIZES, "position_embedding_type": "rotary"}, True),
    ],
)
def test_whether_attention_knows_distances_is_as_measured(
    model_class: str, sizes: Mapping[str, Any], knows_distances: bool, tmp_path: Path
) -> None:
    """Replaced hidden states are felt at another place exactly where attention knows distances."""
    backbone = load(model_class, BETWEEN, sizes, tmp_path)
    assert backbone.facts.is_absolute != knows_distances
    change = change_of(backbone, "deep_overwrite")
    assert change > FELT if knows_distances else change < UNFELT


@pytest.mark.parametrize(
    ("model_class", "specials", "limit"),
    [("MptForCausalLM", BARE, 40), ("BloomForCausalLM", BARE, UNLIMITED_POSITIONS)],
)
def test_the_longest_input_is_known_by_every_name_of_it(
    model_class: str, specials: tuple[str, str], limit: int, tmp_path: Path
) -> None:
    sizes = {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": limit}
    named = {**sizes, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    backbone = load(model_class, specials, named, tmp_path)
    assert backbone.facts.max_positions == limit


def test_a_model_that_takes_no_embeddings_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="takes no rows of embeddings: .+"):
        load("SwitchTransformersModel", ENDING, OF_T5, tmp_path)
