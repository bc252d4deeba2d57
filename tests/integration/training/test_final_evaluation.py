"""Once training is done, nothing that follows can cost it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.recipe import RunConfig
from core.states import Outcome, StopKind
from core.training import final, loop, results
from core.training.checkpoint import load_checkpoint
from core.training.evaluate import evaluate
from core.training.group import Member, WarmBackbones, train_group
from core.training.part import TaskPart
from tests.training_tools import Recorder, digest, succeeded, train

Make = Callable[..., RunConfig]
COSTS = ("updates", "examples", "forward_equivalents", "best_step")


def evaluate_again(
    broken: Recorder,
    config: RunConfig,
    folder: Path,
    warm: WarmBackbones,
    data: Sequence[Path] = (),
) -> Recorder:
    """Continue from the newest checkpoint; assert that nothing is trained."""
    last = broken.checkpoints["r0"][-1]
    again = Recorder()
    train_group([Member("r0", config, folder, last.folder)], again, warm, data)
    scoring = [phase for phase in again.phases["r0"] if not phase.startswith("auditing")]
    assert scoring == ["loading", "training", "testing"]
    assert (again.losses, again.checkpoints) == ({}, {})
    return again


def test_a_metric_that_fails_costs_no_training(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("adap_ins_pos", max_updates=7, audit=True)
    whole = train([config], tmp_path / "whole", warm)

    def break_test(self: TaskPart, split: str, scores: Any) -> dict[str, float]:
        if split == "test":
            raise ZeroDivisionError("no example has this label")
        return judge(self, split, scores)

    judge = TaskPart.metrics
    with monkeypatch.context() as patch:
        patch.setattr(TaskPart, "metrics", break_test)
        broken = train([config], tmp_path / "broken", warm)
    ending = broken.endings["r0"]
    assert (ending.outcome, ending.kind, ending.result) == (Outcome.FAILED, "evaluation", {})
    assert ending.detail == (
        "Training is done and saved, but its final evaluation failed: ZeroDivisionError: no "
        "example has this label. Evaluate again."
    )
    files = broken.checkpoints["r0"][-1].folder.parents[1]
    assert [path.name for path in files.iterdir()] == ["checkpoints"]
    again = evaluate_again(broken, config, tmp_path / "again", warm)
    again.scalars_at = broken.scalars_at
    assert digest(again, "r0") == digest(whole, "r0")
    for key in COSTS:
        assert succeeded(again).result[key] == succeeded(whole).result[key]


def test_a_run_without_dev_is_saved_before_it_is_scored(
    on_suite: Make, suite: Path, warm: WarmBackbones, tmp_path: Path, monkeypatch: Any
) -> None:
    config = on_suite("adap_ins_pos", "copa", selection="refit", max_updates=5)
    whole = train([config], tmp_path / "whole", warm, data=[suite])
    last = whole.checkpoints["r0"][-1]
    assert last.step == 5

    def break_all(*_: Any) -> None:
        raise ValueError("cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(results.pq, "write_table", break_all)
        broken = train([config], tmp_path / "broken", warm, data=[suite])
    assert broken.endings["r0"].kind == "evaluation"
    again = evaluate_again(broken, config, tmp_path / "again", warm, [suite])
    name = "adapter.safetensors"
    weights = (last.folder / name).read_bytes()
    assert (succeeded(again).files["adapter"] / name).read_bytes() == weights
    for key in COSTS:
        assert succeeded(again).result[key] == succeeded(whole).result[key]


def test_a_stop_while_it_is_scored_is_no_failure(
    configure: Make, warm: WarmBackbones, tmp_path: Path
) -> None:
    class Stopping(Recorder):
        def stop_wanted(self, run_id: str) -> StopKind | None:
            return StopKind.DRAIN if self.phases[run_id][-1] == "testing" else None

    config = configure("prompt_tuning")
    whole = train([config], tmp_path / "whole", warm)
    stopped = train([config], tmp_path / "stopped", warm, Stopping())
    assert stopped.endings["r0"].outcome is Outcome.DRAINED
    assert len(stopped.checkpoints["r0"]) == len(whole.checkpoints["r0"])
    again = evaluate_again(stopped, config, tmp_path / "again", warm)
    for key in COSTS:
        assert succeeded(again).result[key] == succeeded(whole).result[key]


def test_memory_that_runs_out_there_is_no_failed_evaluation(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (RuntimeError("CUDA error: out of memory"), MemoryError()):

        def full(*_: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(loop, "finished", full)
            recorder = train([configure("linear_probe")], tmp_path / type(error).__name__, warm)
        assert recorder.endings["r0"].outcome is Outcome.OUT_OF_MEMORY
        assert recorder.checkpoints["r0"][-1].step == 6


def test_a_partner_pays_for_nobody_elses_evaluation(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [configure("prompt_tuning"), configure("adap_ins_pos")]
    alone = train([configs[0]], tmp_path / "alone", warm)
    seen: list[Recorder] = []

    def break_second(backbone: Any, jobs: Sequence[Any], is_stopped: Any) -> Any:
        is_final = any(phases[-1] == "testing" for phases in seen[0].phases.values())
        if is_final and any(job.model.method.parameter_groups().get("selector") for job in jobs):
            raise RuntimeError("a kernel failed")
        return evaluate(backbone, jobs, is_stopped)

    seen.append(Recorder())
    monkeypatch.setattr(loop, "evaluate", break_second)
    train(configs, tmp_path / "both", warm, seen[0])
    assert digest(seen[0], "r0") == digest(alone, "r0")
    passes = succeeded(alone).result["forward_equivalents"]
    assert succeeded(seen[0]).result["forward_equivalents"] == passes
    assert seen[0].endings["r1"].kind == "evaluation"
    assert "RuntimeError: a kernel failed" in seen[0].endings["r1"].detail


def test_what_is_no_fault_of_an_evaluation_passes_through() -> None:
    for error in (KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)), final.final_evaluation("r0"):
            raise error


def test_the_last_finite_checkpoint_survives_a_divergence(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("prompt_tuning", max_updates=8, evaluations=4)
    original = loop.TrainingRun.update

    def spoil(self: loop.TrainingRun, *rest: Any) -> dict[str, float]:
        scalars = original(self, *rest)
        if self.progress.step == 5:
            with torch.no_grad():
                self.model.part().head.weight[0, 0] = float("nan")
        return scalars

    monkeypatch.setattr(loop.TrainingRun, "update", spoil)
    recorder = train([config], tmp_path, warm)
    assert recorder.endings["r0"].kind == "diverged"
    assert "At update 6 of 8 the loss became nan" in recorder.endings["r0"].detail
    assert recorder.losses["r0"][6] == "nan"  # a gap
    assert [found.step for found in recorder.checkpoints["r0"]] == [2, 4]
    restored = load_checkpoint(recorder.checkpoints["r0"][-1].folder)
    for tensor in (*restored.tensors.values(), *restored.moments.values()):
        assert np.isfinite(tensor.numpy()).all()


def test_weights_that_are_no_numbers_are_never_saved(
    configure: Make, warm: WarmBackbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.TrainingRun.update

    def spoil(self: loop.TrainingRun, *rest: Any) -> dict[str, float]:
        scalars = original(self, *rest)
        if self.progress.step == 2:
            with torch.no_grad():
                self.model.part().head.bias[0] = float("inf")
        return scalars

    monkeypatch.setattr(loop.TrainingRun, "update", spoil)
    recorder = Recorder(lambda run_id, step: StopKind.DRAIN if step >= 2 else None)
    train([configure("prompt_tuning")], tmp_path, warm, recorder)
    assert recorder.endings["r0"].kind == "diverged"
    assert "a weight is no number" in recorder.endings["r0"].detail
    assert not (tmp_path / "r0").exists()
