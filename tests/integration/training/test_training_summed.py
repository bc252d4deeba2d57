"""Selection by the summed and the sampled likelihood in the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.recipe import RunConfig
from core.states import Outcome
from core.training.group import Member, WarmBackbones, train_group
from tests.training_tools import Recorder, assert_same_as_alone, succeeded, train

SLOTS = {"kind": "adap_ins_pos", "place": "slot", "num_virtual_tokens": 2}
EXACT = {**SLOTS, "selection": "exact"}
SAMPLED = {**SLOTS, "selection": "sampled", "samples": 3}
Make = Callable[..., RunConfig]


def test_summed_selections_train_together_as_alone(
    configure: Make, tmp_path: Path, warm: WarmBackbones
) -> None:
    methods = (EXACT, SAMPLED, {**SLOTS, "length": "task"}, "lora", "smop")
    assert_same_as_alone([configure(method) for method in methods], tmp_path, warm)


@pytest.mark.parametrize(
    ("method", "axes"),
    [
        ({**SLOTS, "length": "instance"}, {"slot": 4, "length": 2}),
        ({**EXACT, "position": "fixed", "length": "task", "shortest": 0}, {"length": 3}),
        ({**SLOTS, "position": "fixed"}, {}),
    ],
)
def test_slots_and_lengths_are_counted_and_told(
    configure: Make,
    tmp_path: Path,
    warm: WarmBackbones,
    method: dict[str, object],
    axes: dict[str, int],
) -> None:
    config = configure(method)
    recorder = train([config], tmp_path, warm)
    rows = pq.read_table(succeeded(recorder).files["predictions"]).to_pylist()
    names = config.method.choice_names
    assert {axis: len(known) for axis, known in names.items()} == axes
    assert {name for _, name in recorder.histograms} == set(axes)
    dev = [row for row in rows if row["split"] == "dev"]
    for axis in ("cut", "slot", "length"):
        told = {str(row[axis]) for row in rows}
        assert told <= set(names[axis]) if axis in axes else told == {"None"}
    for axis, size in axes.items():
        (counts,) = [recorder.histograms["r0", axis][6]]
        assert (len(counts), sum(counts)) == (size, len(dev))
    scalars = recorder.scalars_at["r0"][3]
    known = {"slot": "selector/entropy", "length": "selector/length_entropy"}
    for axis, scalar in known.items():
        assert (scalar in scalars) == (axis in axes)
        if axis in axes:
            assert 0 < scalars[scalar] <= np.log(axes[axis]) + 1e-6


@pytest.mark.parametrize(("method", "passes"), [(SLOTS, 1), (EXACT, 4), (SAMPLED, 3)])
def test_every_pass_of_a_summed_loss_is_counted(
    configure: Make, tmp_path: Path, method: dict[str, object], passes: int
) -> None:
    warm = WarmBackbones(offline=True, threads=1)
    plain = configure({**SLOTS, "position": "fixed"})
    base = succeeded(train([plain], tmp_path / "plain", warm)).result
    payer = Member("payer", configure(SLOTS), tmp_path / "first")
    train_group([payer], Recorder(), warm)  # pays for what the selector sees
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
