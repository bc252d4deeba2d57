"""A tiny loaded backbone, batches for it, and one setting for every corner of the methods."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoModel

from core.backbones.families import FAMILIES
from core.backbones.load import Backbone, load_backbone
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice, Pooling
from core.methods import METHODS, MethodConfig
from core.methods._build import build_method
from core.methods._marginal import marginal_loss
from core.methods._module import BackboneInputs, PromptMethod, SelectorNoise, TokenBatch
from tests.tiny_families import BUILDERS

Trained = TypeVar("Trained", bound=nn.Module)
ENCODERS = ("bert", "roberta", "electra")

DYNAMIC = [
    {"position": position, "representation": representation, "feature": feature}
    for position in ("fixed", "task", "instance")
    for representation in ("fixed", "instance")
    for feature in ("embedding_mean", "hidden_mean")
]
PLACED = [
    {"position": position, "length": length, "place": place, "shortest": shortest}
    for position in ("fixed", "task", "instance")
    for length, shortest in (("fixed", 1), ("task", 1), ("instance", 0))
    for place in ("cut", "slot")
    if (length, place) != ("fixed", "cut")
]
SUMMED: list[dict[str, Any]] = [
    {"position": "instance", "selection": "exact"},
    {"position": "task", "place": "slot", "selection": "sampled"},
    {"position": "instance", "length": "instance", "selection": "exact"},
    {"position": "fixed", "length": "task", "selection": "sampled", "samples": 3},
    {"position": "instance", "representation": "instance", "selection": "sampled"},
]
DEEP: list[dict[str, Any]] = [
    {"injection": "deep_add", "position": "instance"},
    {"injection": "deep_add", "position": "task", "representation": "instance", "length": "task"},
    {"injection": "deep_add", "place": "slot", "selection": "exact"},
    {"injection": "deep_overwrite", "position": "fixed"},
    {"injection": "deep_overwrite", "position": "fixed", "length": "instance"},
    {"injection": "deep_overwrite", "position": "fixed", "representation": "instance", "cut": 2},
]
AUTHORED: list[dict[str, Any]] = [
    {"behaviour": "paper_code", "position": position, "representation": representation}
    for position in ("fixed", "task", "instance")
    for representation in ("fixed", "instance")
]
STAGED: list[dict[str, Any]] = [
    {"stages": "two_stage", "position": "task", "representation": "instance"},
    {
        "stages": "two_stage",
        "position": "task",
        "representation": "instance",
        "selection": "exact",
    },
]
RANDOM: list[dict[str, Any]] = [
    {"position": "random"},
    {"position": "random", "representation": "instance", "length": "task", "selection": "exact"},
    {"position": "random", "place": "slot", "injection": "deep_add"},
]
AXES: dict[str, list[dict[str, Any]]] = {
    "prompt_tuning": [{}, {"cut": 0}, {"cut": 3, "init": "uniform"}],
    "p_tuning_v2": [{}, {"prefix_projection": True, "projection_size": 16}],
    "p_tuning": [{}, {"cut": 0}, {"encoder": "lstm"}],
    "smop": [{}, {"cut": 2, "pool_size": 3}],
    "lora": [{}, {"rank": 2, "alpha": 1.0}],
    "dynamic_prompt": [
        *DYNAMIC,
        *PLACED,
        *SUMMED,
        *DEEP,
        *AUTHORED,
        *STAGED,
        *RANDOM,
        {"position": "fixed", "cut": 2},
    ],
}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    (kind, fields) for kind in METHODS for fields in AXES.get(kind, [{}])
]


FAMILY_SETTINGS: list[tuple[str, dict[str, Any], str]] = [
    (kind, fields, family)
    for kind, fields in SETTINGS
    for family in ENCODERS
    if FAMILIES[family].has_segments
    or fields.get("place") != "slot"
    or fields.get("position") == "fixed"
]
"""Every setting on each of three encoders that it can be built on."""


@lru_cache(maxsize=32)
def tiny_backbone(family: str = "bert") -> Backbone:
    """A frozen tiny backbone, made once."""
    folder = BUILDERS[family](Path(mkdtemp(prefix="tiny-")) / family)
    return load_backbone(BackboneChoice(path=str(folder)), offline=True)


def make_config(kind: str, **fields: Any) -> MethodConfig:
    """A method's configuration with six virtual tokens."""
    length = {"num_virtual_tokens": 6} if "num_virtual_tokens" in METHODS[kind].model_fields else {}
    return METHODS[kind](**{"kind": kind, **length, **fields})


def make_method(backbone: Backbone, kind: str, seed: int = 0, **fields: Any) -> PromptMethod:
    """A freshly drawn method."""
    draw = torch.Generator().manual_seed(seed)
    return build_method(make_config(kind, **fields), backbone, draw)


def make_batch(
    backbone: Backbone, lengths: tuple[int, ...], total: int, seed: int = 0, second: int = 0
) -> TokenBatch:
    """Random token rows with the backbone's special tokens; the last ``second`` are segment 1."""
    draw = torch.Generator().manual_seed(seed)
    vocab, hidden = backbone.facts.vocab, backbone.facts.hidden
    size = torch.tensor(lengths)[:, None]
    column = torch.arange(total)
    ids = torch.randint(5, vocab, (len(lengths), total), generator=draw)
    ids = torch.where(column < backbone.facts.lead, 2, torch.where(column == size - 1, 3, ids))
    mask = column < size
    types = ((column >= size - second) & mask).long()
    feature = torch.randn(len(lengths), hidden, generator=draw)
    return TokenBatch(torch.where(mask, ids, 0), types, mask, feature)


def noise(seed: int = 0, temperature: float = 0.7, share_done: float = 0.0) -> SelectorNoise:
    """Randomness of one step."""
    return SelectorNoise(torch.Generator().manual_seed(seed), temperature, share_done)


def loss_of(backbone: Backbone, method: PromptMethod, inputs: BackboneInputs) -> Tensor:
    """Some loss of a training step, over candidates where the method sums over them."""
    read_out = pool(backbone.forward(inputs, method.own_backbone()), inputs, "mean")
    values = read_out.tanh().sum(dim=1)
    if inputs.candidates is not None:
        values = marginal_loss(values, inputs.candidates)
    return values.sum()


def shake(method: PromptMethod, seed: int = 1) -> PromptMethod:
    """Give a fresh selector random values, so that its choices differ between inputs."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in method.parameter_groups().get("selector", []):
            tensor.copy_(torch.randn(tensor.shape, generator=draw))
    return method


def changed(trained: Trained, scale: float = 0.05) -> Trained:
    """Move every trained tensor by chance, as updates would."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in trained.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=draw) * scale)
    return trained


def read(
    backbone: Backbone, method: PromptMethod, batch: TokenBatch, pooling: Pooling = "first"
) -> Tensor:
    """Pooled output in evaluation."""
    with torch.no_grad():
        inputs = method.adapt(batch)
        return pool(backbone.forward(inputs, method.own_backbone()), inputs, pooling)


def library_model(backbone: Backbone) -> nn.Module:
    """The library's own model out of a backbone's files; nothing of ours is attached to it."""
    model: Any = AutoModel.from_pretrained(backbone.folder).eval()
    body: nn.Module = model.get_encoder() if backbone.facts.kind == "encoder_decoder" else model
    return body


def library_states(model: nn.Module, batch: TokenBatch) -> Tensor:
    """Last hidden states that a model of the library gives for the tokens themselves."""
    with torch.no_grad():
        output = model(input_ids=batch.token_ids, attention_mask=batch.mask.long())
    states: Tensor = output.last_hidden_state
    return states
