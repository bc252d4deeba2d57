"""What is kept of a method that learns in two stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import ConfigError
from core.recipe import RunConfig
from core.training.group import WarmBackbones
from tests.training_tools import succeeded, train

STAGED = {"kind": "adap_pos_ins_vec", "stages": "two_stage"}


def test_a_run_of_two_stages_keeps_a_trained_mixture(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    """Dev never gets better: the first evaluation that counts is the best, two more are waited."""
    rates = dict.fromkeys(("prompt", "selector", "head"), 1e-9)
    config = configure(
        {**STAGED, "learning_rates": rates}, max_updates=12, evaluations=12, patience=2
    )
    ending = succeeded(train([config], tmp_path, warm))
    assert (ending.result["best_step"], ending.result["updates"]) == (7, 9)
    tensors = load_file(ending.files["adapter"] / "adapter.safetensors")
    assert torch.count_nonzero(tensors["method.pool_selector.weight"])


def test_one_update_is_too_few_for_two_stages(configure: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match="leaves nothing for the mixture"):
        configure(STAGED, max_updates=1)
