"""Which methods the authors' scripts step how, and what that makes of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.errors import ConfigError
from core.methods import METHODS
from core.recipe import RunConfig, group_key
from core.recipe_files import parse_recipe
from core.stepping import authors_step, is_clipped, parts_of_update, whole_updates
from core.training.drawn import cut_units
from core.training.group import updates_of

THEIRS = {"stepping": "paper_code", "accumulation": 4, "batch_size": 32}


def config(method: Any, **training: Any) -> RunConfig:
    content = {"name": "Test", "tasks": ["cb"], "methods": [method], "training": training}
    return parse_recipe(content).runs()[0]


@pytest.mark.parametrize(
    ("method", "step"),
    [
        ("prompt_tuning", "each"),
        ({"kind": "prompt_tuning", "cut": 3}, "each"),
        ("adap_ins_vec", "each"),
        ("adap_pos_ins_vec", "each"),
        ({"kind": "adap_ins_vec_pos", "behaviour": "paper_code"}, "each"),
        ("adap_pos", "fourth"),
        ("adap_ins_pos", "fourth"),
        ("random_cut", None),
        ("adap_ins_len", None),
        ({"kind": "adap_ins_pos", "place": "slot"}, None),
        ({"kind": "adap_ins_pos", "injection": "deep_add"}, None),
        ({"kind": "adap_ins_pos", "selection": "exact"}, None),
        ({"kind": "adap_pos_ins_vec", "stages": "two_stage"}, None),
        *((kind, None) for kind in METHODS if kind not in ("prompt_tuning", "dynamic_prompt")),
    ],
)
def test_the_authors_step_what_their_scripts_train(method: Any, step: str | None) -> None:
    assert authors_step(config(method).method) == step
    if step is None:
        with pytest.raises(ConfigError, match="stands for the authors' scripts"):
            config(method, **THEIRS)
        return
    found = config(method, **THEIRS)
    assert found.examples_an_update == (8 if step == "each" else 32)
    assert parts_of_update(found.training, found.method) == (1 if step == "each" else 4)
    clipped = [is_clipped(found.training, found.method, step) for step in range(8)]
    assert clipped == ([False, False, False, True] * 2 if step == "each" else [True] * 8)
    counted = [whole_updates(found.training, found.method, step) for step in range(8)]
    assert counted == ([0] * 4 + [1] * 4 if step == "each" else list(range(8)))


def test_equal_epochs_are_equal_steps_of_the_authors() -> None:
    def updates(method: str, **training: Any) -> int:
        return updates_of(config(method, **THEIRS, **training), {"cb": 320})["cb"]

    assert updates("prompt_tuning", epochs=3) == 4 * updates("adap_pos", epochs=3) == 120
    assert updates("prompt_tuning", max_updates=50) == updates("adap_pos", max_updates=50) == 50


def test_a_joint_training_has_no_script() -> None:
    with pytest.raises(ConfigError, match="train one task"):
        parse_recipe(
            {
                "name": "Test",
                "tasks": ["cb", "rte"],
                "methods": ["prompt_tuning"],
                "regimes": ["multi_task"],
                "training": THEIRS,
            }
        )


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"accumulation": 17}, "16 examples cannot be cut into 17 parts"),
        ({"stepping": "paper_code"}, "needs accumulation: 4"),
        ({**THEIRS, "batch_size": 30}, "four equal parts"),
        ({"accumulation": 0}, "accumulation"),
    ],
)
def test_parts_that_cannot_be_are_refused(training: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config("prompt_tuning", **training)


def test_runs_that_cut_alike_are_of_one_group() -> None:
    def key(method: str, **training: Any) -> str:
        return group_key(config(method, **training), "run")

    plain = key("prompt_tuning")
    assert key("adap_pos") == plain != key("adap_pos", accumulation=2)
    assert key("adap_pos", accumulation=2) == key("prompt_tuning", accumulation=2)
    assert key("adap_pos", **THEIRS) == key("adap_pos", accumulation=4) != plain
    assert key("prompt_tuning", **THEIRS) == plain


@pytest.mark.parametrize("size", [1, 3, 4, 10, 31, 32])
def test_a_batch_is_cut_into_parts_as_equal_as_can_be(size: int) -> None:
    units = np.arange(size)
    parts = cut_units(units, 4)
    assert np.concatenate(parts).tolist() == units.tolist()
    sizes = [len(part) for part in parts]
    assert len(sizes) == min(4, size)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
