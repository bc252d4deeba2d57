"""Selection by the summed and the sampled likelihood in the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.recipe import RunConfig
from core.states import Outcome
from core.training.group import WarmBackbones
from tests.training_tools import assert_same_as_alone, succeeded, train

SLOTS = {"kind": "adap_ins_pos", "place": "slot", "num_virtual_tokens": 2}
EXACT = {**SLOTS, "selection": "exact"}
SAMPLED = {**SLOTS, "selection": "sampled", "samples": 3}
Make = Callable[..., RunConfig]


def test_summed_selections_train_together_as_alone(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    methods = (EXACT, SAMPLED, {**SLOTS, "length": "task"}, "lora", "smop")
    assert_same_as_alone([configure(method) for method in methods], tmp_path, warm)


@pytest.mark.parametrize(("method", "passes"), [(SLOTS, 1), (EXACT, 4), (SAMPLED, 3)])
def test_every_pass_of_a_summed_loss_is_counted(
    configure: Make, tmp_path: Path, warm: WarmBackbones, method: dict[str, object], passes: int
) -> None:
    plain = configure({**SLOTS, "position": "fixed"})
    base = succeeded(train([plain], tmp_path / "plain", warm)).result
    train([configure(SLOTS)], tmp_path / "first", warm)  # pays for what the selector sees
    result = succeeded(train([configure(method)], tmp_path / "summed", warm)).result
    extra = (passes - 1) * result["examples"]
    assert result["forward_equivalents"] == base["forward_equivalents"] + extra


def test_choices_that_are_scored_together_are_refused(
    on_suite: Make, suite: Path, tmp_path: Path, warm: WarmBackbones
) -> None:
    recorder = train([on_suite(EXACT, "copa")], tmp_path, warm, data=[suite])
    (ending,) = recorder.endings.values()
    assert ending.outcome is Outcome.FAILED
    assert "scored together" in ending.detail
