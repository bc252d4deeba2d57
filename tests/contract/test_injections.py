"""Each family with each way to put vectors into it: where a place means something, and training."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from core.backbones import probe
from core.backbones.load import Backbone
from core.backbones.readout import pool
from core.methods._module import PromptMethod, TokenBatch
from core.training.checkpoint import model_tensors, put_tensors
from core.training.model import AdaptedModel, RunModel, new_head
from tests.injection_cells import (
    FAMILIES,
    FELT,
    INJECTIONS,
    NO_PREFIX,
    OFFSET,
    PLACELESS,
    UNFELT,
    YES,
    cell,
    change_of,
    method_of,
    read_out,
    settings_of,
    table,
)
from tests.method_tools import make_batch, make_config, noise, tiny_backbone

README = Path(__file__).resolve().parents[2] / "README.md"
CELLS = [(family, injection) for family in FAMILIES for injection in INJECTIONS]
KNOW_NO_POSITIONS = {"bart", "t5"}
"""Families whose position ids cannot be given: they are measured as they are."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_place_is_felt_or_refused_with_the_reason(family: str) -> None:
    for injection in INJECTIONS:
        found = cell(family, injection)
        assert found.holds_positions == (family not in KNOW_NO_POSITIONS)
        if found.word == YES:
            assert found.change > FELT
            assert not found.reason
        elif found.word == OFFSET:
            assert injection == "deep_overwrite"
            assert found.change < UNFELT or not found.holds_positions
            assert re.search("would not know its place.*fix the position", found.reason, flags=re.S)
        elif found.word == NO_PREFIX:
            assert re.search("cannot take a prefix.*with an input prompt", found.reason, flags=re.S)
        else:
            assert (found.word, injection) == (PLACELESS, "prefix")
            assert found.change < UNFELT


def test_what_bart_feels_of_replaced_states_is_the_offset_alone() -> None:
    backbone = copy.copy(tiny_backbone("bart"))
    backbone.module = copy.deepcopy(backbone.module)
    assert change_of(backbone, "deep_overwrite") > FELT
    with torch.no_grad():
        backbone.module.get_submodule("embed_positions").weight.zero_()
    assert change_of(backbone, "deep_overwrite") < UNFELT


def test_the_readme_has_the_table_that_is_measured() -> None:
    shown = re.findall(r"^\| families \|.*?(?=\n\n)", README.read_text(), flags=re.M | re.S)
    assert shown == [table()]


def scores(backbone: Backbone, part: AdaptedModel, batch: TokenBatch) -> Tensor:
    with torch.no_grad():
        inputs = part.method.adapt(batch)
        return part.logits(backbone.forward(inputs), inputs, read_out(backbone))


def rows_of(batch: TokenBatch, rows: slice, columns: int) -> TokenBatch:
    return TokenBatch(
        batch.token_ids[rows, :columns], batch.token_types[rows, :columns],
        batch.mask[rows, :columns], None if batch.feature is None else batch.feature[rows],
    )  # fmt: skip


def layers_of(name: str, gradient: Tensor, layers: int) -> list[Tensor]:
    """The gradient of each layer's share of a tensor; of one that is no layer's, the whole."""
    if name == "deep":
        return list(gradient.unbind(dim=2))
    if name == "table":
        return list(gradient.reshape(len(gradient), 2 * layers, -1).unbind(dim=1))
    return [gradient]


def check_gradients(backbone: Backbone, method: PromptMethod, batch: TokenBatch) -> None:
    """Each layer's share of each trained tensor gets a gradient that is a number and not zero."""
    inputs = method.adapt(batch, noise(1))
    pooled = pool(backbone.forward(inputs), inputs, read_out(backbone))
    (
        pooled * torch.randn(pooled.shape, generator=torch.Generator().manual_seed(3))
    ).sum().backward()
    for name, tensor in method.named_parameters():
        assert tensor.grad is not None, name
        for number, share in enumerate(layers_of(name, tensor.grad, backbone.facts.layers)):
            assert bool(share.isfinite().all()), (name, number)
            assert bool(share.any()), (name, number)


@pytest.mark.parametrize(("family", "injection"), CELLS)
def test_a_cell_trains_and_is_saved_and_no_row_depends_on_padding_or_partners(
    family: str, injection: str
) -> None:
    found, backbone = cell(family, injection), tiny_backbone(family)
    if found.word == NO_PREFIX:
        return
    # Where a chosen place is refused, a fixed one trains; the probe has tried all others.
    is_chosen = found.word != OFFSET
    method = method_of(family, injection, is_chosen=is_chosen)
    if not is_chosen:
        probe.check(backbone, method, read_out(backbone))
    wide = make_batch(backbone, (9, 16, 5), 24, second=3)
    narrow = rows_of(wide, slice(0, 3), 16)
    check_gradients(backbone, method, narrow)

    part = AdaptedModel(method, new_head(backbone.facts.hidden, 3, torch.Generator()))
    together = scores(backbone, part, narrow)
    alone = scores(backbone, part, rows_of(wide, slice(0, 1), 16))
    torch.testing.assert_close(scores(backbone, part, wide), together, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(alone, together[:1], atol=2e-5, rtol=1e-5)

    model = RunModel({"one": part})
    kind, fields = settings_of(injection, is_chosen=is_chosen)
    formula = make_config(kind, **fields).num_trainable(backbone.facts, 3)
    assert model.num_trainable() == formula
    file = save(model_tensors(model))
    assert {name for name in load(file) if name.startswith("method.")} == {
        f"method.{name}" for name, _ in method.named_parameters()
    }
    again = RunModel({"one": AdaptedModel(
        method_of(family, injection, is_chosen=is_chosen),
        new_head(backbone.facts.hidden, 3, torch.Generator().manual_seed(9)),
    )})  # fmt: skip
    with torch.no_grad():
        for tensor in again.part().parameters():
            tensor.add_(1.0)
    put_tensors(again, load(file))
    assert torch.equal(scores(backbone, again.part(), narrow), together)
