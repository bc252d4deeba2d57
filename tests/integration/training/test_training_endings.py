from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.recipe import RunConfig
from core.states import Outcome, StopKind
from core.training import loop
from core.training import run as run_module
from core.training.group import WarmBackbones
from tests.training_tools import Recorder, digest, run_config, train


def test_a_partner_that_diverges_or_is_cancelled_changes_nothing(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    good = configure("adap_ins_pos")
    wild = configure(
        {"kind": "prompt_tuning", "learning_rates": {"head": 10, "prompt": 10}},
        weight_decay=10.0,
        clip_norm=1e6,
        schedule="constant",
        warmup=0.0,
        max_updates=400,
    )
    other = configure("prompt_tuning")

    class Poisoning(Recorder):
        """Makes the second run's head infinite after two updates, and cancels the third."""

        def stop_wanted(self, run_id: str) -> StopKind | None:
            is_third = len(self.losses.get("r2", ())) == 3
            return StopKind.CANCEL if run_id == "r2" and is_third else None

    original = run_module.TrainingRun.update

    def update(self: run_module.TrainingRun, *rest: Any) -> dict[str, float]:
        scalars = original(self, *rest)
        if self.run_id == "r1" and self.progress.step == 2:
            with torch.no_grad():
                self.model.part().head.weight.fill_(float("inf"))
        return scalars

    recorder = Poisoning()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.TrainingRun, "update", update)
        train([good, wild, other], tmp_path / "together", warm, recorder)
    alone = train([good], tmp_path / "alone", warm)
    assert digest(recorder, "r0") == digest(alone, "r0")
    assert recorder.losses["r0"] == alone.losses["r0"]
    failed = recorder.endings["r1"]
    assert (failed.outcome, failed.kind) == (Outcome.FAILED, "diverged")
    assert "update 3" in failed.detail
    assert "learning rates: prompt 10" in failed.detail
    assert float.fromhex(recorder.losses["r1"][2]) == pytest.approx(
        float(failed.detail.split("last finite loss was ")[1].split(" ")[0]), rel=1e-3
    )
    assert recorder.endings["r2"].outcome is Outcome.CANCELLED
    assert recorder.checkpoints["r2"][-1].step == 3


def test_a_gradient_that_is_no_number_ends_the_run_before_the_update(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    def poison(self: run_module.TrainingRun, *rest: Any) -> dict[str, float]:
        if self.progress.step != 1:
            return original(self, *rest)
        head = self.model.part().head
        assert head.bias.grad is not None
        head.bias.grad[0] = float("nan")
        before = head.weight.detach().clone()
        try:
            return original(self, *rest)
        finally:
            assert torch.equal(before, head.weight)

    original = run_module.TrainingRun.update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module.TrainingRun, "update", poison)
        recorder = train([configure("prompt_tuning")], tmp_path, warm)
    assert recorder.endings["r0"].kind == "diverged"
    assert list(recorder.losses["r0"]) == [1]


def test_a_run_without_data_fails_and_its_partner_goes_on(
    configure: Callable[..., RunConfig], tiny: dict[str, str], tmp_path: Path, warm: WarmBackbones
) -> None:
    missing = run_config("prompt_tuning", task=tmp_path / "none", backbone=tiny)
    recorder = train([missing, configure("prompt_tuning")], tmp_path, warm)
    assert recorder.endings["r0"].kind == "bad_data"
    assert recorder.endings["r1"].outcome is Outcome.SUCCEEDED


def test_memory_that_runs_out_ends_all_active_runs(
    configure: Callable[..., RunConfig], tmp_path: Path, warm: WarmBackbones
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "launch", full)
        recorder = train([configure("prompt_tuning"), configure("p_tuning_v2")], tmp_path, warm)
    assert {e.outcome for e in recorder.endings.values()} == {Outcome.OUT_OF_MEMORY}
    assert len(recorder.endings) == 2
