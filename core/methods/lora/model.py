"""LoRA: low-rank updates of each layer's query and value maps, a verbalizer's decoder included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from transformers.pytorch_utils import Conv1D

from core.backbones.families import FUSED_MAPS
from core.backbones.load import Backbone
from core.backbones.own import OwnModel
from core.errors import BackboneError
from core.methods._inside import InsideMethod
from core.methods.lora.config import ADAPTED_MAPS, Config, attention_blocks

QUERY_NAMES = frozenset({"q", "q_lin", "q_proj", "query", "query_proj"})
VALUE_NAMES = frozenset({"v", "v_lin", "v_proj", "value", "value_proj"})
"""Last names of maps that make queries, or values."""


class LoraUpdate(nn.Module):
    """A frozen map with trained updates of low rank (arXiv 2106.09685, equation 3).

    Args:
        base: The frozen map.
        updates: For each update A of shape (rank, inputs), B of shape (outputs, rank), and the
            outputs of the map in front of those that it adds to.
        scale: alpha / rank.
    """

    def __init__(
        self, base: nn.Module, updates: list[tuple[nn.Parameter, nn.Parameter, int]], scale: float
    ) -> None:
        super().__init__()
        self.base = base
        self.downs = nn.ParameterList([down for down, _, _ in updates])
        self.ups = nn.ParameterList([up for _, up, _ in updates])
        self.starts = [start for _, _, start in updates]
        self.scale = scale

    def forward(
        self, hidden: Float[Tensor, "batch total inputs"]
    ) -> Float[Tensor, "batch total outputs"]:
        """Map hidden states; the updates are made in float32."""
        frozen: Tensor = self.base(hidden)
        outputs = frozen.shape[-1]
        for down, up, start in zip(self.downs, self.ups, self.starts, strict=True):
            update = linear(linear(hidden.float(), down), up) * self.scale
            beside = pad(update, (start, outputs - start - up.shape[0]))
            frozen = frozen + beside.to(frozen.dtype)
        return frozen


@dataclass(frozen=True)
class _Target:
    """A map that is adapted.

    Attributes:
        name: Its name in the copy.
        parent: What holds it.
        module: The map.
        inputs: Width of what goes in.
        parts: First output and number of outputs of each update, by its name.
    """

    name: str
    parent: nn.Module
    module: nn.Module
    inputs: int
    parts: Mapping[str, tuple[int, int]]


def _targets(copy: OwnModel, backbone: Backbone) -> list[_Target]:
    """Find the maps that make queries and values, alone or in one with the keys.

    Raises:
        BackboneError: If a fused map is not as wide as its queries, keys and values.
    """
    found = []
    modules = dict(copy.named_modules())
    for name, module in modules.items():
        place, _, last = name.rpartition(".")
        if isinstance(module, Conv1D):
            inputs, outputs = module.weight.shape
        elif isinstance(module, nn.Linear):
            inputs, outputs = module.in_features, module.out_features
        else:
            continue
        if last in QUERY_NAMES | VALUE_NAMES:
            parts = {"": (0, outputs)}
        elif last in FUSED_MAPS:
            parts = _fused_parts(name, outputs, backbone)
        else:
            continue
        found.append(_Target(name, modules[place], module, inputs, parts))
    return found


def _fused_parts(name: str, outputs: int, backbone: Backbone) -> dict[str, tuple[int, int]]:
    """Tell which outputs of a fused map are queries and which are values."""
    facts = backbone.facts
    values = facts.heads * facts.head_dim
    queries = (facts.query_heads or facts.heads) * facts.head_dim
    if outputs != queries + 2 * values:
        raise BackboneError(
            f"{backbone.name}: the map {name} has {outputs} outputs, but its queries, keys and "
            f"values are {queries + 2 * values}.",
            hint="Choose another method for this backbone.",
        )
    return {"query.": (0, queries), "value.": (queries + values, values)}


def build(config: Config, backbone: Backbone, generator: torch.Generator) -> InsideMethod:
    """Build the method: A drawn as linear layers are, B zero, so that nothing changes at first.

    Raises:
        BackboneError: If the query and value maps are not found, or their outputs not told apart.
        ConfigError: If the order of a fused map's outputs is not known.
    """
    config.require_fit(backbone.facts)
    copy = backbone.sharing_copy()
    found = _targets(copy, backbone)
    updates = sum(len(target.parts) for target in found)
    blocks = attention_blocks(backbone.facts, with_decoder=copy.language is not None)
    expected = ADAPTED_MAPS * blocks
    if updates != expected:
        raise BackboneError(
            f"{backbone.name}: {updates} query and value maps were found, {expected} expected.",
            hint="Choose another method for this backbone.",
        )
    trained: dict[str, nn.Parameter] = {}
    for target in found:
        bound = target.inputs**-0.5
        pairs = []
        for part, (start, outputs) in target.parts.items():
            drawn = torch.empty(config.rank, target.inputs).uniform_(
                -bound, bound, generator=generator
            )
            down, up = nn.Parameter(drawn), nn.Parameter(torch.zeros(outputs, config.rank))
            trained[f"{target.name}.{part}down"], trained[f"{target.name}.{part}up"] = down, up
            pairs.append((down, up, start))
        updated = LoraUpdate(target.module, pairs, config.alpha / config.rank)
        setattr(target.parent, target.name.rpartition(".")[2], updated)
    return InsideMethod(backbone, copy, trained)
