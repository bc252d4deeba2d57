"""Every family of backbones: what stands where, who sees whom, and what a method can train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.backbones import probe
from core.backbones.facts import read_out_of, require_room
from core.backbones.load import Backbone, load_backbone
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice, Pooling
from core.errors import BackboneError
from core.methods._layout import prompt_free, surround
from core.methods._module import BackboneInputs, PromptMethod, TokenBatch
from tests.method_tools import make_batch, make_config, make_method, shake, tiny_backbone
from tests.tiny_families import BARE, BUILDERS, SIZES, make_random

FAMILIES = sorted(BUILDERS)
METHODS = ("prompt_tuning", "lora", "linear_probe", "fine_tuning", "p_tuning", "smop")
"""Methods beside those of ``test_injections``; the first two stand for all in the quick tier."""
OWN_MASKS = {"deberta-v2", "mpnet"}
"""Families that are given which tokens are real, and no ready mask."""


def read_out(backbone: Backbone) -> Pooling:
    return read_out_of(BackboneChoice(path="here"), backbone.facts)


def read(backbone: Backbone, method: PromptMethod, inputs: BackboneInputs) -> Tensor:
    hidden = backbone.forward(inputs, method.own_backbone())
    return pool(hidden, inputs, read_out(backbone))


def build(family: str, kind: str) -> tuple[Backbone, PromptMethod]:
    backbone = tiny_backbone(family)
    return backbone, shake(make_method(backbone, kind))


PAIRS = [
    pytest.param(family, kind, marks=[pytest.mark.full] if kind in METHODS[2:] else [])
    for family in FAMILIES
    for kind in METHODS
]


@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_a_method_trains_what_is_counted_and_no_row_depends_on_padding_or_partners(
    family: str, kind: str
) -> None:
    backbone, method = build(family, kind)
    probe.check(backbone, method, read_out(backbone))
    counted = {
        name: sum(tensor.numel() for tensor in tensors)
        for name, tensors in method.parameter_groups().items()
    }
    formula = make_config(kind).num_trainable(backbone.facts, 3)
    assert formula.pop("head") == backbone.facts.hidden * 3 + 3
    assert counted == formula

    wide = make_batch(backbone, (9, 16, 5), 24, second=3)
    narrow = _rows(wide, slice(0, 3), 16)
    with torch.no_grad():
        together = read(backbone, method, method.adapt(narrow))
        padded = read(backbone, method, method.adapt(wide))
        alone = torch.cat(
            [
                read(backbone, method, method.adapt(_rows(narrow, slice(place, place + 1), 16)))
                for place in range(3)
            ]
        )
    torch.testing.assert_close(padded, together, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(alone, together, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in OWN_MASKS])
def test_rows_of_one_shape_are_bit_identical_alone_and_together(family: str) -> None:
    backbone, method = build(family, "prompt_tuning")
    whole, padded = make_batch(backbone, (16, 16), 16), make_batch(backbone, (16, 7), 16)
    with torch.no_grad():
        first = read(backbone, method, method.adapt(whole))[0]
        second = read(backbone, method, method.adapt(padded))[0]
    same = torch.equal(whole.token_ids[0], padded.token_ids[0])
    assert same
    assert torch.equal(first, second)


def _rows(batch: TokenBatch, rows: slice, columns: int) -> TokenBatch:
    feature = None if batch.feature is None else batch.feature[rows]
    return TokenBatch(
        batch.token_ids[rows, :columns],
        batch.token_types[rows, :columns],
        batch.mask[rows, :columns],
        feature,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_token_stands_behind_text_and_prompt(family: str) -> None:
    backbone = tiny_backbone(family)
    batch = make_batch(backbone, (9, 6), 12)
    embeddings = backbone.embed(batch.token_ids)
    prompt = torch.ones(2, 4, backbone.facts.width)
    lead = backbone.facts.lead
    for cut in (0, 2, 4):
        inputs = surround(embeddings, batch, prompt, torch.tensor([cut, cut]), backbone.facts)
        for row, size in enumerate((9, 6)):
            end = size + 4 - 1
            assert int(inputs.last[row]) == end
            assert torch.equal(inputs.embeddings[row, end], embeddings[row, size - 1])
            assert torch.equal(
                inputs.embeddings[row, lead : lead + cut], prompt[row, :cut].to(embeddings.dtype)
            )
            first = int(inputs.read_out[row])
            assert torch.equal(inputs.embeddings[row, first], embeddings[row, 0])


@pytest.mark.parametrize("injection", ["input", "deep_add", "deep_overwrite"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_input_may_end_at_the_last_position(family: str, injection: str) -> None:
    """Rows are padded to a length class, which may lie beyond it."""
    backbone = tiny_backbone(family)
    tokens = min(backbone.facts.max_positions, 160) - 6
    require_room(backbone.facts, tokens, 6)
    method = shake(
        make_method(backbone, "dynamic_prompt", position="fixed", num_virtual_tokens=6, cut=3,
                    injection=injection)
    )  # fmt: skip
    wide = make_batch(backbone, (tokens, 20), 192)
    narrow = _rows(wide, slice(0, 2), tokens)
    with torch.no_grad():
        theirs = read(backbone, method, method.adapt(narrow))
        ours = read(backbone, method, method.adapt(wide))
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_decoders_look_back_and_all_others_look_around(family: str) -> None:
    backbone = tiny_backbone(family)
    batch = make_batch(backbone, (9,), 9)
    inputs = prompt_free(backbone, batch)
    changed = inputs.embeddings.clone()
    changed[0, 5] += torch.randn(backbone.facts.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        moved = backbone.forward(replace(inputs, embeddings=changed)) - backbone.forward(inputs)
    reacts = moved[0].abs().amax(dim=1) > 1e-6
    before, after = reacts[:5], reacts[5:]
    assert bool(after.all())
    assert bool(before.any()) == (backbone.facts.kind != "decoder")


@pytest.mark.parametrize("family", [f for f in FAMILIES if f in ("gpt2", "llama", "opt")])
def test_a_decoder_is_not_read_out_at_its_first_token(family: str) -> None:
    backbone, method = build(family, "prompt_tuning")
    with pytest.raises(BackboneError, match="train nothing"):
        probe.check(backbone, method, "first")


@pytest.mark.parametrize("model_class", ["BloomModel", "GPTNeoXModel"])
def test_a_decoder_whose_files_do_not_say_so_is_refused_with_the_way_out(
    model_class: str, tmp_path: Path
) -> None:
    """Read as an encoder its masks, read-out and places would all be wrong."""
    folder = make_random(model_class, BARE, SIZES, tmp_path / "bare")
    with pytest.raises(BackboneError, match="reads from left to right") as refused:
        load_backbone(BackboneChoice(path=str(folder)), offline=True)
    named = model_class.replace("Model", "ForCausalLM")
    assert f'"architectures": ["{named}"]' in refused.value.hint
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"architectures": [named]}
    path.write_text(json.dumps(config), encoding="utf-8")
    loaded = load_backbone(BackboneChoice(path=str(folder)), offline=True)
    assert loaded.facts.kind == "decoder"
