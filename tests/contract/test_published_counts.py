"""Parameter counts on T5 1.1 and on large encoders: formula, published table, built tensors."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5Model

from core.backbones import prefix
from core.backbones.families import facts_of
from core.backbones.load import Backbone
from core.methods import METHODS, BackboneFacts, MethodConfig
from core.methods._build import build_method
from tests.method_tools import make_config

LM_ADAPTED = {
    "small": (512, 8, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "xl": (2048, 24, 32),
}
"""Width, layers and heads of T5 1.1, whose heads are 64 wide."""
FORWARD = {"small": 1024, "base": 2048, "large": 2816, "xl": 5120}
"""Width of its feed-forward layers."""
ENCODERS = {"small": 35_332_800, "base": 109_628_544, "large": 341_231_104, "xl": 1_223_527_424}
"""Weights of its encoder, word embeddings included."""
L, K = 20, 4
PUBLISHED: dict[str, tuple[int, int, int, int]] = {
    "prompt_tuning": (10_240, 15_360, 20_480, 40_960),
    "adap_pos": (10_261, 15_381, 20_501, 40_981),
    "adap_ins_pos": (20_992 + 21, 31_488 + 21, 41_984 + 21, 83_968 + 21),
    "adap_ins_len": (20_992 + 21, 31_488 + 21, 41_984 + 21, 83_968 + 21),
    "adap_ins_vec": (43_012, 64_516, 86_020, 172_036),
    "adap_pos_ins_vec": (43_033, 64_537, 86_041, 172_057),
    "adap_ins_vec_pos": (53_785, 80_665, 107_545, 215_065),
}
"""Trained numbers without the head, with biases, for 20 vectors and a pool of 4."""


def t5_facts(size: str) -> BackboneFacts:
    width, layers, heads = LM_ADAPTED[size]
    config = T5Config(d_model=width, num_layers=layers, num_heads=heads, d_kv=64)
    return facts_of(config.to_dict(), {}, size)


def published_config(name: str, **fields: Any) -> MethodConfig:
    """A row of the published table as settings."""
    fields = {"num_virtual_tokens": L, **fields}
    if name == "prompt_tuning":
        return make_config(name, **fields)
    axes: dict[str, Any] = dict(METHODS["dynamic_prompt"].ALIASES[name])
    pool = {} if axes["representation"] == "fixed" else {"pool_size": K}
    shortest = {"shortest": 0} if name == "adap_ins_len" else {}
    return make_config("dynamic_prompt", **axes, **pool, **shortest, **fields)


@pytest.mark.parametrize("name", PUBLISHED)
def test_invariant_13_counts_on_t5_are_those_of_the_published_table(name: str) -> None:
    cuts = (None, 0, 7) if name == "prompt_tuning" else (None,)
    for cut in cuts:
        config = published_config(name, cut=cut)
        found = []
        for size in LM_ADAPTED:
            counts = config.num_trainable(t5_facts(size), 2)
            assert counts.pop("head") == 2 * LM_ADAPTED[size][0] + 2
            found.append(sum(counts.values()))
        assert tuple(found) == PUBLISHED[name]


@pytest.mark.parametrize("size", LM_ADAPTED)
def test_invariant_13_prefixes_and_deep_slots_are_counted_by_layers(size: str) -> None:
    facts, (d, n, heads) = t5_facts(size), LM_ADAPTED[size]
    inner = heads * 64  # the small one's heads are together narrower than it is

    def counted(kind: str, **fields: object) -> int:
        counts = make_config(kind, num_virtual_tokens=L, **fields).num_trainable(facts, 2)
        return sum(counts.values()) - counts["head"]

    assert counted("p_tuning_v2") == 2 * n * L * inner
    h = 512
    assert counted("p_tuning_v2", prefix_projection=True, projection_size=h) == (
        L * d + d * h + h + 2 * n * inner * h + 2 * n * inner
    )
    deep = {"injection": "deep_overwrite", "feature": "embedding_mean"}
    assert counted("dynamic_prompt", **deep, position="fixed") == n * L * d
    assert counted("dynamic_prompt", **deep, position="task") == n * L * d + L + 1
    assert counted("dynamic_prompt", **deep) == n * L * d + (d + 1) * (L + 1)
    for shortest in (0, 1):
        length = {"position": "fixed", "length": "task", "shortest": shortest}
        assert counted("dynamic_prompt", **length) == L * d + L + 1 - shortest


@pytest.mark.parametrize(
    ("vectors", "numbers"), [(8, 393_216), (16, 786_432), (20, 983_040), (128, 6_291_456)]
)
def test_prefixes_of_large_encoders_have_the_published_numbers(vectors: int, numbers: int) -> None:
    facts = BackboneFacts("bert", 1024, 24, 16, 64, 30_522, 512, 0)
    config = make_config("p_tuning_v2", num_virtual_tokens=vectors)
    assert config.num_trainable(facts, 2)["prompt"] == numbers


@cache
def without_weights(size: str) -> Backbone:
    """A backbone of real size whose tensors have shapes and no numbers."""
    width, layers, heads = LM_ADAPTED[size]
    config = T5Config(
        d_model=width, num_layers=layers, num_heads=heads, d_kv=64, d_ff=FORWARD[size],
        feed_forward_proj="gated-gelu", use_cache=False,
    )  # fmt: skip
    prefix.register()
    with torch.device("meta"):
        model = T5Model._from_config(config, attn_implementation=prefix.ATTENTION)
    model.eval().requires_grad_(False)
    shapes = {
        name: {"dtype": "F32", "shape": tensor.shape} for name, tensor in model.named_parameters()
    }
    facts = facts_of(config.to_dict(), shapes, size)
    return Backbone(size, facts, Path(size), model.get_encoder(), "")


RIVALS: list[tuple[str, dict[str, Any]]] = [
    ("p_tuning_v2", {}),
    ("p_tuning_v2", {"prefix_projection": True, "projection_size": 16}),
    ("p_tuning", {"init": "uniform"}),
    ("smop", {"init": "uniform"}),
    ("lora", {}),
    ("linear_probe", {}),
    ("dynamic_prompt", {"injection": "deep_overwrite", "position": "fixed"}),
    ("dynamic_prompt", {"injection": "deep_add", "init": "uniform", "length": "task"}),
]


@pytest.mark.parametrize("size", LM_ADAPTED)
def test_invariant_13_what_is_built_on_t5_has_the_numbers_of_the_formula(size: str) -> None:
    backbone = without_weights(size)

    def built(config: MethodConfig) -> int:
        method = build_method(config, backbone, torch.Generator().manual_seed(0))
        groups = method.parameter_groups()
        found = {name: sum(one.numel() for one in own) for name, own in groups.items()}
        expected = config.num_trainable(backbone.facts, 2)
        expected.pop("head")
        assert found == expected
        return sum(found.values())

    place = list(LM_ADAPTED).index(size)
    for name, numbers in PUBLISHED.items():
        # Entries of the vocabulary cannot be copied: there are no numbers.
        assert built(published_config(name, init="uniform")) == numbers[place]
    for kind, fields in RIVALS:
        built(make_config(kind, **fields))
    assert built(make_config("fine_tuning")) == ENCODERS[size]
