"""All combinations of a dynamic prompt's axes: each says what it is, is counted, and trains."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.backbones import probe
from core.errors import ConfigError
from core.methods import METHODS, MethodConfig
from core.methods._build import build_method
from core.training.model import AdaptedModel, new_head
from tests.method_tools import make_config, tiny_backbone

AXES: dict[str, tuple[str, ...]] = {
    "position": ("fixed", "random", "task", "instance"),
    "length": ("fixed", "task", "instance"),
    "representation": ("fixed", "instance"),
    "place": ("cut", "slot"),
    "injection": ("input", "deep_add", "deep_overwrite"),
    "selection": ("st_gumbel", "exact", "sampled"),
    "feature": ("embedding_mean", "hidden_mean"),
    "stages": ("joint", "two_stage"),
    "behaviour": ("paper", "paper_code"),
}
FAMILY = "t5"
"""A backbone on which nothing but the border of two texts is refused."""


@cache
def allowed() -> tuple[MethodConfig, ...]:
    """Every combination that the settings allow on this backbone."""
    found = []
    for values in itertools.product(*AXES.values()):
        fields: dict[str, Any] = dict(zip(AXES, values, strict=True))
        try:
            config = make_config("dynamic_prompt", **fields, slots=("front", 0.5, "end"))
            config.require_fit(tiny_backbone(FAMILY).facts)
        except (ValidationError, ConfigError):
            continue
        found.append(config)
    return tuple(found)


def test_the_grid_has_every_combination_that_means_something() -> None:
    learnt, unlearnt = 2 * (1 + 2) + 2 * 2, 2
    plain = 2 * 2 * 3 * 2 * (3 * learnt + unlearnt)
    # Of a task's position with a pool and a length that is fixed; and the authors' own six.
    staged, authored = 2 * 3 * 3 * 2, 6
    assert len(allowed()) == plain + staged + authored


def test_each_combination_says_what_it_is_in_one_sentence() -> None:
    said: dict[str, list[MethodConfig]] = {}
    for config in allowed():
        text = config.describe()
        assert text.startswith("Dynamic prompt: ")
        assert text.endswith(".")
        assert ". " not in text
        assert "\n" not in text
        said.setdefault(text, []).append(config)
    # What the selector sees is not told, nor is it seen where no input chooses.
    assert all(len(same) <= 2 for same in said.values())
    assert all(len({one.label for one in same}) == 1 for same in said.values())


def test_each_combination_is_counted_by_the_formula() -> None:
    backbone = tiny_backbone(FAMILY)
    for config in allowed():
        method = build_method(config, backbone, torch.Generator().manual_seed(0))
        model = AdaptedModel(method, new_head(32, 3, torch.Generator()))
        trained = {
            name: sum(tensor.numel() for tensor in tensors)
            for name, tensors in model.parameter_groups().items()
        }
        assert trained == config.num_trainable(backbone.facts, 3)


@pytest.mark.full
def test_each_combination_trains_all_its_tensors() -> None:
    backbone = tiny_backbone(FAMILY)
    for config in allowed():
        probe.check(backbone, build_method(config, backbone, torch.Generator().manual_seed(0)))


def test_the_papers_names_are_combinations() -> None:
    aliases = METHODS["dynamic_prompt"].ALIASES
    shown = {tuple(getattr(config, name) for name in ("position", "length", "representation"))
             for config in allowed()}  # fmt: skip
    assert {tuple(axes.values()) for axes in aliases.values()} <= shown
