"""What a prompt's place means on each family for each injection, measured on tiny backbones.

``.venv/bin/python -m tests.injection_cells`` writes the README's table.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from core.backbones import probe
from core.backbones.facts import read_out_of
from core.backbones.load import Backbone
from core.backbones.readout import pool
from core.backbones.spec import BackboneChoice, Pooling
from core.errors import BackboneError, ConfigError
from core.methods._layout import DeepPrompt, prompt_free, surround
from core.methods._module import BackboneInputs, PromptMethod
from tests.method_tools import make_batch, make_config, make_method, shake, tiny_backbone
from tests.tiny_families import BUILDERS

FAMILIES = sorted(BUILDERS)
INJECTIONS = ("input", "deep_add", "deep_overwrite", "prefix")
LENGTH, TOKENS = 6, 9
FELT, UNFELT = 1e-3, 1e-4
"""A read-out that moves by more than the first feels the place, by less than the second not."""
YES, OFFSET, PLACELESS, NO_PREFIX = "yes", "offset only: refused", "no place", "no prefix: refused"


@dataclass(frozen=True)
class Cell:
    """One family with one injection.

    Attributes:
        word: What stands in the table.
        reason: Why it was refused; empty where it was not.
        change: Largest change of the read-out between cuts (for prefixes: between orders).
        holds_positions: True when the text's position ids were given and kept.
    """

    word: str
    reason: str
    change: float
    holds_positions: bool


def read_out(backbone: Backbone) -> Pooling:
    """Where a family is read out."""
    return read_out_of(BackboneChoice(path="here"), backbone.facts)


def drawn(*shape: int, seed: int = 5) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def takes_positions(backbone: Backbone) -> bool:
    """Tell whether position ids can be given at all."""
    return "position_ids" in inspect.signature(backbone.module.forward).parameters


def settings_of(injection: str, *, is_chosen: bool = True) -> tuple[str, dict[str, Any]]:
    """Kind and fields of a method whose place each input chooses, or is fixed in the middle."""
    if injection == "prefix":
        return "p_tuning_v2", {}
    place: dict[str, Any] = {"position": "instance", "feature": "embedding_mean"}
    if not is_chosen:
        place = {"position": "fixed", "cut": LENGTH // 2}
    return "dynamic_prompt", {"injection": injection, **place}


def method_of(family: str, injection: str, *, is_chosen: bool = True) -> PromptMethod:
    """Such a method, its selector with random values."""
    kind, fields = settings_of(injection, is_chosen=is_chosen)
    return shake(make_method(tiny_backbone(family), kind, **fields))


def at_cut(backbone: Backbone, injection: str, cut: int) -> BackboneInputs:
    """One row with drawn vectors, its text numbered as behind a whole prompt whatever the cut."""
    batch, facts = make_batch(backbone, (TOKENS,), TOKENS), backbone.facts
    deep = None
    if injection != "input":
        vectors = drawn(1, LENGTH, facts.layers, facts.inside or facts.hidden, seed=6)
        deep = DeepPrompt(vectors, overwrites=injection == "deep_overwrite")
    prompt = drawn(1, LENGTH, facts.width)
    embeddings = backbone.embed(batch.token_ids)
    inputs = surround(embeddings, batch, prompt, torch.tensor([cut]), facts, deep=deep)
    content = inputs.content_mask[0]
    text = content.cumsum(0) - 1
    behind = torch.where(text > 0, LENGTH + TOKENS, 0) + (~content).cumsum(0) - 1
    number = torch.where(content, LENGTH + text, behind)
    return replace(inputs, position_ids=(number + facts.first_position)[None])


def with_prefix(backbone: Backbone, order: list[int]) -> BackboneInputs:
    """One row with drawn keys and values of all layers, in an order."""
    inputs = prompt_free(backbone, make_batch(backbone, (TOKENS,), TOKENS))
    sides = drawn(len(backbone.sites), 2, LENGTH, 64, seed=6)[:, :, order]
    prefix = tuple(
        tuple(
            side[None, :, : site.heads * site.head_dim]
            .reshape(1, LENGTH, site.heads, site.head_dim)
            .transpose(1, 2)
            for side in pair
        )
        for site, pair in zip(backbone.sites, sides, strict=True)
    )
    return replace(inputs, prefix=prefix)


def change_of(backbone: Backbone, injection: str) -> float:
    """Largest change of the read-out between cuts 0, l/2 and l, or between orders of a prefix."""
    if injection == "prefix":
        found = [with_prefix(backbone, o) for o in (list(range(LENGTH)), [3, 1, 5, 0, 4, 2])]
    else:
        found = [at_cut(backbone, injection, cut) for cut in (0, LENGTH // 2, LENGTH)]
    with torch.no_grad():
        first, *others = (
            pool(backbone.forward(inputs), inputs, read_out(backbone)) for inputs in found
        )
    return max(float((first - other).abs().max()) for other in others)


@cache
def cell(family: str, injection: str) -> Cell:
    """Measure a cell: tried by the probe, refused by name, or felt or not by the read-out."""
    backbone = tiny_backbone(family)
    holds = takes_positions(backbone)
    if injection == "prefix":
        try:
            probe.check(backbone, method_of(family, injection), read_out(backbone))
        except BackboneError as error:
            return Cell(NO_PREFIX, str(error), 0.0, holds)
        change = change_of(backbone, injection)
        return Cell(PLACELESS if change < UNFELT else YES, "", change, holds)
    change = change_of(backbone, injection)
    try:
        make_config("dynamic_prompt", injection=injection).require_fit(backbone.facts)
    except ConfigError as error:
        return Cell(OFFSET, str(error), change, holds)
    probe.check(backbone, method_of(family, injection), read_out(backbone))
    return Cell(YES if change > FELT else "not felt", "", change, holds)


def table() -> str:
    """The README's table, families with equal cells in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for family in FAMILIES:
        words = tuple(cell(family, injection).word for injection in INJECTIONS)
        name = family.removesuffix("-small").removesuffix("_text")
        rows.setdefault(words, []).append(name)
    heads = ("families", *(f"`{injection}`" for injection in INJECTIONS[:3]), "prefix")
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += [
        f"| {', '.join(dict.fromkeys(names))} | {' | '.join(words)} |"
        for words, names in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
